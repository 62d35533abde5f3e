"""Tells people what became of their policy: the annotation on the ConfigMap, Events when its state changes, and what survives a restart.

Only one process may do this (the one that leads the controller `policy`); every other loads and serves in silence. It brings
the cluster to what the loader's report says, so saying the same again costs nothing, and what could not be written is written next time.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from controller.cluster.client import Cluster
from controller.cluster.errors import ApiError
from controller.cluster.events import EventRecorder
from controller.cluster.informer import Informer
from controller.cluster.kinds import CONFIG_MAP
from controller.core.times import stamp
from controller.observe import logs
from controller.policy.copies import LastGoodCopies, copy_name
from controller.policy.history import SetHistory
from controller.policy.loader import LoadReport, PolicyLoader
from controller.policy.sources import STATUS_ANNOTATION, PolicyProblem, Source
from controller.settings import SETTINGS_CONFIG_MAP, SYSTEM_NAMESPACE

log = logs.events(__name__)

Trials = Callable[[], Mapping[str, Mapping[str, Any]]]
"""Package on trial → what it has said so far."""

_MOST_ERRORS = 20
_LONGEST_TEXT = 1024
_LONGEST_EVENT = 900
_ACTIVATION_PATIENCE = 2.0
_BETWEEN_TRIAL_REPORTS = 15.0
_RETRY = 5.0
_LONGEST_RETRY = 300.0
_MOST_UNRECORDED = 100
# What may differ without being worth a word of its own: it says when, and under which set.
_WHEN = frozenset({"revision", "time"})


class PolicyReporter:
    """Brings annotations, Events and last good copies to the loader's report, from ``run`` on until it is cancelled."""

    def __init__(  # noqa: PLR0913 - the collaborators
        self,
        cluster: Cluster,
        informer: Informer,
        recorder: EventRecorder,
        loader: PolicyLoader,
        trials: Trials = dict,
        *,
        leads: Callable[[], bool] = lambda: True,
    ) -> None:
        self._cluster = cluster
        self._informer = informer
        self._recorder = recorder
        self._loader = loader
        self._trials = trials
        self._leads = leads
        self._copies = LastGoodCopies(cluster, informer)
        self._history = SetHistory(cluster, informer)
        self._news = asyncio.Event()
        self._settings_said: tuple[str, ...] = ()
        self.kept: dict[str, str] = {}
        # One load may follow another before the first is told, but each revision has decided something.
        self._unrecorded: deque[LoadReport] = deque(maxlen=_MOST_UNRECORDED)
        loader.subscribe_report(self._notice)

    async def run(self) -> None:
        """Tell whenever there is news and this process leads, until cancelled."""
        delay: float | None = None
        while True:
            await self._wait_for_news(delay)
            self._news.clear()
            if not self._leads():
                delay = None
                continue
            await self._activation()
            # What could not be written is tried again, ever more seldom; news are told at once meanwhile.
            delay = None if await self.tell() else min(2 * delay, _LONGEST_RETRY) if delay else _RETRY

    async def tell(self) -> bool:
        """Write what is not yet said; answers whether all of it could be."""
        report, active = self._loader.report, self._loader.active
        trials = self._trials()
        complete = True
        for name, source in sorted(report.found.items()):
            problems = report.acceptance.rejected.get(name) or [one for one in report.unloadable if one.source == name]
            if report.revision is not None or problems:
                complete &= await self._tell_source(source, report, problems, active=active, trials=trials)
        self._tell_settings(report)
        self._tell_kept(report)
        try:
            if report.revision is not None:
                await self._copies.keep(report.own)
                await self._copies.keep_settings(report.settings)
            unrecorded = list(self._unrecorded)
            await self._history.add(unrecorded, report.unloadable)
            for _ in unrecorded:
                self._unrecorded.popleft()
        except ApiError as exc:
            log.warning("policy_copies_not_written", error=str(exc))
            complete = False
        return complete

    def catch_up(self) -> None:
        """Tell what another, who led before, may not have told any more."""
        self._news.set()

    def _notice(self) -> None:
        report = self._loader.report
        if not self._leads():
            # Whoever leads records what it serves; only the latest may be left to the next one.
            self._unrecorded.clear()
        if report.revision is not None and not (self._unrecorded and self._unrecorded[-1].revision == report.revision):
            self._unrecorded.append(report)
        self._news.set()

    async def _wait_for_news(self, most: float | None) -> None:
        patience = [most] if most else []
        if self._loader.trial_packages:
            patience.append(_BETWEEN_TRIAL_REPORTS)
        try:
            async with asyncio.timeout(min(patience, default=None)):
                await self._news.wait()
        except TimeoutError:
            return

    async def _activation(self) -> None:
        """Wait a moment for OPA to decide by what is served, so that what is active soon is told once."""
        loop = asyncio.get_running_loop()
        end = loop.time() + _ACTIVATION_PATIENCE
        while self._loader.revision is not None and not self._loader.active and (left := end - loop.time()) > 0:
            try:
                async with asyncio.timeout(left):
                    await self._news.wait()
            except TimeoutError:
                return
            self._news.clear()

    async def _tell_source(
        self, source: Source, report: LoadReport, problems: list[PolicyProblem], *, active: bool, trials: Mapping[str, Mapping[str, Any]]
    ) -> bool:
        config_map = self._informer.get(SYSTEM_NAMESPACE, source.name)
        if config_map is None:
            return True
        state = "rejected" if problems else "active" if active else "accepted"
        known = _known_status(config_map)
        if state == "accepted" and known.get("state") == "active" and known.get("digest") == source.digest:
            # OPA is late with a change elsewhere in the set; this source is part of what it decides by already.
            state = "active"
        status = _status(source, state, problems)
        status |= {
            "warnings": _errors(source, report.warnings[source.name]) if source.name in report.warnings else known.get("warnings", [])
        }
        status |= _trial_status(source, trials)
        if {key: value for key, value in known.items() if key not in _WHEN} == status:
            return True
        changed = (known.get("state"), known.get("digest")) != (state, source.digest)
        # `revision` is that of the moment when this version of this source became active; it is not rewritten when others change.
        when = {"revision": report.revision or "", "time": stamp(report.time)}
        status |= when if changed else {key: known.get(key, value) for key, value in when.items()}
        body = {"metadata": {"annotations": {STATUS_ANNOTATION: json.dumps(status)}}}
        try:
            self._informer.put(await self._cluster.patch(CONFIG_MAP, SYSTEM_NAMESPACE, source.name, body, patch_type="merge"))
        except ApiError as exc:
            log.warning("policy_status_not_written", source=source.name, error=str(exc))
            return False
        if changed and problems:
            self._recorder.emit(config_map, "Warning", "PolicyRejected", _text(problems), "Load")
        elif changed and state == "active":
            self._recorder.emit(config_map, "Normal", "PolicyActivated", f"part of the policy set {report.revision}", "Load")
        return True

    def _tell_settings(self, report: LoadReport) -> None:
        said = tuple(problem.message for problem in report.setting_problems)
        config_map = self._informer.get(SYSTEM_NAMESPACE, SETTINGS_CONFIG_MAP)
        if config_map is not None and said and said != self._settings_said:
            self._recorder.emit(config_map, "Warning", "PolicyRejected", "; ".join(said)[:_LONGEST_EVENT], "Load")
        self._settings_said = said

    def _tell_kept(self, report: LoadReport) -> None:
        """Say of sources that were deleted why they go on deciding: others need them."""
        kept = {
            name: _text([problem for problem in problems if problem.source != name] or problems)
            for name, problems in report.acceptance.rejected.items()
            if name not in report.found
        }
        for name, why in kept.items():
            config_map = self._informer.get(SYSTEM_NAMESPACE, copy_name(name))
            if config_map is not None and self.kept.get(name) != why:
                message = f"ConfigMap {name} is gone, but its last version goes on deciding: without it the set fails: {why}"
                self._recorder.emit(config_map, "Warning", "PolicyRejected", message[:_LONGEST_EVENT], "Load")
        self.kept = kept


def _status(source: Source, state: str, problems: list[PolicyProblem]) -> dict[str, Any]:
    return {"state": state, "digest": source.digest, "errors": _errors(source, problems)}


def _errors(source: Source, problems: list[PolicyProblem]) -> list[dict[str, Any]]:
    return [
        {
            "file": f"{problem.source}/{problem.key}".removesuffix("/") if problem.source != source.name else problem.key,
            "line": problem.line,
            "column": problem.column,
            "message": problem.message[:_LONGEST_TEXT],
            "remedy": problem.remedy[:_LONGEST_TEXT],
        }
        for problem in problems[:_MOST_ERRORS]
    ]


def _trial_status(source: Source, trials: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    own = {module.package: trials[module.package] for module in source.modules if module.package in trials}
    return {"trials": {package: dict(summary) for package, summary in sorted(own.items())}} if own else {}


def _text(problems: list[PolicyProblem]) -> str:
    return "; ".join(str(problem) for problem in problems)[:_LONGEST_EVENT]


def _known_status(config_map: Mapping[str, Any]) -> dict[str, Any]:
    try:
        known = json.loads((config_map["metadata"].get("annotations") or {}).get(STATUS_ANNOTATION, "{}"))
    except (ValueError, RecursionError):
        return {}
    return known if isinstance(known, dict) else {}
