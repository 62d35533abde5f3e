"""Time that does not count: an outage, or a wait that policy does not count, moves every running limit on by as much."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from controller.core import phases, stopwatch
from controller.core.attempt import VALIDATING, AttemptDraft
from controller.core.plan import build_plan
from controller.core.status import Draft
from controller.core.times import instant, stamp

NOON = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def after(minutes: float) -> datetime:
    return NOON + minutes * MINUTE


def test_a_clock_that_stood_still_runs_on_from_where_it_was() -> None:
    status: dict[str, Any] = {"conditionSince": {"1/a": stamp(after(-3))}}
    stopwatch.stop(status, {}, NOON)
    stopwatch.run(status, after(10))
    assert stopwatch.uncounted(status) == 10 * MINUTE
    assert instant(status["conditionSince"]["1/a"]) == after(7), "three minutes had passed before, so three have passed still"
    assert "clockStoppedSince" not in status


def test_stops_add_up() -> None:
    status: dict[str, Any] = {}
    for begin, end in ((0, 2), (5, 8)):
        stopwatch.stop(status, {}, after(begin))
        stopwatch.run(status, after(end))
    assert stopwatch.uncounted(status) == 5 * MINUTE


def test_looking_at_a_stopped_clock_changes_nothing_on_record() -> None:
    original: dict[str, Any] = {"conditionSince": {"1/a": stamp(NOON)}, "uncounted": "1m0s", "clockStoppedSince": stamp(after(1))}
    status = dict(original)
    stopwatch.run(status, after(9))
    stopwatch.stop(status, original, after(9))
    assert status == original


def test_what_stands_still_now_can_be_counted_in() -> None:
    status = {"uncounted": "1m0s", "clockStoppedSince": stamp(NOON)}
    assert stopwatch.uncounted(status, after(2)) == 3 * MINUTE
    assert stopwatch.uncounted(status) == MINUTE


def test_a_clock_that_is_set_back_takes_no_time_away() -> None:
    status: dict[str, Any] = {"clockStoppedSince": stamp(after(60)), "conditionSince": {"1/a": stamp(NOON)}}
    stopwatch.run(status, NOON)
    assert stopwatch.uncounted(status) == timedelta(0)
    assert status["conditionSince"] == {"1/a": stamp(NOON)}


def test_a_condition_never_begins_to_be_waited_for_in_the_future() -> None:
    status: dict[str, Any] = {"clockStoppedSince": stamp(NOON), "conditionSince": {"1/a": stamp(after(4))}}
    stopwatch.run(status, after(5))
    assert instant(status["conditionSince"]["1/a"]) == after(5)


def executing(now: datetime = NOON) -> tuple[dict[str, Any], Draft]:
    workflow: dict[str, Any] = {"metadata": {"name": "w", "namespace": "a", "uid": "u", "generation": 1}, "spec": {}, "status": {}}
    spec = {"workflowDefinition": {"steps": [{"stepNumber": 1, "name": "s1", "action": "notify_only", "parameters": {}}]}}
    draft = Draft(workflow, now)
    draft.enter(phases.PLANNING)
    draft.planned(build_plan(spec), spec, {}, "hash", "1m")
    draft.enter(phases.VALIDATING)
    return workflow, draft


def test_an_outage_of_a_phase_is_not_counted_and_ends_with_the_phase() -> None:
    workflow, draft = executing()
    workflow["status"] = draft.final()
    outage = Draft(workflow, after(1))
    outage.stop_clock()
    workflow["status"] = outage.final()
    later = Draft(workflow, after(31))
    assert later.elapsed() == MINUTE
    later.enter(phases.EXECUTING)
    assert "uncounted" not in later.final()


def test_a_workflow_that_waits_without_time_counting_is_not_written_again() -> None:
    workflow, draft = executing()
    draft.stop_clock()
    draft.wait("somebody to say yes")
    workflow["status"] = draft.final()
    again = Draft(workflow, after(5))
    again.stop_clock()
    again.wait("somebody to say yes")
    assert not again.changed(again.final())


def attempt(**status: Any) -> dict[str, Any]:
    return {"metadata": {"name": "w-step-1", "generation": 1}, "spec": {}, "status": status}


def test_an_attempts_time_begins_when_it_is_first_looked_at() -> None:
    draft = AttemptDraft(attempt(), after(30))
    assert draft.elapsed(after(30)) == timedelta(0)
    draft.hold(VALIDATING, "something")
    assert draft.elapsed(after(31)) == MINUTE


@pytest.mark.parametrize("begun", [True, False])
def test_an_outage_is_not_counted_against_an_attempt(*, begun: bool) -> None:
    execution = attempt(**({"phase": VALIDATING, "startTime": stamp(NOON)} if begun else {}))
    draft = AttemptDraft(execution, after(1))
    draft.without_policy("OPA is away")
    execution["status"] = draft.final()
    later = AttemptDraft(execution, after(61))
    assert later.elapsed(after(61)) == (MINUTE if begun else timedelta(0))


@pytest.mark.parametrize("written", ["2 minutes", "-1h", "", None, 7, {}])
def test_what_another_executor_writes_there_is_no_time_unless_it_is_a_duration(written: object) -> None:
    assert stopwatch.uncounted({"uncounted": written, "clockStoppedSince": "soon"}, NOON) == timedelta(0)
