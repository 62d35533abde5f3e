"""Conditions of a workflow, derived from its status: the truth that outsiders read, phase being their summary."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from controller.core import phases

_AFTER_PLANNING = frozenset({phases.VALIDATING, phases.EXECUTING, phases.MONITORING, phases.ROLLING_BACK}) | phases.TERMINAL

Triple = tuple[str, str, str]


def derive(status: Mapping[str, Any], *, now: str, generation: int, policy_problem: str) -> list[dict[str, Any]]:
    """Compute every condition; the transition time moves only when a condition's status does.

    Args:
        status: the workflow's status, its former conditions included.
        now: RFC 3339.
        generation: of the workflow.
        policy_problem: why no decision could be had, or "".
    """
    former = {c["type"]: c for c in status.get("conditions") or []}
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
    if status.get("phase") == phases.FAILED:
        return "False", "ValidationFailed", "; ".join(results.get("validationErrors") or [])
    return None


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
    if not result:
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
