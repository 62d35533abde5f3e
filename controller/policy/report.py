"""Tells people what became of their policy: the annotation on the ConfigMap, and an Event when its state changes.

Only one process may do this (the one that runs the controller `policy`, and leads); every other loads and serves in silence.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from controller.cluster.client import Cluster
from controller.cluster.errors import ApiError
from controller.cluster.events import EventRecorder
from controller.cluster.informer import Informer
from controller.cluster.kinds import CONFIG_MAP
from controller.observe import logs
from controller.policy.loader import LoadReport
from controller.policy.sources import STATUS_ANNOTATION, PolicyProblem, Source
from controller.settings import SETTINGS_CONFIG_MAP, SYSTEM_NAMESPACE

log = logs.events(__name__)

_MOST_ERRORS = 20
_LONGEST_EVENT = 900


class PolicyReporter:
    """A loader's reporter that writes to the cluster. Saying the same again costs nothing: the annotation is compared first."""

    def __init__(self, cluster: Cluster, informer: Informer, recorder: EventRecorder) -> None:
        self._cluster = cluster
        self._informer = informer
        self._recorder = recorder
        self._settings_said: tuple[str, ...] = ()

    async def __call__(self, report: LoadReport) -> None:
        """Bring every ConfigMap's annotation to what the report says."""
        for name, source in sorted(report.found.items()):
            problems = report.acceptance.rejected.get(name, [])
            if report.revision is not None or problems:
                await self._tell(source, report, problems)
        self._tell_settings(report)

    async def _tell(self, source: Source, report: LoadReport, problems: list[PolicyProblem]) -> None:
        config_map = self._informer.get(SYSTEM_NAMESPACE, source.name)
        if config_map is None:
            return
        state = "rejected" if problems else "active" if report.active else "accepted"
        status = _status(source, state, problems)
        known = _known_status(config_map)
        if all(known.get(key) == value for key, value in status.items()):
            return
        if state == "accepted" and known.get("state") == "active" and known.get("digest") == source.digest:
            # OPA is late with a change elsewhere in the set; this source is part of what it decides by already.
            return
        # `revision` is that of the moment when this version of this source became active; it is not rewritten when others change.
        status |= {"revision": report.revision or "", "time": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")}
        body = {"metadata": {"annotations": {STATUS_ANNOTATION: json.dumps(status)}}}
        try:
            self._informer.put(await self._cluster.patch(CONFIG_MAP, SYSTEM_NAMESPACE, source.name, body, patch_type="merge"))
        except ApiError as exc:
            log.warning("policy_status_not_written", source=source.name, error=str(exc))
            return
        if problems:
            message = "; ".join(str(problem) for problem in problems)[:_LONGEST_EVENT]
            self._recorder.emit(config_map, "Warning", "PolicyRejected", message, "Load")
        elif report.active:
            self._recorder.emit(config_map, "Normal", "PolicyActivated", f"part of the policy set {report.revision}", "Load")

    def _tell_settings(self, report: LoadReport) -> None:
        said = tuple(problem.message for problem in report.setting_problems)
        config_map = self._informer.get(SYSTEM_NAMESPACE, SETTINGS_CONFIG_MAP)
        if config_map is not None and said and said != self._settings_said:
            self._recorder.emit(config_map, "Warning", "PolicyRejected", "; ".join(said)[:_LONGEST_EVENT], "Load")
        self._settings_said = said


def _status(source: Source, state: str, problems: list[PolicyProblem]) -> dict[str, Any]:
    errors = [
        {
            "file": f"{problem.source}/{problem.key}" if problem.source != source.name else problem.key,
            "line": problem.line,
            "column": problem.column,
            "message": problem.message,
            "remedy": problem.remedy,
        }
        for problem in problems[:_MOST_ERRORS]
    ]
    return {"state": state, "digest": source.digest, "errors": errors}


def _known_status(config_map: Mapping[str, Any]) -> dict[str, Any]:
    try:
        known = json.loads((config_map["metadata"].get("annotations") or {}).get(STATUS_ANNOTATION, "{}"))
    except ValueError:
        return {}
    return known if isinstance(known, dict) else {}
