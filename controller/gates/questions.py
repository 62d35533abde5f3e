"""Building the documents that gates are asked: from our objects to the contract, and nothing else."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

from controller.core.durations import parse_duration
from controller.core.names import canonical_action
from controller.core.plan import Plan
from controller.gates.documents import Attempt, Step, Workflow, WorkflowStatus

Json = Mapping[str, Any]

_METADATA = ("name", "namespace", "uid", "generation", "creationTimestamp", "labels", "annotations")
_STATUS = (
    "phase",
    "totalSteps",
    "completedSteps",
    "failedStep",
    "failureReason",
    "startTime",
    "validationStartTime",
    "executionStartTime",
    "monitoringStartTime",
    "rollbackStartTime",
)
_PROGRESS = (
    "status",
    "attempts",
    "retriesAttempted",
    "errorType",
    "message",
    "startTime",
    "endTime",
    "completionOrder",
)


def workflow_document(workflow: Json, status: Json | None = None) -> Workflow:
    """The workflow as gates see it: without its steps, and with a compact status."""
    metadata, spec = workflow["metadata"], dict(workflow["spec"])
    definition = {key: value for key, value in spec["workflowDefinition"].items() if key != "steps"}
    spec["workflowDefinition"] = definition
    if overrides := spec.get("conditionOverrides"):
        spec["conditionOverrides"] = {canonical_action(action): value for action, value in overrides.items()}
    now = workflow.get("status") or {} if status is None else status
    summary = {key: now[key] for key in _STATUS if key in now}
    plan = now.get("executionPlan") or {}
    for source, key in (("planHash", "planHash"), ("strategy", "strategy")):
        if source in plan:
            summary[key] = plan[source]
    if "uncounted" in now:
        summary["uncountedSeconds"] = parse_duration(now["uncounted"]).total_seconds()
    approval = now.get("approval") or {}
    if approval.get("required"):
        summary["actionDigests"] = plan.get("actionDigests") or {}
    times = {key: approval[key] for key in ("requestedAt", "expiresAt") if key in approval}
    if times:
        summary["approval"] = times
    return {
        "metadata": {key: metadata[key] for key in _METADATA if key in metadata},  # type: ignore[typeddict-item]
        "spec": spec,
        "status": cast("WorkflowStatus", summary),
    }


def step_document(step: Json, entry: Json | None = None, attempts: Iterable[Json] = ()) -> Step:
    """One step with how far it is; its attempts tell whether anything was sent, and whether it can be taken back."""
    document = dict(step)
    if entry:
        document |= {key: entry[key] for key in _PROGRESS if key in entry}
    for attempt in attempts:
        status = attempt.get("status") or {}
        sent = any(o.get("sentAt") for o in (status.get("executionResults") or {}).get("operations") or [])
        # An attempt that sent nothing takes nothing away from what an earlier one did.
        if sent or "operationsSent" not in document:
            document["operationsSent"] = sent
            document["reversible"] = bool((status.get("rollbackInformation") or {}).get("available"))
    return cast("Step", document)


def started_steps(plan: Plan, entries: Iterable[Json], attempts: Mapping[int, Sequence[Json]]) -> list[Step]:
    """Every step that has had an attempt."""
    return [step_document(plan.steps[e["stepNumber"]], e, attempts.get(e["stepNumber"], ())) for e in entries if e.get("attempts")]


def attempt_document(execution: Json, *, owned: bool) -> Attempt:
    """One KubernetesExecution as gates see it."""
    metadata, spec, status = execution["metadata"], execution["spec"], execution.get("status") or {}
    results = status.get("executionResults") or {}
    document: dict[str, Any] = {
        "name": metadata["name"],
        "uid": metadata["uid"],
        "number": spec.get("attempt", 0),
        "owned": owned,
        "rollback": bool(spec.get("undoOf")) or (metadata.get("labels") or {}).get("kubernaut.ai/rollback") == "true",
        "overwrite": bool(spec.get("overwrite")),
        "phase": str(status.get("phase", "")).lower(),
        "operations": [_operation_document(o) for o in results.get("operations") or []],
        "since": dict(status.get("conditionSince") or {}),
    }
    optional = (
        ("undoOf", spec.get("undoOf")),
        ("startTime", status.get("startTime")),
        ("completionTime", status.get("completionTime")),
        ("errorType", results.get("errorType")),
        ("message", results.get("errorMessage") or results.get("message")),
        ("failureReason", results.get("failureReason")),
        ("result", results.get("result")),
    )
    return cast("Attempt", document | {key: value for key, value in optional if value})


def _operation_document(operation: Json) -> dict[str, Any]:
    kept = ("do", "undo", "sentAt", "answeredAt", "resourceVersionBefore", "resourceVersionAfter", "uid")
    return {key: operation[key] for key in kept if operation.get(key) is not None}


def task_of(question: Json) -> str:
    """A digest of what a question about a step's work is about, as far as its facts hang on it: where, what, to what, there or back."""
    workflow, step = question.get("workflow") or {}, question["step"]
    task = {
        "namespace": (workflow.get("metadata") or {}).get("namespace", ""),
        "action": step["action"],
        "parameters": step["parameters"],
        "undo": "undo" in question,
    }
    return hashlib.sha256(json.dumps(task, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
