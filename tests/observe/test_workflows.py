"""What a write of a workflow's status changed is what the metrics say, no more and no less."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from controller.core.times import instant, stamp
from controller.observe.metrics import Metrics
from controller.observe.workflows import ReconcileObserver, WorkflowObserver

Document = dict[str, Any]

NOW = instant("2026-11-21T10:30:00.000Z")
PLANNED = {"phase": "planning", "startTime": "2026-11-21T10:00:00.000Z", "planningStartTime": "2026-11-21T10:00:00.000Z"}
VALIDATING = {**PLANNED, "phase": "validating", "validationStartTime": "2026-11-21T10:00:02.000Z"}
EXECUTING = {**VALIDATING, "phase": "executing", "executionStartTime": "2026-11-21T10:00:10.000Z"}
MONITORING = {**EXECUTING, "phase": "monitoring", "monitoringStartTime": "2026-11-21T10:05:10.000Z"}
UNDOING = {**EXECUTING, "phase": "rolling_back", "rollbackStartTime": "2026-11-21T10:01:10.000Z", "failureReason": "timeout"}
END = {"completionTime": "2026-11-21T10:10:00.000Z"}


def document(status: Mapping[str, Any] | None = None, *steps: Document) -> Document:
    """A workflow; ``steps`` are those of its spec, one that only tells if none are given."""
    found: Document = {
        "metadata": {"namespace": "shop", "name": "w", "creationTimestamp": "2026-11-21T10:00:00Z"},
        "spec": {"workflowDefinition": {"steps": list(steps) or [{"stepNumber": 1, "name": "a", "action": "notify-only"}]}},
    }
    return found if status is None else {**found, "status": dict(status)}


def line(status: str, **more: Any) -> Document:
    """A line of stepStatuses for step 1."""
    return {"stepNumber": 1, "name": "a", "action": "scale_deployment", "status": status, "attempts": 1, **more}


def samples(metrics: Metrics) -> dict[tuple[str, ...], float]:
    """Every sample by its name without the product's prefixes, and its label values; buckets are left out."""

    def read() -> Iterator[tuple[tuple[str, ...], float]]:
        for family in text_string_to_metric_families(metrics.exposition().decode()):
            for sample in family.samples:
                if not sample.name.endswith("_bucket"):
                    name = sample.name.removeprefix("kubernaut_").removeprefix("workflowexecution_")
                    yield (name, *sample.labels.values()), sample.value

    return dict(read())


def counted(*states: Mapping[str, Any] | None) -> dict[tuple[str, ...], float]:
    """What is counted when a workflow goes through these statuses (or whole documents), one write each; zeros are left out."""
    metrics = Metrics()
    observer = WorkflowObserver(metrics)
    documents = [state if state is not None and "spec" in state else document(state) for state in states]
    for before, after in pairwise(documents):
        observer.moved(before, after, NOW)
    return {key: value for key, value in samples(metrics).items() if value}


def only(found: Mapping[tuple[str, ...], float], *names: str) -> dict[tuple[str, ...], float]:
    """The samples whose name begins with one of these."""
    return {key: value for key, value in found.items() if key[0].startswith(names)}


# The workflow.


def test_a_workflow_is_created_when_it_gets_its_first_phase_and_its_steps_are_counted_once() -> None:
    steps = [{"stepNumber": n, "name": f"s{n}", "action": "notify-only"} for n in range(1, 13)]
    found = counted(document(None, *steps), document(PLANNED, *steps), document(VALIDATING, *steps))
    assert only(found, "created", "workflow_steps") == {
        ("created_total",): 1,
        ("workflow_steps_count",): 1,
        ("workflow_steps_sum",): 12,
    }


def test_each_phase_that_is_left_is_timed_once() -> None:
    found = counted(None, PLANNED, VALIDATING, EXECUTING, MONITORING, {**MONITORING, "phase": "completed", **END})
    assert only(found, "phase_duration_seconds_sum") == {
        ("phase_duration_seconds_sum", "planning"): 2,
        ("phase_duration_seconds_sum", "validating"): 8,
        ("phase_duration_seconds_sum", "executing"): 300,
        ("phase_duration_seconds_sum", "monitoring"): 290,
    }
    assert set(only(found, "phase_duration_seconds_count").values()) == {1}


def test_phases_that_one_write_passes_through_are_timed_too() -> None:
    found = counted(None, {**EXECUTING, "executionStartTime": "2026-11-21T10:00:02.000Z"})
    assert only(found, "phase_duration") == {
        ("phase_duration_seconds_count", "planning"): 1,
        ("phase_duration_seconds_sum", "planning"): 2,
        ("phase_duration_seconds_count", "validating"): 1,
    }


def test_time_that_counts_against_no_limit_does_not_count_here_either() -> None:
    waited = {**VALIDATING, "uncounted": "1s", "clockStoppedSince": "2026-11-21T10:00:05.000Z"}
    assert counted(waited, EXECUTING)["phase_duration_seconds_sum", "validating"] == 8 - 1 - 5


@pytest.mark.parametrize(
    ("clock", "seconds"),
    [({"uncounted": "soon"}, 8), ({"clockStoppedSince": "then"}, 8), ({"uncounted": "100h"}, 0)],
)
def test_a_bent_clock_is_not_believed_and_no_phase_is_shorter_than_nothing(clock: Document, seconds: float) -> None:
    found = counted({**VALIDATING, **clock}, EXECUTING)
    assert found["phase_duration_seconds_count", "validating"] == 1
    assert found.get(("phase_duration_seconds_sum", "validating"), 0) == seconds


def test_what_is_no_time_is_not_measured_and_nothing_fails() -> None:
    found = counted({**EXECUTING, "executionStartTime": "noon"}, {**MONITORING, "executionStartTime": "noon", "startTime": "dawn"})
    assert only(found, "phase_duration") == {}


@pytest.mark.parametrize("phase", ["completed", "failed", "rolled_back", "degraded", "blocked"])
def test_an_end_is_counted_by_its_phase_and_the_life_is_timed(phase: str) -> None:
    found = counted(MONITORING, {**MONITORING, "phase": phase, **END})
    assert only(found, "executions", "lifecycle") == {
        ("executions_total", phase): 1,
        ("lifecycle_duration_seconds_count",): 1,
        ("lifecycle_duration_seconds_sum",): 600,
    }


def test_a_clock_that_was_set_back_makes_no_life_shorter_than_nothing() -> None:
    found = counted(MONITORING, {**MONITORING, "phase": "completed", "completionTime": "2026-11-21T09:00:00.000Z"})
    assert only(found, "lifecycle") == {("lifecycle_duration_seconds_count",): 1}


def test_a_rollback_that_failed_is_an_outcome_of_its_own() -> None:
    found = counted(UNDOING, {**UNDOING, "phase": "failed", "failureReason": "rollback_failed", **END})
    assert only(found, "executions", "phase_duration_seconds_sum") == {
        ("executions_total", "rollback_failed"): 1,
        ("phase_duration_seconds_sum", "rolling_back"): 530,
    }


def test_a_write_after_the_end_counts_nothing() -> None:
    done = {**MONITORING, "phase": "completed", **END, "stepStatuses": [line("completed", endTime="2026-11-21T10:05:00.000Z")]}
    assert counted(done, {**done, "message": "still completed"}) == {}


def test_a_degraded_workflow_that_is_taken_back_ends_twice_and_lives_once() -> None:
    degraded = {**EXECUTING, "phase": "degraded", "failureReason": "step_execution_failed", **END}
    back = {**degraded, "phase": "rolled_back", "rollbackStartTime": stamp(NOW), "completionTime": stamp(NOW + timedelta(seconds=3))}
    found = counted(EXECUTING, degraded, back)
    assert only(found, "executions", "lifecycle", "rollbacks", "phase_duration") == {
        ("executions_total", "degraded"): 1,
        ("executions_total", "rolled_back"): 1,
        ("lifecycle_duration_seconds_count",): 1,
        ("lifecycle_duration_seconds_sum",): 600,
        ("rollbacks_total", "manual"): 1,
        ("phase_duration_seconds_count", "executing"): 1,
        ("phase_duration_seconds_sum", "executing"): 590,
        ("phase_duration_seconds_count", "rolling_back"): 1,
        ("phase_duration_seconds_sum", "rolling_back"): 3,
    }


@pytest.mark.parametrize(
    ("reason", "before", "counts"),
    [
        ("safety_validation_failed", VALIDATING, 1),
        ("approval_rejected", VALIDATING, 1),
        ("safety_validation_failed", PLANNED, 1),
        ("cancelled", VALIDATING, 0),
        ("step_execution_failed", EXECUTING, 0),
    ],
)
def test_a_validation_failure_is_a_failure_out_of_validating(reason: str, before: Document, counts: int) -> None:
    after = {**(VALIDATING if before is PLANNED else before), "phase": "failed", "failureReason": reason, **END}
    found = counted(before, after)
    assert found.get(("validation_failures_total",), 0) == counts
    assert ("dependency_resolution_failures_total",) not in found


def test_dependencies_that_cannot_be_resolved_are_counted_apart() -> None:
    found = counted(None, {**PLANNED, "phase": "failed", "failureReason": "dependency_resolution_failed", **END})
    assert found["dependency_resolution_failures_total",] == 1
    assert ("validation_failures_total",) not in found


@pytest.mark.parametrize(
    ("before", "failure", "reason"),
    [
        (EXECUTING, "step_execution_failed", "step_failure"),
        (EXECUTING, "timeout", "step_failure"),
        (EXECUTING, "postcondition_failed", "validation_failure"),
        (MONITORING, "workflow_triggered_new_alerts", "validation_failure"),
        (MONITORING, "policy_denied", "validation_failure"),
        (EXECUTING, "cancelled", "manual"),
        (MONITORING, "cancelled", "manual"),
    ],
)
def test_a_rollback_is_counted_by_what_began_it(before: Document, failure: str, reason: str) -> None:
    undoing = {**before, "phase": "rolling_back", "rollbackStartTime": stamp(NOW), "failureReason": failure}
    found = counted(before, undoing, {**undoing, "message": "on the way"})
    assert only(found, "rollbacks") == {("rollbacks_total", reason): 1}


def test_the_score_counts_when_the_outcome_is_known() -> None:
    result = {"outcome": "success", "effectivenessScore": 0.9, "resourceHealth": "healthy"}
    done = {**MONITORING, "phase": "completed", "workflowResult": result, **END}
    assert only(counted(MONITORING, done, done), "effectiveness") == {
        ("effectiveness_score_count",): 1,
        ("effectiveness_score_sum",): 0.9,
    }
    unknown = {**done, "workflowResult": {**result, "outcome": "unknown", "effectivenessScore": 0.0}}
    assert only(counted(MONITORING, unknown), "effectiveness") == {}


# Validating.


def test_safety_checks_are_counted_when_they_are_judged() -> None:
    checks = [{"type": "rbac", "required": True, "passed": True}, {"type": "health", "required": False, "passed": False}]
    judged = {**VALIDATING, "validationResults": {"safetyChecksPassed": True, "checks": checks}}
    found = counted(VALIDATING, judged, {**EXECUTING, "validationResults": judged["validationResults"]})
    assert only(found, "safety") == {("safety_validation_total", "rbac", "passed"): 1, ("safety_validation_total", "health", "failed"): 1}


ASKED = {**VALIDATING, "approval": {"required": True, "requestedAt": "2026-11-21T10:00:05.000Z"}}


@pytest.mark.parametrize(
    ("end", "seconds"),
    [
        ({"phase": "executing", "validationResults": {"approvalTimestamp": "2026-11-21T10:01:05.000Z"}}, 60),
        ({"phase": "failed", "failureReason": "approval_expired", **END}, 595),
        ({"phase": "failed", "failureReason": "cancelled", **END}, 595),
        ({"phase": "executing", "executionStartTime": "2026-11-21T10:00:35.000Z"}, 30),
    ],
    ids=["approved", "expired", "cancelled", "policy asks no more"],
)
def test_the_wait_for_an_approval_is_timed_once_it_is_over(end: Document, seconds: float) -> None:
    over = {**ASKED, **end}
    found = counted(VALIDATING, ASKED, over, {**over, "message": "later"})
    assert only(found, "approval") == {("approval_wait_seconds_count",): 1, ("approval_wait_seconds_sum",): seconds}


def test_who_was_not_asked_did_not_wait() -> None:
    assert only(counted(VALIDATING, {**EXECUTING, "approval": {"required": False}}), "approval") == {}


# Steps.

BEGUN = "2026-11-21T10:00:10.000Z"


def with_step(entry: Document, **status: Any) -> Document:
    return {**EXECUTING, **status, "stepStatuses": [entry]}


@pytest.mark.parametrize("end", ["completed", "failed", "blocked"])
def test_an_attempt_is_counted_when_it_begins_and_when_it_ends(end: str) -> None:
    found = counted(
        with_step(line("pending", attempts=0)),
        with_step(line("executing", startTime=BEGUN)),
        with_step(line("executing", startTime=BEGUN, k8sExecutionRef={"name": "w-step-1", "uid": "u"})),
        with_step(line(end, startTime=BEGUN, endTime="2026-11-21T10:00:17.000Z")),
    )
    result = "success" if end == "completed" else "failure"
    assert only(found, "step") == {
        ("steps_created_total", "scale_deployment"): 1,
        ("steps_completed_total", "scale_deployment", end): 1,
        ("step_completion_duration_seconds_count", result): 1,
        ("step_completion_duration_seconds_sum", result): 7,
    }


def test_an_attempt_that_is_tried_again_ends_as_retried() -> None:
    began = stamp(NOW - timedelta(seconds=4))
    executing = with_step(line("executing", startTime=began))
    at_once = with_step(line("executing", startTime=stamp(NOW), attempts=2))
    later = with_step(line("pending", startTime=began, retriesAttempted=1))
    for states, created in (((executing, at_once), 1), ((executing, later), 0), ((executing, later, at_once), 1)):
        found = counted(*states)
        assert found.get(("steps_created_total", "scale_deployment"), 0) == created
        assert only(found, "steps_completed", "step_completion") == {
            ("steps_completed_total", "scale_deployment", "retried"): 1,
            ("step_completion_duration_seconds_count", "failure"): 1,
            ("step_completion_duration_seconds_sum", "failure"): 4,
        }


def test_a_step_that_is_skipped_was_never_begun() -> None:
    skipped = line("skipped", attempts=0, endTime=BEGUN)
    assert only(counted(with_step(line("pending", attempts=0)), with_step(skipped)), "step") == {}


@pytest.mark.parametrize("end", ["rolled_back", "rollback_failed"])
def test_attempts_to_undo_are_counted_and_have_no_duration(end: str) -> None:
    done = line("completed", endTime=BEGUN)
    undoing = {**done, "rollbackAttempts": 1}
    found = counted(*map(with_step, (done, undoing, {**undoing, "rollbackRef": {"uid": "u"}}, {**undoing, "status": end})))
    assert only(found, "step") == {
        ("steps_created_total", "scale_deployment"): 1,
        ("steps_completed_total", "scale_deployment", end): 1,
    }


def test_a_step_of_two_attempts_is_taken_back_twice() -> None:
    done = line("failed", endTime=BEGUN, attempts=2)
    states = [
        done,
        {**done, "rollbackAttempts": 1},
        {**done, "rollbackAttempts": 2},
        {**done, "rollbackAttempts": 2, "status": "rolled_back"},
    ]
    assert only(counted(*(with_step(entry) for entry in states)), "step") == {
        ("steps_created_total", "scale_deployment"): 2,
        ("steps_completed_total", "scale_deployment", "rolled_back"): 2,
    }


def test_a_step_that_is_undone_by_another_action_counts_under_that() -> None:
    done = line("completed", endTime=BEGUN)
    spec = {"stepNumber": 1, "name": "a", "action": "scale-deployment", "rollbackSpec": {"action": "scale-to-previous"}}
    states = [
        with_step(done),
        with_step({**done, "rollbackAttempts": 1}),
        with_step({**done, "rollbackAttempts": 1, "status": "rolled_back"}),
    ]
    assert only(counted(*(document(status, spec) for status in states)), "step") == {
        ("steps_created_total", "scale_to_previous"): 1,
        ("steps_completed_total", "scale_to_previous", "rolled_back"): 1,
    }


def test_a_step_that_counts_as_undone_without_an_attempt_is_none_that_ended() -> None:
    done = line("completed", endTime=BEGUN)
    assert only(counted(with_step(done), with_step({**done, "status": "rolled_back"})), "step") == {}


def test_adjustments_are_counted_by_their_first_word_and_each_once() -> None:
    words = ("skip step 2", "lower the parallel limit to 2", "extend the timeout", "adjust replicas", "invent something", "")
    entries = [{"timestamp": BEGUN, "stepNumber": n, "adjustment": text} for n, text in enumerate(words)]
    found = counted(
        EXECUTING,
        {**EXECUTING, "adaptiveAdjustments": entries[:2]},
        {**EXECUTING, "adaptiveAdjustments": entries},
        {**EXECUTING, "adaptiveAdjustments": entries[1:]},
    )
    assert only(found, "adaptive") == {
        ("adaptive_adjustments_total", kind): n for kind, n in {"skip": 1, "lower": 1, "extend": 1, "adjust": 1, "other": 2}.items()
    }


def test_only_so_many_actions_get_a_series_of_their_own() -> None:
    entries = [{"stepNumber": n, "name": f"s{n}", "action": f"action_{n}", "status": "executing", "attempts": 1} for n in range(1, 121)]
    found = counted({**EXECUTING, "stepStatuses": []}, {**EXECUTING, "stepStatuses": entries})
    assert found["steps_created_total", "other"] == 20
    assert len(only(found, "steps_created")) == 101


# What the reconciler says in words.


def test_writes_of_status_are_counted_by_how_they_went() -> None:
    metrics = Metrics()
    observer: ReconcileObserver = WorkflowObserver(metrics)
    observer.status_written(0.25)
    observer.status_written(0.5)
    observer.status_conflict()
    observer.status_failed()
    assert only(samples(metrics), "status_update") == {
        ("status_updates_total", "success"): 2,
        ("status_updates_total", "conflict"): 1,
        ("status_updates_total", "failure"): 1,
        ("status_update_duration_seconds_count",): 2,
        ("status_update_duration_seconds_sum",): 0.75,
    }


def test_attempts_that_could_not_be_created_are_counted_apart() -> None:
    metrics = Metrics()
    observer: ReconcileObserver = WorkflowObserver(metrics)
    observer.attempt_created(ok=True)
    observer.attempt_created(ok=False)
    observer.released()
    found = samples(metrics)
    assert (found["step_creation_total", "success"], found["step_creation_total", "failure"]) == (1, 1)
    assert (found["execution_creation_failures_total",], found["deleted_total",]) == (1, 1)
