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

TRANSITIONS: dict[str, dict[str, str]] = {
    NEW: {PLANNING: "it was seen"},
    PLANNING: {VALIDATING: "the plan is made", FAILED: "no order of the steps, policy says no, cancelled, or out of time"},
    VALIDATING: {
        EXECUTING: "safe, and approved where that is asked for",
        COMPLETED: "it was only simulated",
        FAILED: "a required check or policy says no, rejected, expired, cancelled, or out of time",
    },
    EXECUTING: {
        MONITORING: "no step can go any further",
        ROLLING_BACK: "a critical step failed, or cancelled, and something is to be undone",
        FAILED: "a critical step failed, or cancelled, and nothing is to be undone",
        DEGRADED: "a critical step failed, or cancelled, and people decide about the undo",
        BLOCKED: "a required precondition stayed false, or policy refused a step",
    },
    MONITORING: {
        COMPLETED: "what was touched stayed healthy, or nobody can tell",
        ROLLING_BACK: "what was touched is not well, or cancelled, and something is to be undone",
        FAILED: "what was touched is not well, or cancelled, and nothing is to be undone",
    },
    ROLLING_BACK: {ROLLED_BACK: "everything that can be undone is", FAILED: "something could not be undone, or policy stopped it"},
    DEGRADED: {ROLLING_BACK: "a person asked for it"},
    COMPLETED: {},
    FAILED: {},
    ROLLED_BACK: {},
    BLOCKED: {},
}
"""Phase to the phases that may follow it, and when they do."""

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
