"""Conditions, derived from a status: the truth that outsiders read, a phase being their summary.

Every reason that a condition can have stands in a table here with its meaning; the runbook in docs/operate.md says what to do.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from controller.core import phases

REASONS: dict[str, dict[str, str]] = {
    "Planned": {
        "PlanBuilt": "the steps are in order",
        "PlanningFailed": "the steps cannot be put in order, or policy refuses the plan",
        "Planning": "the steps are being put in order",
    },
    "Validated": {
        "ChecksPassed": "every required safety check is met",
        "ValidationFailed": "a required check, the dry-run or policy said no",
        "Validating": "the checks are being made",
    },
    "Approved": {
        "NotRequired": "nobody has to say yes",
        "Approved": "everybody who has to has said yes",
        "Rejected": "a person said no",
        "Expired": "nobody decided in time",
        "WaitingForApproval": "people have to say yes",
        "Undecided": "it ended before people had decided",
    },
    "Progressing": {
        "Ended": "it has ended",
        "Waiting": "it waits; waitingFor says for what",
        "Working": "it goes on",
    },
    "Verified": {
        "OutcomeConfirmed": "what was touched was seen healthy",
        "OutcomeNotConfirmed": "that it helped could not be confirmed",
    },
    "RolledBack": {
        "Undoing": "completed steps are being taken back",
        "Undone": "everything that could be taken back was",
        "UndoFailed": "not everything could be taken back",
    },
    "Succeeded": {
        "Completed": "it has done what it should",
        "Running": "it has not ended",
    },
    "PolicyReady": {
        "Deciding": "gates answer",
        "NoDecision": "no gate's decision can be had, so nothing happens",
    },
}
"""Type of a workflow's condition to its reasons and their meaning. `Succeeded` has besides every failure reason, in CamelCase."""

ATTEMPT_REASONS: dict[str, dict[str, str]] = {
    "Validated": {
        "Allowed": "policy allows the operations and the API server would accept them",
        "Refused": "policy or the API server refused them before anything was sent",
        "Waiting": "policy waits before it allows them",
    },
    "Sent": {
        "Answered": "every operation was answered",
        "UnderWay": "operations are under way",
        "NotSent": "it ended before every operation was answered",
    },
    "Verified": {
        "Proven": "the postconditions hold",
        "NotProven": "the postconditions did not come to hold",
        "Waiting": "the postconditions do not hold yet",
    },
    "Succeeded": {
        "Completed": "the attempt did what it should",
        "Failed": "the attempt failed; executionResults says why",
        "Running": "it has not ended",
    },
    "PolicyReady": {
        "Deciding": "gates answer again",
        "NoDecision": "no gate's decision can be had, so nothing happens",
    },
}
"""The same for an attempt; `PolicyReady` is only there once something was wrong with it."""

_AFTER_PLANNING = frozenset({phases.VALIDATING, phases.EXECUTING, phases.MONITORING, phases.ROLLING_BACK}) | phases.TERMINAL

Triple = tuple[str, str, str]


def derive(status: Mapping[str, Any], *, now: str, generation: int, policy_problem: str) -> list[dict[str, Any]]:
    """Compute every condition of a workflow; the transition time moves only when a condition's status does.

    Args:
        status: the workflow's status, its former conditions included.
        now: RFC 3339.
        generation: of the workflow.
        policy_problem: why no decision could be had, or "".
    """
    wanted: dict[str, Triple | None] = {
        "Planned": _planned(status),
        "Validated": _validated(status),
        "Approved": _approved(status),
        "Progressing": _progressing(status),
        "Verified": _verified(status),
        "RolledBack": _rolled_back(status),
        "Succeeded": _succeeded(status),
        "PolicyReady": ("False", "NoDecision", policy_problem) if policy_problem else ("True", "Deciding", ""),
    }
    return _written(wanted, status, now, generation)


def derive_of_attempt(status: Mapping[str, Any], *, now: str, generation: int, policy_problem: str) -> list[dict[str, Any]]:
    """Compute every condition of an attempt; arguments as in `derive`."""
    wanted: dict[str, Triple | None] = {
        "Validated": _attempt_validated(status),
        "Sent": _attempt_sent(status),
        "Verified": _attempt_verified(status),
        "Succeeded": _attempt_succeeded(status),
        "PolicyReady": _policy_ready_again(status, policy_problem),
    }
    return _written(wanted, status, now, generation)


def _written(wanted: Mapping[str, Triple | None], status: Mapping[str, Any], now: str, generation: int) -> list[dict[str, Any]]:
    former = {c["type"]: c for c in status.get("conditions") or []}
    conditions = []
    for kind, triple in wanted.items():
        if triple is None:
            continue
        state, reason, message = triple
        before = former.get(kind)
        since = before["lastTransitionTime"] if before and before["status"] == state else now
        conditions.append(
            {
                "type": kind,
                "status": state,
                "reason": reason,
                "message": message[:1024],
                "observedGeneration": generation,
                "lastTransitionTime": since,
            }
        )
    return conditions


def _planned(status: Mapping[str, Any]) -> Triple | None:
    phase = status.get("phase", "")
    if phase in _AFTER_PLANNING and status.get("executionPlan"):
        return "True", "PlanBuilt", f"{status.get('totalSteps', 0)} steps"
    if phase == phases.FAILED:
        return "False", "PlanningFailed", status.get("message", "")
    return "Unknown", "Planning", ""


def _validated(status: Mapping[str, Any]) -> Triple | None:
    results = status.get("validationResults") or {}
    if results.get("safetyChecksPassed"):
        return "True", "ChecksPassed", ""
    if status.get("phase") == phases.FAILED and status.get("validationStartTime"):
        return "False", "ValidationFailed", "; ".join(results.get("validationErrors") or [])
    return ("Unknown", "Validating", "") if status.get("phase") == phases.VALIDATING else None


def _approved(status: Mapping[str, Any]) -> Triple | None:
    approval = status.get("approval") or {}
    if not approval:
        return None
    if not approval.get("required"):
        return "True", "NotRequired", ""
    if (status.get("validationResults") or {}).get("approvalReceived"):
        return "True", "Approved", ""
    if status.get("failureReason") == "approval_rejected":
        return "False", "Rejected", status.get("message", "")
    if status.get("failureReason") == "approval_expired":
        return "False", "Expired", status.get("message", "")
    if status.get("phase") in phases.TERMINAL:
        return "False", "Undecided", ""
    return "False", "WaitingForApproval", status.get("waitingFor", "")


def _progressing(status: Mapping[str, Any]) -> Triple:
    phase = status.get("phase", "")
    if phase in phases.TERMINAL:
        return "False", "Ended", phase
    if status.get("waitingFor"):
        return "True", "Waiting", status["waitingFor"]
    return "True", "Working", phase


def _verified(status: Mapping[str, Any]) -> Triple | None:
    result = status.get("workflowResult")
    if not result or not status.get("monitoringStartTime"):
        return None
    if result["outcome"] in {"success", "partial_success"}:
        return "True", "OutcomeConfirmed", result["outcome"]
    return ("Unknown" if result["outcome"] == "unknown" else "False"), "OutcomeNotConfirmed", result["outcome"]


def _rolled_back(status: Mapping[str, Any]) -> Triple | None:
    phase = status.get("phase", "")
    if phase == phases.ROLLING_BACK:
        return "False", "Undoing", status.get("rollbackReason", "")
    if phase == phases.ROLLED_BACK:
        return "True", "Undone", ""
    if status.get("rollbackStartTime") and phase == phases.FAILED:
        return "False", "UndoFailed", status.get("message", "")
    return None


def _succeeded(status: Mapping[str, Any]) -> Triple:
    phase = status.get("phase", "")
    if phase == phases.COMPLETED:
        return "True", "Completed", ""
    if phase in phases.TERMINAL:
        reason = "".join(part.capitalize() for part in (status.get("failureReason") or phase).split("_"))
        return "False", reason, status.get("message", "")
    return "Unknown", "Running", ""


def _policy_ready_again(status: Mapping[str, Any], problem: str) -> Triple | None:
    if problem:
        return "False", "NoDecision", problem
    was_told = any(c["type"] == "PolicyReady" for c in status.get("conditions") or [])
    return ("True", "Deciding", "") if was_told else None


def _attempt_validated(status: Mapping[str, Any]) -> Triple:
    results = status.get("validationResults") or {}
    said = "; ".join(f"{r['code']}: {r['message']}" for r in (results.get("policy") or {}).get("reasons") or [])
    if results.get("dryRunPassed") or (status.get("executionResults") or {}).get("operations"):
        return "True", "Allowed", ""
    if str(status.get("phase", "")).lower() == "failed":
        return "False", "Refused", said
    return "Unknown", "Waiting", said


def _attempt_sent(status: Mapping[str, Any]) -> Triple | None:
    operations = (status.get("executionResults") or {}).get("operations") or []
    if not operations:
        return None
    answered = sum(bool(o.get("answeredAt")) for o in operations)
    if answered == len(operations):
        return "True", "Answered", f"{answered} of {len(operations)} operations"
    ended = str(status.get("phase", "")).lower() in {"completed", "failed"}
    return "False", "NotSent" if ended else "UnderWay", f"{answered} of {len(operations)} operations"


def _attempt_verified(status: Mapping[str, Any]) -> Triple | None:
    unmet = [c for c in status.get("postConditionResults") or [] if c.get("required") and not c.get("passed")]
    said = "; ".join(f"{c['conditionType']}: {c.get('message', '')}" for c in unmet)
    match str(status.get("phase", "")).lower():
        case "completed":
            return ("True", "Proven", "") if "verify" in (status.get("gates") or {}) else None
        case "failed":
            return ("False", "NotProven", said) if unmet else None
        case "verifying":
            return "Unknown", "Waiting", said
        case _:
            return None


def _attempt_succeeded(status: Mapping[str, Any]) -> Triple:
    results = status.get("executionResults") or {}
    match str(status.get("phase", "")).lower():
        case "completed":
            return "True", "Completed", ""
        case "failed":
            return "False", "Failed", f"{results.get('failureReason', '')}: {results.get('errorMessage', '')}"
        case _:
            return "Unknown", "Running", ""
