"""How things stand now, computed from the caches when somebody asks: nothing is kept, so nothing can drift from the truth."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from controller.core import attempt as attempts
from controller.core import phases, stopwatch
from controller.core.times import instant

Json = Mapping[str, Any]

WAITING = "waiting_for_approval"
_NEW = "new"


@dataclass(frozen=True, slots=True)
class Standing:
    """The world at one instant: ``oldest`` is seconds by phase, ``validation`` workflows by validation status; both name every key."""

    active: int
    running: int
    oldest: Mapping[str, float]
    validation: Mapping[str, int]


def standing(workflows: Iterable[Json], executions: Iterable[Json], now: datetime) -> Standing:
    """Count workflows and attempts."""
    active = 0
    oldest = dict.fromkeys((_NEW, *phases.ENTERED, WAITING), 0.0)
    validation = dict.fromkeys(("passed", "failed", "pending", WAITING), 0)
    for workflow in workflows:
        status = workflow.get("status") or {}
        waits = _waits_for_approval(status)
        if (state := WAITING if waits else _validation(status)) is not None:
            validation[state] += 1
        if status.get("phase") in phases.TERMINAL:
            continue
        active += 1
        if not workflow["spec"].get("suspend"):
            place = WAITING if waits else status.get("phase") or _NEW
            oldest[place] = max(oldest[place], _age(workflow, place, now))
    running = sum(not attempts.has_ended(execution) for execution in executions)
    return Standing(active, running, oldest, validation)


def failed_validating(status: Json) -> bool:
    """Tell whether a workflow failed where its safety or its approval was judged, and not because somebody cancelled it."""
    judged = "validationStartTime" in status and "executionStartTime" not in status
    return judged and status.get("phase") == phases.FAILED and status.get("failureReason") != "cancelled"


def _waits_for_approval(status: Json) -> bool:
    if status.get("phase") != phases.VALIDATING:
        return False
    conditions = status.get("conditions") or []
    return any(c["type"] == "Approved" and c["status"] == "False" and c["reason"] == "WaitingForApproval" for c in conditions)


def _validation(status: Json) -> str | None:
    """Answer passed, failed or pending; None for a workflow that ended without having been judged."""
    if failed_validating(status):
        return "failed"
    judged = (status.get("validationResults") or {}).get("safetyChecksPassed")
    if judged is not None:
        return "passed" if judged else "failed"
    return None if status.get("phase") in phases.TERMINAL else "pending"


def _age(workflow: Json, place: str, now: datetime) -> float:
    """How many seconds a workflow has been where it is; 0 where its status does not say so in a way that can be read."""
    status = workflow.get("status") or {}
    try:
        if place == WAITING:
            return max(0.0, (now - instant(status["approval"]["requestedAt"])).total_seconds())
        since = instant(status[phases.ENTERED[place]] if place != _NEW else workflow["metadata"]["creationTimestamp"])
        return max(0.0, (now - since - stopwatch.uncounted(status, now)).total_seconds())
    except (KeyError, ValueError):
        return 0.0
