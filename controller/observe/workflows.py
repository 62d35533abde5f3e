"""From a workflow before and after a write of its status to what the metrics say of it: pure comparison, no state but the counters.

Each write is guarded by the resourceVersion, so the pairs of one workflow form a chain and nothing in it is counted twice. A write
whose answer was lost may be missing from the chain; what it said is not counted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any, Protocol

from controller.core import phases, stopwatch
from controller.core.names import canonical_action
from controller.core.times import instant
from controller.observe.gauges import failed_validating
from controller.observe.metrics import FirstWords, Metrics

Json = Mapping[str, Any]

_MOST_ACTIONS = 100
_MOST_CHECKS = 20
_ADJUSTMENTS = frozenset({"skip", "lower", "extend", "adjust"})
# What was done was done well and still is not what was wanted.
_DID_NOT_HOLD = frozenset({"postcondition_failed", "monitoring_failed", "workflow_triggered_new_alerts"})
_STEP_ENDS = frozenset({"completed", "failed", "blocked"})


class ReconcileObserver(Protocol):
    """What the workflow reconciler tells of what it did; `WorkflowObserver` is the one implementation."""

    def moved(self, before: Json, after: Json, now: datetime) -> None:
        """A write of the status succeeded: the whole workflow as it was judged, and as the API server answered."""

    def status_written(self, seconds: float) -> None:
        """The API server took a status within so many seconds."""

    def status_conflict(self) -> None:
        """It refused one because somebody else had written since."""

    def status_failed(self) -> None:
        """It refused one, or did not answer."""

    def attempt_created(self, *, ok: bool) -> None:
        """A KubernetesExecution was created, or is given up: one call for one attempt, however many tries it took."""

    def released(self) -> None:
        """The finalizer of a deleted workflow was removed."""


class WorkflowObserver:
    """Counts what workflows do. Nothing here fails over a status that somebody has bent: what cannot be read is not counted."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._actions = FirstWords(_MOST_ACTIONS)
        self._checks = FirstWords(_MOST_CHECKS)

    def status_written(self, seconds: float) -> None:
        """See `ReconcileObserver`, as for the other verbs."""
        self._metrics.status_updates.labels("success").inc()
        self._metrics.status_update_duration.observe(seconds)

    def status_conflict(self) -> None:
        """A write came too late."""
        self._metrics.status_updates.labels("conflict").inc()

    def status_failed(self) -> None:
        """A write failed."""
        self._metrics.status_updates.labels("failure").inc()

    def attempt_created(self, *, ok: bool) -> None:
        """An attempt was created, or could not be."""
        self._metrics.step_creation.labels("success" if ok else "failure").inc()
        if not ok:
            self._metrics.execution_creation_failures.inc()

    def released(self) -> None:
        """A deleted workflow is gone."""
        self._metrics.deleted.inc()

    def moved(self, before: Json, after: Json, now: datetime) -> None:
        """Count everything that is in ``after`` and was not in ``before``."""
        was, status = before.get("status") or {}, after.get("status") or {}
        if not was.get("phase") and status.get("phase"):
            self._metrics.created.inc()
            self._metrics.workflow_steps.observe(len(_steps_of(after)))
        for phase, seconds in _phases_left(was, status, now):
            self._metrics.phase_duration.labels(phase).observe(seconds)
        if status.get("phase") in phases.TERMINAL and status["phase"] != was.get("phase"):
            self._ended(was, status, now)
        if _is_new("rollbackStartTime", was, status):
            self._metrics.rollbacks.labels(_rollback_reason(was, status)).inc()
        if (wait := _approval_ended(status)) and not _approval_ended(was):
            self._metrics.approval_wait.observe(_seconds(*wait))
        self._judged(was, status)
        self._stepped(was, after, now)

    def _ended(self, was: Json, status: Json, now: datetime) -> None:
        failed, reason = status["phase"] == phases.FAILED, status.get("failureReason")
        self._metrics.executions.labels("rollback_failed" if failed and reason == "rollback_failed" else status["phase"]).inc()
        if was.get("phase") != phases.DEGRADED and (began := _at(status, "startTime")) is not None:
            # A degraded workflow that is taken back ends a second time; its life was measured the first time.
            self._metrics.lifecycle_duration.observe(_seconds(began, _at(status, "completionTime") or now))
        if failed_validating(status):
            self._metrics.validation_failures.inc()
        if failed and reason == "dependency_resolution_failed":
            self._metrics.dependency_resolution_failures.inc()

    def _judged(self, was: Json, status: Json) -> None:
        checks = _list(status.get("validationResults") or {}, "checks")
        if checks and not _list(was.get("validationResults") or {}, "checks"):
            for check in checks:
                (kind,) = self._checks.bounded(check["type"])
                self._metrics.safety_validation.labels(kind, "passed" if check["passed"] else "failed").inc()
        result = status.get("workflowResult") or {}
        if not was.get("workflowResult") and result.get("outcome", "unknown") != "unknown" and "effectivenessScore" in result:
            # Where nothing could be found out (and in a simulation), the score is a zero that means nothing.
            self._metrics.effectiveness_score.observe(result["effectivenessScore"])
        known = _list(was, "adaptiveAdjustments")
        for entry in _list(status, "adaptiveAdjustments"):
            if entry not in known:
                first = entry["adjustment"].split(maxsplit=1)[:1]
                self._metrics.adaptive_adjustments.labels(first[0] if first and first[0] in _ADJUSTMENTS else "other").inc()

    def _stepped(self, was: Json, after: Json, now: datetime) -> None:
        former = {entry["stepNumber"]: entry for entry in _list(was, "stepStatuses")}
        for entry in _list(after.get("status") or {}, "stepStatuses"):
            before = former.get(entry["stepNumber"]) or {}
            if before != entry:
                (action,) = self._actions.bounded(entry["action"])
                self._attempted(action, before, entry, now)
                self._undone(action, before, entry, after)

    def _attempted(self, action: str, before: Json, entry: Json, now: datetime) -> None:
        """Attempts of a step that began or ended; in one write the next may begin where one ends."""
        begun = entry.get("attempts", 0) - before.get("attempts", 0)
        if begun > 0:
            self._metrics.steps_created.labels(action).inc(begun)
        if before.get("status") != "executing" or (entry["status"] == "executing" and begun <= 0):
            return
        end = entry["status"] if entry["status"] in _STEP_ENDS else "retried"
        self._metrics.steps_completed.labels(action, end).inc()
        if (began := _at(before, "startTime")) is not None:
            # Only a step ends at an instant of its own; an attempt that is followed by another ends now.
            ended = _at(entry, "endTime") or now
            self._metrics.step_completion_duration.labels("success" if end == "completed" else "failure").observe(_seconds(began, ended))

    def _undone(self, action: str, before: Json, entry: Json, workflow: Json) -> None:
        """Undo attempts that began or ended; a step of several attempts is taken back by several."""
        former = before.get("rollbackAttempts", 0)
        begun = entry.get("rollbackAttempts", 0) - former
        if begun <= 0 and (not former or before["status"] == entry["status"]):
            return
        own = next((s.get("rollbackSpec") for s in _steps_of(workflow) if s["stepNumber"] == entry["stepNumber"]), None)
        if own:
            (action,) = self._actions.bounded(canonical_action(own["action"]))
        if begun > 0:
            self._metrics.steps_created.labels(action).inc(begun)
        if former:
            self._metrics.steps_completed.labels(action, "rolled_back" if begun > 0 else entry["status"]).inc()


def _phases_left(was: Json, status: Json, now: datetime) -> Iterator[tuple[str, float]]:
    """Yield every phase that a write left, with its seconds; one write may pass through several."""
    entered = {phase: at for phase, key in phases.ENTERED.items() if (at := _at(status, key)) is not None}
    ended = _at(status, "completionTime") if status.get("phase") in phases.TERMINAL else None
    order = list(entered)
    for place, phase in enumerate(order):
        if phase == status.get("phase") or not (phase == was.get("phase") or _is_new(phases.ENTERED[phase], was, status)):
            continue
        later = [entered[p] for p in order[place + 1 :]]
        until = later[0] if later else ended or now
        seconds = _seconds(entered[phase], until)
        if phase == was.get("phase"):
            seconds -= stopwatch.uncounted(was, until).total_seconds()
        yield phase, max(0.0, seconds)


def _rollback_reason(was: Json, status: Json) -> str:
    reason = status.get("failureReason")
    if was.get("phase") == phases.DEGRADED or reason == "cancelled":
        return "manual"
    return "validation_failure" if reason in _DID_NOT_HOLD or "monitoringStartTime" in status else "step_failure"


def _approval_ended(status: Json) -> tuple[datetime, datetime] | None:
    """When a person was asked, and when that was over: by an answer, a policy that asks no more, or the end of the workflow."""
    asked = _at(status.get("approval") or {}, "requestedAt")
    over = _at(status.get("validationResults") or {}, "approvalTimestamp") or _at(status, "executionStartTime")
    over = over or _at(status, "completionTime")
    return (asked, over) if asked is not None and over is not None else None


def _is_new(key: str, was: Json, status: Json) -> bool:
    return key in status and key not in was


def _at(fields: Json, key: str) -> datetime | None:
    with suppress(ValueError):
        return instant(fields[key]) if key in fields else None
    return None


def _seconds(began: datetime, ended: datetime) -> float:
    """Never below 0: a clock may be set back."""
    return max(0.0, (ended - began).total_seconds())


def _list(fields: Json, key: str) -> list[dict[str, Any]]:
    return fields.get(key) or []


def _steps_of(workflow: Json) -> list[dict[str, Any]]:
    return _list(workflow["spec"]["workflowDefinition"], "steps")
