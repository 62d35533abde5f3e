"""Keeps OPA on the best policy set there is: every change is tried, and a bad one never replaces a good one.

A change wakes the loader, which reads all sources afresh and serves what `acceptance.py` makes of them. Judging a set is the Checker's,
telling people is `report.py`'s, and what survives a restart is `copies.py`'s.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol

from controller.cluster.cache import Document
from controller.cluster.informer import Informer
from controller.observe import logs
from controller.observe.health import Trouble
from controller.observe.metrics import Metrics
from controller.policy.acceptance import Acceptance, accept
from controller.policy.check import Checker
from controller.policy.judging import Judging, Version, version
from controller.policy.process import CheckUnavailableError
from controller.policy.serve import BundleServer
from controller.policy.sources import (
    GUARDED_LABEL,
    STATUS_ANNOTATION,
    PolicyProblem,
    Source,
    adds_to,
    combine,
    is_policy_source,
    read_config_map,
    replaced_packages,
)
from controller.settings import SETTINGS_CONFIG_MAP, SYSTEM_NAMESPACE, SettingProblem, Settings, parse_settings

log = logs.events(__name__)

_DEBOUNCE = 0.03
_LONGEST_DEBOUNCE = 0.3
_RETRY = 2.0
_MOST_INTERRUPTIONS = 3
_NONE: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Remembered:
    """What counted before a restart: the accepted sources by name, what is wrong with versions of them, the settings in force."""

    sources: Mapping[str, Source] = field(default_factory=dict)
    problems: Mapping[Version, list[PolicyProblem]] = field(default_factory=dict)
    settings: Settings = field(default_factory=Settings)


class Memory(Protocol):
    """What survives a restart; policy.copies is the one implementation."""

    def read(self) -> Remembered:
        """What is remembered now."""


@dataclass(frozen=True, slots=True)
class LoadReport:
    """The outcome of one load, for whoever tells people about it; ``revision`` is what is served, None for nothing."""

    revision: str | None = None
    acceptance: Acceptance = field(default_factory=Acceptance)
    found: Mapping[str, Source] = field(default_factory=dict)
    warnings: Mapping[str, list[PolicyProblem]] = field(default_factory=dict)
    setting_problems: list[SettingProblem] = field(default_factory=list)
    own: Mapping[str, Source] = field(default_factory=dict)
    """Of what is accepted, that which is not in the image anyway."""
    settings: Settings = field(default_factory=Settings)
    unloadable: list[PolicyProblem] = field(default_factory=list)
    """What keeps anything from being served."""
    time: datetime = field(default_factory=lambda: datetime.now(UTC))


class PolicyLoader:
    """Watches the sources, publishes the accepted set, and knows whether OPA follows.

    ``informer`` holds the ConfigMaps of kubernaut-system (all of them: the settings are not labelled as policy). ``before_serving`` is
    given what is new in a set that replaces shipped modules, before it decides anything: a crash must not take it back.
    """

    def __init__(  # noqa: PLR0913 - the collaborators, by keyword
        self,
        shipped: Source,
        informer: Informer,
        checker: Checker,
        server: BundleServer,
        *,
        environ: Mapping[str, str],
        metrics: Metrics | None = None,
        memory: Memory | None = None,
        before_serving: Callable[[Mapping[str, Source]], Awaitable[None]] | None = None,
    ) -> None:
        self.settings = Settings()
        self.acceptance = Acceptance()
        self.report = LoadReport()
        self.trial_packages: frozenset[str] = frozenset()
        self.opa_revision = ""
        self.opa_errors: list[str] = []
        self._shipped = shipped
        self._informer = informer
        self._server = server
        self._environ = environ
        self._metrics = metrics or Metrics()
        self._memory = memory
        self._before_serving = before_serving
        self._damaged: frozenset[str] = frozenset()
        self._read: dict[str, tuple[str, Source, list[PolicyProblem]]] = {}
        self._judging = Judging(shipped, checker)
        self._subscribers: list[Callable[[str, Settings], None]] = []
        self._activation_subscribers: list[Callable[[str], None]] = []
        self._report_subscribers: list[Callable[[], None]] = []
        self._changed = asyncio.Event()
        self._last_change = 0.0
        self._interruptions = 0
        server.observer = self._hear_from_opa
        informer.subscribe(self._notice)

    @property
    def revision(self) -> str | None:
        """The revision that is served to OPA; None as long as nothing is allowed."""
        return self._server.revision

    def subscribe(self, subscriber: Callable[[str, Settings], None]) -> None:
        """Call ``subscriber(revision, settings)`` from the event loop whenever a new set is served."""
        self._subscribers.append(subscriber)

    def subscribe_activation(self, subscriber: Callable[[str], None]) -> None:
        """Call ``subscriber(revision)`` whenever OPA reports that another set decides from now on."""
        self._activation_subscribers.append(subscriber)

    def subscribe_report(self, subscriber: Callable[[], None]) -> None:
        """Call ``subscriber()`` whenever there is something new to tell people: ``report``, or whether OPA follows."""
        self._report_subscribers.append(subscriber)

    @property
    def active(self) -> bool:
        """Whether OPA decides by what is served."""
        return self.revision is not None and self.opa_revision == self.revision

    def trouble(self) -> Trouble | None:
        """Why decisions are not made under the newest accepted set, for the readiness check."""
        if self.revision is None:
            why = "; ".join(str(problem) for problem in self.report.unloadable[:3]) or "the policy ConfigMaps are not read yet"
            return Trouble(f"no policy set is served: {why}", "nothing is allowed until a set passes; mend the named files")
        if self.opa_revision == self.revision:
            # What OPA complains of beside that is past: a download that failed while this process was away.
            return None
        have = f"OPA has {self.opa_revision or 'no set'}, served is {self.revision}"
        if self.opa_errors:
            return Trouble(f"{have}; it says: {self.opa_errors[0]}", "see OPA's log")
        return Trouble(have, "start OPA, or point it at --bundle-addr")

    async def run(self) -> None:
        """Load once the sources are known, then after every change, until cancelled."""
        await self._informer.synced.wait()
        self._recall()
        self._changed.set()
        while True:
            await self._changed.wait()
            await self._quiet()
            try:
                await self.load()
            except CheckUnavailableError as exc:
                self._metrics.policy_loads.labels("unavailable").inc()
                log.warning("policy_check_unavailable", error=str(exc), retry_seconds=_RETRY)
                await asyncio.sleep(_RETRY)
                self._changed.set()

    async def load(self) -> LoadReport:
        """Read the sources, judge what changed, publish what is accepted; what takes long ends with the next change.

        Raises:
            CheckUnavailableError: they could not be judged; what was not judged has not changed.
        """
        self._changed.clear()
        self._forget_damaged()
        found = await self._read_sources()
        refused, slow = self._refused(found), self._slow(found)
        changed = await self._load(found, refused, slow)
        if slow or (refused and changed):
            await self._load_rest(found)
        else:
            self._interruptions = 0
        return self.report

    async def _load_rest(self, found: Mapping[str, Source]) -> None:
        """Judge what was put off, unless a change comes first; after some changes they wait in their turn."""
        rest, change = asyncio.create_task(self._load(found)), asyncio.create_task(self._changed.wait())
        try:
            waited_for = {rest} if self._interruptions >= _MOST_INTERRUPTIONS else {rest, change}
            await asyncio.wait(waited_for, return_when=asyncio.FIRST_COMPLETED)
            if rest.done():
                self._interruptions = 0
                await rest
            else:
                self._interruptions += 1
        finally:
            for task in (rest, change):
                task.cancel()
            await asyncio.gather(rest, change, return_exceptions=True)

    def _refused(self, found: Mapping[str, Source]) -> frozenset[str]:
        """What was refused in this very version: it may get its chance in another set, but keeps nobody else's change waiting.

        Where a source is gone, it may be the same under another name, which goes in with the same set that leaves the old one out.
        """
        if self.acceptance.accepted.keys() - found.keys() - self.acceptance.rejected.keys():
            return frozenset()
        return frozenset(name for name in self.acceptance.rejected if found.get(name) == self.report.found.get(name))

    def _slow(self, found: Mapping[str, Source]) -> frozenset[str]:
        """New replacements of shipped modules, which take all the shipped tests that they may break."""
        known = {name: source.digest for name, source in self.acceptance.accepted.items()}
        return frozenset(
            name for name, source in found.items() if replaced_packages(self._shipped, source) and known.get(name) != source.digest
        )

    async def _load(self, found: Mapping[str, Source], refused: frozenset[str] = _NONE, slow: frozenset[str] = _NONE) -> bool:
        """Judge and publish; what was ``refused`` and what is ``slow`` stays as it is for now. Answers whether the set is another one."""
        began = time.perf_counter()
        settings, setting_problems = self._read_settings()
        self._judging.settings = settings.document()
        before = self.acceptance
        put_off = refused | slow
        acceptance = await accept(before.accepted, _with(found, {name: before.accepted.get(name) for name in put_off}), self._judging)
        standing = {name: why for name, why in before.rejected.items() if name in refused}
        # While something waits, who needs it is not told no yet.
        waiting = slow | (acceptance.rejected.keys() if slow else _NONE)
        rejected = {name: why for name, why in acceptance.rejected.items() if name not in waiting}
        acceptance = Acceptance(acceptance.accepted, {**rejected, **standing})
        unloadable = await self._publish(acceptance, settings)
        self._judging.forget_all_but((*found.values(), *acceptance.accepted.values(), *self.acceptance.accepted.values()))
        own = {name: source for name, source in self.acceptance.accepted.items() if adds_to(self._shipped, source)}
        told = {name: source for name, source in found.items() if name not in waiting}
        warnings = self._judging.warnings(told.values())
        self.report = LoadReport(self.revision, acceptance, told, warnings, setting_problems, own, settings, unloadable)
        self._count(self.report, time.perf_counter() - began)
        for name, reasons in rejected.items():
            log.warning("policy_rejected", source=name, problems=[str(reason) for reason in reasons])
        for setting in setting_problems:
            log.warning("setting_refused", key=setting.key, problem=setting.message)
        self._tell()
        return acceptance.accepted != before.accepted

    async def _publish(self, acceptance: Acceptance, settings: Settings) -> list[PolicyProblem]:
        """Serve the accepted set; what keeps even that from being served."""
        if self.revision is not None and (acceptance.accepted, settings) == (self.acceptance.accepted, self.settings):
            self.acceptance = acceptance
            return []
        if self.revision is None:
            # The first set of this process: nothing of it was judged here if no source had changed, and the image may be another.
            problems = await self._judging(acceptance.accepted, ())
            if problems:
                log.error("no_policy_set", problems=[str(problem) for problem in problems])
                return problems
        policy_set, problems = combine(self._shipped, acceptance.accepted.values(), settings.document())
        if problems:
            return problems
        if self._before_serving is not None:
            new = {name: source for name, source in acceptance.accepted.items() if source != self.acceptance.accepted.get(name)}
            replacing = {name: source for name, source in new.items() if replaced_packages(self._shipped, source)}
            if replacing:
                await self._before_serving(replacing)
        bundle = await self._judging.bundle(policy_set)
        self.acceptance, self.settings, self.trial_packages = acceptance, settings, policy_set.trials
        if bundle.revision != self.revision:
            self._server.publish(bundle)
            self._metrics.observe_policy_set(bundle.revision)
            log.info("policy_served", revision=bundle.revision, modules=len(policy_set.modules), size=len(bundle.content))
            for subscriber in self._subscribers:
                subscriber(bundle.revision, settings)
        return []

    def _read_settings(self) -> tuple[Settings, list[SettingProblem]]:
        config_map = self._informer.get(SYSTEM_NAMESPACE, SETTINGS_CONFIG_MAP) or {}
        return parse_settings(config_map.get("data") or {}, self._environ, self.settings)

    async def _read_sources(self) -> dict[str, Source]:
        """The labelled ConfigMaps as they are now; each version is read once."""
        config_maps = [config_map for config_map in self._informer.all(SYSTEM_NAMESPACE) if is_policy_source(config_map)]
        known, self._read = self._read, {}
        for config_map in config_maps:
            name, state = config_map["metadata"]["name"], json.dumps(_seen(config_map), sort_keys=True)
            if name not in known or known[name][0] != state:
                known[name] = (state, *await asyncio.to_thread(read_config_map, config_map))
            self._read[name] = known[name]
        for _, source, problems in self._read.values():
            if problems:
                self._judging.unreadable[version(source)] = problems
        return {name: source for name, (_, source, _) in self._read.items()}

    def _recall(self) -> None:
        """Go on from what counted before the restart."""
        if self._memory is None:
            return
        remembered = self._memory.read()
        self.settings = remembered.settings
        self.acceptance = Acceptance(dict(remembered.sources))
        self._judging.unreadable.update(remembered.problems)
        self._damaged = frozenset(name for name, _ in remembered.problems)

    def _forget_damaged(self) -> None:
        """A copy that could not be read, and that somebody has deleted, stands in nobody's way."""
        if self._damaged and self._memory is not None:
            remembered = self._memory.read().sources
            gone = {name for name in self._damaged if name not in remembered}
            accepted = {name: source for name, source in self.acceptance.accepted.items() if name not in gone}
            self.acceptance = Acceptance(accepted, self.acceptance.rejected)
            self._damaged -= gone

    async def _quiet(self) -> None:
        """Wait until nothing has changed for a moment, so that one `kubectl apply` of many files is one load."""
        loop = asyncio.get_running_loop()
        latest = loop.time() + _LONGEST_DEBOUNCE
        while (left := min(latest, self._last_change + _DEBOUNCE) - loop.time()) > 0:  # noqa: ASYNC110 - the end moves
            await asyncio.sleep(left)

    def _notice(self, old: Document | None, new: Document | None) -> None:
        # A status that someone took away is to be said again.
        if _seen(old) != _seen(new) or (_is_told(old) and not _is_told(new)) or (new is None and _is_ours(old)):
            self._last_change = asyncio.get_running_loop().time()
            self._changed.set()

    def _hear_from_opa(self, revision: str, errors: list[str]) -> None:
        changed = revision != self.opa_revision
        self.opa_revision, self.opa_errors = revision, errors
        if changed and revision == self.revision:
            log.info("policy_active", revision=revision)
            self._tell()
            for subscriber in self._activation_subscribers:
                subscriber(revision)

    def _tell(self) -> None:
        for subscriber in self._report_subscribers:
            subscriber()

    def _count(self, report: LoadReport, seconds: float) -> None:
        self._metrics.policy_loads.labels("rejected" if report.acceptance.rejected else "accepted").inc()
        self._metrics.policy_load_duration.observe(seconds)
        states = self._metrics.policy_configmaps
        states.labels("rejected").set(len(report.acceptance.rejected))
        states.labels("active").set(len(report.found.keys() - report.acceptance.rejected.keys()))


def _with(sources: Mapping[str, Source], others: Mapping[str, Source | None]) -> dict[str, Source]:
    """These sources with others in the place of those of the same name; None for none."""
    return {name: source for name, source in {**sources, **others}.items() if source is not None}


def _seen(config_map: Document | None) -> object:
    """What of a ConfigMap concerns the policy set."""
    if config_map is None or not (is_policy_source(config_map) or config_map["metadata"]["name"] == SETTINGS_CONFIG_MAP):
        return None
    return config_map["metadata"].get("uid"), config_map.get("data"), config_map.get("binaryData")


def _is_told(config_map: Document | None) -> bool:
    return config_map is not None and STATUS_ANNOTATION in (config_map["metadata"].get("annotations") or {})


def _is_ours(config_map: Document | None) -> bool:
    return config_map is not None and GUARDED_LABEL in (config_map["metadata"].get("labels") or {})
