"""The one table of a workflow's phases: who may follow whom, and when each was entered."""

from __future__ import annotations

from controller.core.errors import ControllerError

NEW = ""
PLANNING = "planning"
VALIDATING = "validating"
EXECUTING = "executing"
MONITORING = "monitoring"
ROLLING_BACK = "rolling_back"
COMPLETED = "completed"
FAILED = "failed"
ROLLED_BACK = "rolled_back"
DEGRADED = "degraded"
BLOCKED = "blocked"

TRANSITIONS: dict[str, frozenset[str]] = {
    NEW: frozenset({PLANNING}),
    PLANNING: frozenset({VALIDATING, FAILED}),
    VALIDATING: frozenset({EXECUTING, FAILED, COMPLETED}),
    EXECUTING: frozenset({MONITORING, ROLLING_BACK, FAILED, DEGRADED, BLOCKED}),
    MONITORING: frozenset({COMPLETED, ROLLING_BACK, FAILED}),
    ROLLING_BACK: frozenset({ROLLED_BACK, FAILED}),
    DEGRADED: frozenset({ROLLING_BACK}),
    COMPLETED: frozenset(),
    FAILED: frozenset(),
    ROLLED_BACK: frozenset(),
    BLOCKED: frozenset(),
}

TERMINAL = frozenset({COMPLETED, FAILED, ROLLED_BACK, DEGRADED, BLOCKED})

# The timestamp that entering a phase sets, once.
ENTERED = {
    PLANNING: "planningStartTime",
    VALIDATING: "validationStartTime",
    EXECUTING: "executionStartTime",
    MONITORING: "monitoringStartTime",
    ROLLING_BACK: "rollbackStartTime",
}


class TransitionError(ControllerError):
    """A phase was to follow another that it may not follow; a fault of this program, never of a user."""


def check_transition(before: str, after: str) -> None:
    """Raise unless ``after`` may follow ``before``."""
    if after not in TRANSITIONS[before]:
        raise TransitionError(f"phase {after!r} may not follow {before!r}")
