"""An attempt's status as a working copy: the write protocol's child side (K1, K2), pure.

What is on record decides what may be done next: an operation without `sentAt` was never sent, one with `sentAt` and without
`answeredAt` is unknown until somebody has looked, and only what is recorded can be undone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from controller.core import conditions, stopwatch
from controller.core.changes import Change, change_of
from controller.core.durations import format_duration
from controller.core.status import MAX_MESSAGE, Fault
from controller.core.times import instant, stamp
from controller.core.verdict import ActionVerdict, ConditionResult, Operation, OperationRequest

VALIDATING = "validating"
EXECUTING = "executing"
VERIFYING = "verifying"
COMPLETED = "completed"
FAILED = "failed"
ENDED = frozenset({COMPLETED, FAILED})

_LONGEST_OUTPUT = 4096
_MOST_AFFECTED = 100
_MOST_SHOWN = 20

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


def touched(executions: Iterable[Json]) -> int:
    """How many different objects attempts have changed."""
    return len(
        {
            (resource["resourceType"], resource.get("namespace", ""), resource["name"])
            for execution in executions
            for resource in ((execution.get("status") or {}).get("executionResults") or {}).get("resourcesAffected") or []
        }
    )


def snapshot_of(execution: Json) -> dict[str, dict[str, str]]:
    """How things stood when an attempt failed: its unmet conditions, and what its target was before each operation."""
    status = execution.get("status") or {}
    judged = [*(status.get("preConditionResults") or []), *(status.get("postConditionResults") or [])]
    unmet = {c["conditionType"]: str(c.get("message", ""))[:MAX_MESSAGE] for c in judged if c.get("evaluated") and not c.get("passed")}
    snapshot: dict[str, dict[str, str]] = {"clusterState": dict(list(unmet.items())[:_MOST_SHOWN])} if unmet else {}
    targets = {}
    for operation in (status.get("executionResults") or {}).get("operations") or []:
        if (change := _change_of(operation)) is not None:
            place = f"{change.kind} {change.namespace + '/' if change.namespace else ''}{change.name}"
            targets[place] = (_shown(change.before) or change.type) + ("" if operation.get("sentAt") else " (nothing was sent)")
    if targets:
        snapshot["resourceSnapshot"] = dict(list(targets.items())[:_MOST_SHOWN])
    return snapshot


class AttemptDraft:
    """The working copy of one attempt's status."""

    def __init__(self, execution: Json, now: datetime) -> None:
        self._execution = execution
        self._original: Json = execution.get("status") or {}
        self.status: dict[str, Any] = {key: value for key, value in self._original.items() if key != "conditions"}
        self.status["executionResults"] = dict(self.status.get("executionResults") or {})
        self.now = now
        self.policy_problem = ""
        stopwatch.run(self.status, now)

    @property
    def phase(self) -> str:
        """Of the attempt, in lower case."""
        return str(self.status.get("phase", "")).lower()

    @property
    def operations(self) -> list[dict[str, Any]]:
        """What is on record, in order."""
        return list(self.status["executionResults"].get("operations") or [])

    def elapsed(self, now: datetime) -> timedelta:
        """How long the attempt has lasted, as far as time counts: nothing before it was first looked at."""
        began = self.status.get("startTime")
        return now - instant(began) - stopwatch.uncounted(self.status) if began else timedelta(0)

    def without_policy(self, problem: str) -> None:
        """Say that no decision can be had, and count the time until one can against no limit."""
        self.policy_problem = problem
        if self.status.get("startTime"):
            stopwatch.stop(self.status, self._original, self.now)

    def judged(self, gate: str, summary: Mapping[str, Any]) -> None:
        """Keep the last verdict of a gate, unless it says the same again."""
        gates = dict(self.status.get("gates") or {})
        before = gates.get(gate) or {}
        if any(before.get(key) != summary[key] for key in ("decision", "reasons", "policyRevision")):
            gates[gate] = summary
            self.status["gates"] = gates

    def validated(self, verdict: ActionVerdict, summary: Mapping[str, Any]) -> None:
        """Record what `action` said; whether the dry-run passes is seen after it. The same verdict again keeps its time."""
        policy = {"decision": summary["decision"], "reasons": summary["reasons"]}
        before = self.status.get("validationResults") or {}
        if before.get("policy") == policy:
            self.status["validationResults"] = dict(before)
            return
        found: dict[str, Any] = {"parametersValid": verdict.parameters_valid, "resourceExists": verdict.resource_exists}
        found |= {"policy": policy, "dryRunPassed": False, "validationTime": summary["time"]}
        self.status["validationResults"] = {key: value for key, value in found.items() if value is not None}

    def rehearsed(self, operations: Sequence[Operation]) -> None:
        """The API server would accept every request."""
        told = "\n".join(change_of(operation).line() for operation in operations)
        self.status["validationResults"] |= {"dryRunPassed": True, "rbacValid": True}
        if told:
            self.status["validationResults"]["dryRunOutput"] = told[:_LONGEST_OUTPUT]

    def forbidden(self) -> None:
        """The API server refuses what the action's ServiceAccount has no right to."""
        self.status["validationResults"] = {**(self.status.get("validationResults") or {}), "rbacValid": False}

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
        self._results(operations=None, startTime=None)
        self.status.pop("rollbackInformation", None)

    def hold(self, phase: str, message: str) -> None:
        """Wait in a phase, saying for what."""
        self._begin()
        self.status["phase"] = phase
        self._results(message=message[:MAX_MESSAGE])

    def intend(self, verdict: ActionVerdict, versions: Sequence[str] = ()) -> None:
        """K1: every operation with its way back, and the intent to send the first.

        ``versions`` are the resourceVersions that the targets had when the operations were rehearsed, "" where there was none.
        """
        self._begin()
        self.status["phase"] = EXECUTING
        self.status["serviceAccount"] = verdict.service_account
        entries = [_entry(operation) for operation in verdict.operations]
        for entry, version in zip(entries, versions, strict=False):
            if version:
                entry["resourceVersionBefore"] = version
        if entries:
            entries[0]["sentAt"] = stamp(self.now)
        self._results(operations=entries, startTime=stamp(self.now), message=None)
        undo = [entry["undo"] for entry in reversed(entries) if entry.get("undo")]
        available = verdict.reversible and bool(undo)
        self.status["rollbackInformation"] = {"available": available, "reason": verdict.irreversible_reason}
        if available:
            longest = format_duration(timedelta(seconds=verdict.timeout_seconds))
            self.status["rollbackInformation"] |= {"operations": undo, "estimatedDuration": longest}

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
        self._results(result=dict(result) or None, validationResult=self._proven())

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
        if status.get("phase"):
            generation = status["observedGeneration"] = self._execution["metadata"].get("generation", 0)
            status["conditions"] = conditions.derive_of_attempt(
                {**status, "conditions": self._original.get("conditions")},
                now=stamp(self.now),
                generation=generation,
                policy_problem=self.policy_problem,
            )
        return status

    def _proven(self) -> str | None:
        """What verifying found, in one line."""
        judged = self.status.get("postConditionResults") or []
        met = [entry["conditionType"] for entry in judged if entry["passed"]]
        return f"{len(met)} of {len(judged)} postconditions hold: {', '.join(met)}"[:MAX_MESSAGE] if judged else None

    def _begin(self) -> None:
        self.status.setdefault("startTime", stamp(self.now))

    def _end(self, phase: str, now: datetime) -> None:
        self._begin()
        self.status["phase"] = phase
        self.status["completionTime"] = stamp(now)
        self.status.pop("conditionSince", None)
        self._results(endTime=stamp(now), duration=format_duration(max(timedelta(0), now - instant(self.status["startTime"]))))

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


def _change_of(recorded: Json) -> Change | None:
    """What a recorded operation changes; None where another executor has recorded something else than a request."""
    try:
        return change_of(Operation.model_validate({"do": recorded.get("do"), "undo": recorded.get("undo")}))
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def _affected(operations: Sequence[Json]) -> list[dict[str, Any]]:
    changes = (_change_of(o) for o in operations[:_MOST_AFFECTED] if o.get("answeredAt"))
    return [_affected_line(change) for change in changes if change is not None]


def _affected_line(change: Change) -> dict[str, Any]:
    line = {"resourceType": change.kind, "namespace": change.namespace, "name": change.name, "changeType": change.type}
    return line | {key: _shown(values) for key, values in (("before", change.before), ("after", change.after)) if values}


def _shown(values: Mapping[str, str]) -> str:
    return "; ".join(f"{path}: {value}" for path, value in values.items())[:MAX_MESSAGE]
