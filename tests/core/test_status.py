"""A workflow's status: every transition is in one table, progress never falls, nothing is written when nothing changed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from controller.core import phases
from controller.core.phases import TransitionError
from controller.core.plan import build_plan
from controller.core.status import Draft, Fault

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


def workflow(status: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"metadata": {"name": "w", "namespace": "a", "uid": "u", "generation": 1}, "spec": {}, "status": status or {}}


def planned() -> Draft:
    spec = {
        "workflowDefinition": {
            "steps": [
                {"stepNumber": n, "name": f"s{n}", "action": "notify_only", "parameters": {}, "dependsOn": [n - 1] if n > 1 else []}
                for n in (1, 2, 3)
            ]
        }
    }
    draft = Draft(workflow(), NOW)
    draft.enter(phases.PLANNING)
    plan = build_plan(spec)
    draft.planned(plan, spec, {}, "hash", "1m")
    draft.enter(phases.VALIDATING)
    draft.enter(phases.EXECUTING)
    return draft


@pytest.mark.parametrize("before", sorted(phases.TERMINAL - {phases.DEGRADED}))
def test_nothing_follows_a_terminal_phase(before: str) -> None:
    for after in phases.TRANSITIONS:
        with pytest.raises(TransitionError):
            Draft(workflow({"phase": before}), NOW).enter(after)


def test_a_degraded_workflow_may_still_be_rolled_back() -> None:
    draft = Draft(workflow({"phase": phases.DEGRADED}), NOW)
    draft.enter(phases.ROLLING_BACK)
    assert draft.phase == phases.ROLLING_BACK


def test_every_phase_of_the_table_can_be_reached_from_a_new_workflow() -> None:
    reached, waiting = {phases.NEW}, [phases.NEW]
    while waiting:
        for after in set(phases.TRANSITIONS[waiting.pop()]) - reached:
            reached.add(after)
            waiting.append(after)
    assert reached == set(phases.TRANSITIONS)


def test_a_step_that_starts_gets_a_derived_name_and_a_start() -> None:
    draft = planned()
    draft.start(1)
    assert draft.step(1)["k8sExecutionRef"]["name"] == "w-step-1"
    assert [s.name for s in draft.starts] == ["w-step-1"]
    draft.retry(1, Fault("step_execution_failed", "no"), NOW)
    draft.start(1)
    assert draft.step(1)["k8sExecutionRef"]["name"] == "w-step-1-r1"
    assert draft.step(1)["retriesAttempted"] == 1


def test_a_status_that_says_the_same_is_not_written_again() -> None:
    draft = planned()
    draft.start(1)
    written = draft.final()
    again = Draft(workflow(written), NOW + timedelta(seconds=5))
    again.seen(1, "uid-of-the-child")
    again.proceed()
    assert not again.changed(again.final())


def test_a_uid_is_written_with_the_next_reason_to_write() -> None:
    draft = planned()
    draft.start(1)
    again = Draft(workflow(draft.final()), NOW)
    again.seen(1, "uid-of-the-child")
    again.completed(1, "done")
    final = again.final()
    assert again.changed(final)
    assert final["stepStatuses"][0]["k8sExecutionRef"]["uid"] == "uid-of-the-child"


def test_progress_counts_completed_and_skipped_steps_and_never_falls() -> None:
    draft = planned()
    draft.start(1)
    draft.completed(1, "done")
    draft.skip(2, "not needed")
    assert draft.final()["progress"] == 66
    later = Draft(workflow(draft.final() | {"progress": 90}), NOW)
    assert later.final()["progress"] == 90


def test_the_first_cause_of_a_failure_is_kept() -> None:
    draft = planned()
    draft.halt("rollback", Fault("step_execution_failed", "first", step=1))
    draft.halt("fail", Fault("timeout", "second", step=2))
    assert (draft.status["failureReason"], draft.status["failedStep"]) == ("step_execution_failed", 1)
    assert draft.halting == {"action": "rollback", "message": "first", "remedy": ""}


def test_dependants_of_a_failed_step_are_skipped_at_any_distance() -> None:
    draft = planned()
    spec = {
        "workflowDefinition": {
            "steps": [
                {"stepNumber": n, "name": f"s{n}", "action": "x", "parameters": {}, "dependsOn": [n - 1] if n > 1 else []}
                for n in (1, 2, 3)
            ]
        }
    }
    draft.failed(1, Fault("step_execution_failed", "no"))
    draft.skip_dependants(build_plan(spec), 1)
    assert [e["status"] for e in draft.steps()] == ["failed", "skipped", "skipped"]


def test_a_condition_keeps_its_transition_time_while_its_status_stays() -> None:
    first = planned().final()
    later = Draft(workflow(first), NOW + timedelta(minutes=5))
    later.start(1)
    before = {c["type"]: c["lastTransitionTime"] for c in first["conditions"]}
    after = {c["type"]: c["lastTransitionTime"] for c in later.final()["conditions"]}
    assert after == before


def test_a_verdict_that_says_the_same_again_keeps_its_first_time() -> None:
    draft = planned()
    verdict = {"decision": "wait", "reasons": [], "policyRevision": "r1", "decisionId": "1", "inputDigest": "x", "time": "t1"}
    draft.judged("dispatch", verdict)
    draft.judged("dispatch", verdict | {"decisionId": "2", "time": "t2"})
    assert draft.status["gates"]["dispatch"]["time"] == "t1"
    draft.judged("dispatch", verdict | {"decision": "allow", "time": "t3"})
    assert draft.status["gates"]["dispatch"]["time"] == "t3"
