"""An attempt's status as a working copy: the write protocol's child side (K1, K2), pure.

What is on record decides what may be done next: an operation without `sentAt` was never sent, one with `sentAt` and without
`answeredAt` is unknown until somebody has looked, and only what is recorded can be undone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from controller.core.operations import CHANGE_OF
from controller.core.status import MAX_MESSAGE, Fault
from controller.core.times import instant, stamp
from controller.core.verdict import ConditionResult, Operation, OperationRequest

VALIDATING = "validating"
EXECUTING = "executing"
VERIFYING = "verifying"
COMPLETED = "completed"
FAILED = "failed"
ENDED = frozenset({COMPLETED, FAILED})

Json = Mapping[str, Any]


def phase_of(execution: Json) -> str:
    """The phase of an attempt, whoever wrote it and in whatever letter case; "" before the first."""
    return str((execution.get("status") or {}).get("phase", "")).lower()


def has_ended(execution: Json) -> bool:
    """Tell whether an attempt is over."""
    return phase_of(execution) in ENDED


def sent_operations(execution: Json) -> list[dict[str, Any]]:
    """The recorded operations of which somebody meant to send the request."""
    operations = ((execution.get("status") or {}).get("executionResults") or {}).get("operations") or []
    return [operation for operation in operations if operation.get("sentAt")]


class AttemptDraft:
    """The working copy of one attempt's status."""

    def __init__(self, execution: Json, now: datetime) -> None:
        self._execution = execution
        self._original: Json = execution.get("status") or {}
        self.status: dict[str, Any] = dict(self._original)
        self.status["executionResults"] = dict(self.status.get("executionResults") or {})
        self.now = now

    @property
    def phase(self) -> str:
        """Of the attempt, in lower case."""
        return str(self.status.get("phase", "")).lower()

    @property
    def operations(self) -> list[dict[str, Any]]:
        """What is on record, in order."""
        return list(self.status["executionResults"].get("operations") or [])

    def started_at(self) -> datetime:
        """When the attempt's time began to run."""
        return instant(self.status.get("startTime") or self._execution["metadata"]["creationTimestamp"])

    def judged(self, gate: str, summary: Mapping[str, Any]) -> None:
        """Keep the last verdict of a gate, unless it says the same again."""
        gates = dict(self.status.get("gates") or {})
        before = gates.get(gate) or {}
        if any(before.get(key) != summary[key] for key in ("decision", "reasons", "policyRevision")):
            gates[gate] = summary
            self.status["gates"] = gates

    def validated(self, summary: Mapping[str, Any]) -> None:
        """Record what `action` said; whether the dry-run passes is seen after it. The same verdict again keeps its time."""
        policy = {"decision": summary["decision"], "reasons": summary["reasons"]}
        before = self.status.get("validationResults") or {}
        same = before.get("policy") == policy
        self.status["validationResults"] = (
            dict(before) if same else {"policy": policy, "dryRunPassed": False, "validationTime": summary["time"]}
        )

    def conditions(self, field: str, results: Sequence[ConditionResult]) -> None:
        """Record how conditions were judged, and since when each unmet one has been unmet.

        ``field`` is `preConditionResults` or `postConditionResults`. A result that is as it was keeps its time.
        """
        former = {entry["conditionType"]: entry for entry in self.status.get(field) or []}
        since = dict(self.status.get("conditionSince") or {})
        entries = []
        for result in results:
            if result.passed:
                since.pop(result.type, None)
            else:
                since.setdefault(result.type, stamp(self.now))
            entry = {
                "conditionType": result.type,
                "required": result.required,
                "evaluated": True,
                "passed": result.passed,
                "message": result.message[:MAX_MESSAGE],
            }
            before = former.get(result.type)
            if before and all(before.get(key) == value for key, value in entry.items()):
                entries.append(before)
            else:
                entries.append({**entry, "evaluationTime": stamp(self.now), "attempts": (before or {}).get("attempts", 0) + 1})
        if entries:
            self.status[field] = entries
        if since:
            self.status["conditionSince"] = since
        else:
            self.status.pop("conditionSince", None)

    def unmet_since(self, condition: str) -> datetime:
        """When something was first seen missing: now, unless that is on record."""
        since = dict(self.status.get("conditionSince") or {})
        first = since.setdefault(condition, stamp(self.now))
        self.status["conditionSince"] = since
        return instant(first)

    def met(self, condition: str) -> None:
        """What was missing is there."""
        since = {name: first for name, first in (self.status.get("conditionSince") or {}).items() if name != condition}
        if since:
            self.status["conditionSince"] = since
        else:
            self.status.pop("conditionSince", None)

    def withdraw(self) -> None:
        """What was meant to be done was refused on its only try: nothing of it happened, so there is nothing to take back."""
        self._results(operations=None)
        self.status.pop("rollbackInformation", None)

    def hold(self, phase: str, message: str) -> None:
        """Wait in a phase, saying for what."""
        self._begin()
        self.status["phase"] = phase
        self._results(message=message[:MAX_MESSAGE])

    def intend(self, operations: Sequence[Operation], service_account: str, *, reversible: bool, why_not: str) -> None:
        """K1: every operation with its way back, and the intent to send the first."""
        self._begin()
        self.status["phase"] = EXECUTING
        self.status["serviceAccount"] = service_account
        entries = [_entry(operation) for operation in operations]
        if entries:
            entries[0]["sentAt"] = stamp(self.now)
        self._results(operations=entries)
        self._results(message=None)
        undo = [entry["undo"] for entry in reversed(entries) if entry.get("undo")]
        self.status["rollbackInformation"] = {"available": reversible and bool(undo), "reason": why_not}

    def answered(self, index: int, now: datetime, *, version: str, uid: str) -> bool:
        """Operation ``index`` was carried out; note the intent to send the next one. Tells whether there is a next one."""
        entries = self.operations
        entries[index] = {**entries[index], "answeredAt": stamp(now), "outcome": "applied"}
        if version:
            entries[index]["resourceVersionAfter"] = version
        if uid:
            entries[index]["uid"] = uid
        more = index + 1 < len(entries)
        if more:
            entries[index + 1] = {**entries[index + 1], "sentAt": stamp(now)}
        self._results(operations=entries)
        return more

    def next_operation(self) -> tuple[int, OperationRequest] | None:
        """The first operation that has no answer on record."""
        for index, entry in enumerate(self.operations):
            if not entry.get("answeredAt"):
                return index, OperationRequest.model_validate(entry["do"])
        return None

    def complete(self, message: str, result: Mapping[str, Any], now: datetime) -> None:
        """K2: the attempt reached what it should."""
        self._end(COMPLETED, now)
        self._results(success=True, message=message[:MAX_MESSAGE], resourcesAffected=_affected(self.operations))
        self._results(result=dict(result) or None)

    def fail(self, fault: Fault, now: datetime) -> None:
        """The attempt ended badly."""
        self._end(FAILED, now)
        self._results(
            success=False,
            message=None,
            errorMessage=fault.message[:MAX_MESSAGE],
            errorType=fault.error_type,
            failureReason=fault.reason,
            remedy=fault.remedy[:MAX_MESSAGE] or None,
            resourcesAffected=_affected(self.operations),
        )

    def changed(self) -> bool:
        """Tell whether there is anything to write."""
        return self._final() != dict(self._original)

    def final(self) -> dict[str, Any]:
        """The whole status to write."""
        return self._final()

    def _final(self) -> dict[str, Any]:
        status = dict(self.status)
        if not status["executionResults"]:
            del status["executionResults"]
        return status

    def _begin(self) -> None:
        self.status.setdefault("startTime", stamp(self.now))

    def _end(self, phase: str, now: datetime) -> None:
        self._begin()
        self.status["phase"] = phase
        self.status["completionTime"] = stamp(now)
        self.status.pop("conditionSince", None)

    def _results(self, **values: object) -> None:
        for key, value in values.items():
            if value is None:
                self.status["executionResults"].pop(key, None)
            else:
                self.status["executionResults"][key] = value


def _entry(operation: Operation) -> dict[str, Any]:
    do = operation.do.model_dump(exclude_none=True)
    entry: dict[str, Any] = {key: do[key] for key in ("verb", "apiVersion", "kind", "namespace", "name", "subresource") if key in do}
    entry["do"] = do
    if operation.undo is not None:
        entry["undo"] = operation.undo.model_dump(exclude_none=True)
    return entry


def _affected(operations: Sequence[Json]) -> list[dict[str, Any]]:
    return [
        {
            "resourceType": o["kind"],
            "namespace": o.get("namespace", ""),
            "name": o["name"],
            "changeType": CHANGE_OF[o["verb"]],
        }
        for o in operations
        if o.get("answeredAt")
    ][:100]
