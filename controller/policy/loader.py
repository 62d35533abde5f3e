"""Keeps OPA on the best policy set there is: every change is tried, and a bad one never replaces a good one.

A change wakes the loader, which reads all sources afresh. All changes are tried together; if that fails, one at a time on top of
what was accepted before, oldest first, again and again until none is accepted (one may need another). What is not accepted stays
at its last accepted version, a deletion included. The acceptance is pure bookkeeping in `Acceptance`; judging a set is the
Checker's, telling people is `report.py`'s.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from controller.cluster.cache import Document
from controller.cluster.informer import Informer
from controller.observe import logs
from controller.observe.health import Trouble
from controller.observe.metrics import Metrics
from controller.policy.bundle import Bundle, build_bundle
from controller.policy.check import Checker, CheckUnavailableError
from controller.policy.serve import BundleServer
from controller.policy.sources import PolicyProblem, Source, combine, is_policy_source, read_config_map
from controller.settings import SETTINGS_CONFIG_MAP, SYSTEM_NAMESPACE, SettingProblem, Settings, parse_settings

log = logs.events(__name__)

_DEBOUNCE = 0.03
_LONGEST_DEBOUNCE = 0.3
_RETRY = 2.0
_ACTIVATION_PATIENCE = 2.0


@dataclass(frozen=True, slots=True)
class Acceptance:
    """Which version of each source counts, and why the newest version of some does not."""

    accepted: Mapping[str, Source] = field(default_factory=dict)
    rejected: Mapping[str, list[PolicyProblem]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LoadReport:
    """The outcome of one load, for whoever tells people about it."""

    revision: str | None
    active: bool
    acceptance: Acceptance
    found: Mapping[str, Source]
    setting_problems: list[SettingProblem]


Judge = Callable[[Mapping[str, Source]], Awaitable[list[PolicyProblem]]]
Reporter = Callable[[LoadReport], Awaitable[None]]


async def accept(last: Mapping[str, Source], found: Mapping[str, Source], judge: Judge) -> Acceptance:
    """The best mixture of the last accepted sources and the ones found now; ``judge`` says what is wrong with a mixture."""
    changed = [name for name in last.keys() | found.keys() if _digest(last.get(name)) != _digest(found.get(name))]
    if not changed:
        return Acceptance(dict(last))
    problems = await judge(found)
    if not problems:
        return Acceptance(dict(found))
    accepted = dict(last)
    rejected = dict.fromkeys(changed, problems)
    waiting = sorted(changed, key=lambda name: _order(found.get(name) or last[name]))
    # A single change was already tried above: with nothing beside it, "all together" and "alone" are the same question.
    progress = len(changed) > 1
    while progress:
        progress = False
        for name in list(waiting):
            tried = _with(accepted, name, found.get(name))
            rejected[name] = await judge(tried)
            if not rejected[name]:
                accepted, progress = tried, True
                waiting.remove(name)
                del rejected[name]
    return Acceptance(accepted, {name: rejected[name] for name in waiting})


class PolicyLoader:
    """Watches the sources, publishes the accepted set, and knows whether OPA follows.

    ``informer`` holds the ConfigMaps of kubernaut-system (all of them: the settings are not labelled as policy). ``accepted`` is
    what counted before a restart, for as long as the newest version of a source does not pass.
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
        reporter: Reporter | None = None,
        accepted: Mapping[str, Source] | None = None,
    ) -> None:
        self.settings = Settings()
        self.acceptance = Acceptance(dict(accepted or {}))
        self.opa_revision = ""
        self.opa_errors: list[str] = []
        self._shipped = shipped
        self._informer = informer
        self._checker = checker
        self._server = server
        self._environ = environ
        self._metrics = metrics or Metrics()
        self._reporter = reporter
        self._subscribers: list[Callable[[str, Settings], None]] = []
        self._activation_subscribers: list[Callable[[str], None]] = []
        self._changed = asyncio.Event()
        self._heard = asyncio.Event()
        self._late = False
        self._last_change = 0.0
        self._unloadable: list[PolicyProblem] = []
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

    def trouble(self) -> Trouble | None:
        """Why decisions are not made under the newest accepted set, for the readiness check."""
        if self.revision is None:
            why = "; ".join(str(problem) for problem in self._unloadable[:3]) or "the policy ConfigMaps are not read yet"
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
        self._changed.set()
        while True:
            await self._changed.wait()
            await self._quiet()
            self._changed.clear()
            try:
                await self.load()
            except CheckUnavailableError as exc:
                self._metrics.policy_loads.labels("unavailable").inc()
                log.warning("policy_check_unavailable", error=str(exc), retry_seconds=_RETRY)
                await asyncio.sleep(_RETRY)
                self._changed.set()

    async def load(self) -> LoadReport:
        """Read the sources, judge what changed, publish what is accepted."""
        began = time.perf_counter()
        settings, setting_problems = self._read_settings()
        found, unreadable = self._read_sources()
        judged = _Judgement(self._shipped, settings, self._checker, unreadable)
        acceptance = await accept(self.acceptance.accepted, found, judged)
        problems = await self._publish(acceptance, settings, judged)
        seconds = time.perf_counter() - began
        active = self.revision is not None and await self._activated()
        report = LoadReport(self.revision, active, acceptance, found, setting_problems)
        self._unloadable = problems
        self._late = not active
        self._count(report, seconds)
        for name, reasons in acceptance.rejected.items():
            log.warning("policy_rejected", source=name, problems=[str(reason) for reason in reasons])
        for setting in setting_problems:
            log.warning("setting_refused", key=setting.key, problem=setting.message)
        if self._reporter is not None:
            await self._reporter(report)
        return report

    async def _publish(self, acceptance: Acceptance, settings: Settings, judged: _Judgement) -> list[PolicyProblem]:
        """Serve the accepted set; what keeps even that from being served."""
        if self.revision is None:
            # The first set of this process: nothing of it was judged if there was no source to judge.
            problems = await judged(acceptance.accepted)
            if problems:
                log.error("no_policy_set", problems=[str(problem) for problem in problems])
                return problems
        policy_set, problems = combine(self._shipped, acceptance.accepted.values(), settings.document())
        if problems:
            return problems
        bundle: Bundle = await asyncio.to_thread(build_bundle, policy_set)
        self.acceptance, self.settings = acceptance, settings
        if bundle.revision != self.revision:
            self._server.publish(bundle)
            self._metrics.observe_policy_set(bundle.revision)
            log.info("policy_served", revision=bundle.revision, modules=len(policy_set.modules), size=len(bundle.content))
            for subscriber in self._subscribers:
                subscriber(bundle.revision, settings)
        return []

    async def _activated(self) -> bool:
        """Wait a moment for OPA to decide by what is served, so that nobody is told "active" before it is."""
        try:
            async with asyncio.timeout(_ACTIVATION_PATIENCE):
                while self.opa_revision != self.revision:
                    self._heard.clear()
                    await self._heard.wait()
        except TimeoutError:
            return False
        return True

    def _read_settings(self) -> tuple[Settings, list[SettingProblem]]:
        config_map = self._informer.get(SYSTEM_NAMESPACE, SETTINGS_CONFIG_MAP) or {}
        return parse_settings(config_map.get("data") or {}, self._environ, self.settings)

    def _read_sources(self) -> tuple[dict[str, Source], dict[str, list[PolicyProblem]]]:
        """The labelled ConfigMaps as they are now, and what makes some of them unreadable."""
        found: dict[str, Source] = {}
        unreadable: dict[str, list[PolicyProblem]] = {}
        for config_map in self._informer.all(SYSTEM_NAMESPACE):
            if is_policy_source(config_map):
                source, problems = read_config_map(config_map)
                found[source.name] = source
                if problems:
                    unreadable[source.digest] = problems
        return found, unreadable

    async def _quiet(self) -> None:
        """Wait until nothing has changed for a moment, so that one `kubectl apply` of many files is one load."""
        loop = asyncio.get_running_loop()
        latest = loop.time() + _LONGEST_DEBOUNCE
        while (left := min(latest, self._last_change + _DEBOUNCE) - loop.time()) > 0:  # noqa: ASYNC110 - the end moves
            await asyncio.sleep(left)

    def _notice(self, old: Document | None, new: Document | None) -> None:
        for obj in (old, new):
            if obj is not None and (is_policy_source(obj) or obj["metadata"]["name"] == SETTINGS_CONFIG_MAP):
                self._last_change = asyncio.get_running_loop().time()
                self._changed.set()
                return

    def _hear_from_opa(self, revision: str, errors: list[str]) -> None:
        changed = revision != self.opa_revision
        self.opa_revision, self.opa_errors = revision, errors
        self._heard.set()
        if changed and revision == self.revision:
            log.info("policy_active", revision=revision)
            if self._late:
                # People were told "accepted" only; the next load says "active".
                self._changed.set()
            for subscriber in self._activation_subscribers:
                subscriber(revision)

    def _count(self, report: LoadReport, seconds: float) -> None:
        self._metrics.policy_loads.labels("rejected" if report.acceptance.rejected else "accepted").inc()
        self._metrics.policy_load_duration.observe(seconds)
        states = self._metrics.policy_configmaps
        states.labels("rejected").set(len(report.acceptance.rejected))
        states.labels("active").set(len(report.found.keys() - report.acceptance.rejected.keys()))


@dataclass(frozen=True, slots=True)
class _Judgement:
    """Judges a mixture of sources: readable, no package claimed twice, compiles."""

    shipped: Source
    settings: Settings
    checker: Checker
    unreadable: Mapping[str, list[PolicyProblem]]

    async def __call__(self, sources: Mapping[str, Source]) -> list[PolicyProblem]:
        problems = [problem for source in sources.values() for problem in self.unreadable.get(source.digest, ())]
        if problems:
            return problems
        policy_set, problems = combine(self.shipped, sources.values(), self.settings.document())
        return problems or await self.checker.check(policy_set)


def _digest(source: Source | None) -> str | None:
    return source.digest if source is not None else None


def _order(source: Source) -> tuple[str, str]:
    return source.created, source.name


def _with(sources: Mapping[str, Source], name: str, source: Source | None) -> dict[str, Source]:
    others = {key: value for key, value in sources.items() if key != name}
    return others if source is None else {**others, name: source}
