"""How things stand is what the objects say at that instant."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from controller.core.times import instant, stamp
from controller.observe.gauges import Standing, standing

Document = dict[str, Any]

NOW = instant("2026-11-21T10:30:00Z")
WAITS = [{"type": "Approved", "status": "False", "reason": "WaitingForApproval"}]


def ago(seconds: float) -> str:
    return stamp(NOW - timedelta(seconds=seconds))


def workflow(phase: str = "", *, suspend: bool = False, **status: Any) -> Document:
    """A workflow that is 1000 s old."""
    found: Document = {"metadata": {"creationTimestamp": ago(1000)}, "spec": {"suspend": suspend}}
    return {**found, "status": {"phase": phase, **status}} if phase else found


def waiting(seconds: float, **more: Any) -> Document:
    """One that has been validating for long, and has waited ``seconds`` of that for a person."""
    return workflow(
        "validating",
        validationStartTime=ago(900),
        validationResults={"safetyChecksPassed": True},
        approval={"requestedAt": ago(seconds)},
        conditions=WAITS,
        **more,
    )


def oldest(*workflows: Document) -> dict[str, float]:
    """The phases in which somebody is."""
    return {phase: age for phase, age in standing(workflows, [], NOW).oldest.items() if age}


def validation(*workflows: Document) -> dict[str, int]:
    return {state: count for state, count in standing(workflows, [], NOW).validation.items() if count}


def test_an_empty_cluster_still_names_every_phase_and_every_validation_status() -> None:
    assert standing([], [], NOW) == Standing(
        active=0,
        running=0,
        oldest=dict.fromkeys(("new", "planning", "validating", "executing", "monitoring", "rolling_back", "waiting_for_approval"), 0),
        validation=dict.fromkeys(("passed", "failed", "pending", "waiting_for_approval"), 0),
    )


def test_workflows_and_attempts_are_active_until_they_have_ended_in_any_letter_case() -> None:
    workflows = [workflow(), workflow("executing"), workflow("completed"), workflow("degraded")]
    attempts = [{}, {"status": {"phase": "Executing"}}, {"status": {"phase": "COMPLETED"}}, {"status": {"phase": "failed"}}]
    found = standing(workflows, attempts, NOW)
    assert (found.active, found.running) == (2, 2)


def test_the_oldest_of_each_phase_is_measured_from_the_beginning_of_the_phase() -> None:
    found = oldest(
        workflow(),
        workflow("executing", executionStartTime=ago(20)),
        workflow("executing", executionStartTime=ago(30)),
        workflow("completed", executionStartTime=ago(500)),
    )
    assert found == {"new": 1000, "executing": 30}


def test_who_waits_for_approval_is_in_no_phase_but_that() -> None:
    assert oldest(waiting(50), waiting(60)) == {"waiting_for_approval": 60}


def test_who_is_suspended_is_not_old() -> None:
    assert oldest(workflow("executing", suspend=True, executionStartTime=ago(20)), waiting(50, suspend=True)) == {}


def test_time_that_does_not_count_makes_nobody_old() -> None:
    stood = workflow("executing", executionStartTime=ago(500), uncounted="1m", clockStoppedSince=ago(400))
    assert oldest(stood) == {"executing": 40}


def test_time_that_does_not_count_in_words_that_nobody_can_read_is_counted() -> None:
    found = standing([workflow("executing", executionStartTime=ago(5), uncounted="a while")], [], NOW)
    assert found.oldest["executing"] == 5


@pytest.mark.parametrize(
    "bent",
    [
        workflow("executing"),
        workflow("executing", executionStartTime="noon"),
        workflow("executing", executionStartTime=ago(-5)),
        workflow("validating", conditions=WAITS),
    ],
)
def test_a_status_that_tells_no_time_costs_no_scrape(bent: Document) -> None:
    found = standing([bent], [], NOW)
    assert (found.active, set(found.oldest.values())) == (1, {0.0})


def test_a_workflow_has_one_validation_status() -> None:
    passed = {"safetyChecksPassed": True}
    assert validation(
        workflow(),
        workflow("validating", validationStartTime=ago(1)),
        waiting(5),
        workflow("executing", validationStartTime=ago(2), executionStartTime=ago(1), validationResults=passed),
        workflow("failed", validationStartTime=ago(2), executionStartTime=ago(1), validationResults=passed),
        workflow("completed", validationStartTime=ago(2), validationResults=passed),
        workflow("failed", validationStartTime=ago(2), validationResults={"safetyChecksPassed": False}),
    ) == {"pending": 2, "waiting_for_approval": 1, "passed": 3, "failed": 1}


def test_a_rejected_plan_failed_validation_and_a_cancelled_one_did_not() -> None:
    ended = waiting(5)["status"] | {"phase": "failed"}
    assert validation(workflow(**ended, failureReason="approval_rejected")) == {"failed": 1}
    assert validation(workflow(**ended, failureReason="cancelled")) == {"passed": 1}


def test_a_workflow_that_ended_before_it_was_judged_has_no_validation_status() -> None:
    assert validation(workflow("failed", failureReason="dependency_resolution_failed")) == {}
