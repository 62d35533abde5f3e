"""However long the names and the messages, the status of 500 steps stays under 256 KiB."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from controller.core import bounds, phases
from controller.core.plan import build_plan
from controller.core.status import Draft, Fault, Start

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
MOST = 256 * 1024


def executing(count: int) -> tuple[dict[str, Any], Draft]:
    steps = [
        {"stepNumber": n, "name": f"step-{n}-".ljust(128, "x"), "action": "a" * 63, "parameters": {}, "criticalStep": False}
        for n in range(1, count + 1)
    ]
    spec = {"workflowDefinition": {"steps": steps}}
    metadata = {"name": "w" * 46, "namespace": "n" * 63, "uid": "u" * 36, "generation": 1}
    workflow: dict[str, Any] = {"metadata": metadata, "spec": spec, "status": {}}
    draft = Draft(workflow, NOW)
    draft.enter(phases.PLANNING)
    draft.planned(build_plan(spec), spec, {"a" * 63: "d" * 64}, "h" * 16, "1m")
    draft.enter(phases.VALIDATING)
    results = [{"stepNumber": n, "action": "a" * 63, "wouldSucceed": True, "simulatedDuration": "10ms"} for n in range(1, count + 1)]
    change = {"resourceType": "Deployment", "resourceName": "w" * 200, "changeType": "update", "afterState": {"/spec": "x" * 128}}
    dry_run = {"overallSuccess": True, "stepResults": results, "resourceChanges": [change] * 100, "omittedChanges": 5}
    draft.status["validationResults"] = {"safetyChecksPassed": True, "dryRunResults": dry_run}
    draft.enter(phases.EXECUTING)
    for n in range(1, count + 1):
        draft.start(n)
        draft.seen(n, "u" * 36)
        draft.since(f"{n}/condition", unmet=True)
    return workflow, draft


def size(status: dict[str, Any]) -> int:
    return len(json.dumps(status, separators=(",", ":")).encode())


@pytest.mark.parametrize("count", [30, 100, 500])
@pytest.mark.parametrize("end", ["completed", "failed", "taken back", "undo failed"])
def test_the_status_stays_small_whatever_becomes_of_the_steps(end: str, count: int) -> None:
    workflow, draft = executing(count)
    for n in range(1, count + 1):
        if end == "failed":
            draft.failed(n, Fault("step_execution_failed", "m" * 2000, "execution_error", "r" * 2000, n))
            continue
        draft.completed(n, "m" * 2000)
        if end != "completed":
            draft.start_undo(n, 0, Start(n, 0, f"{'w' * 46}-rollback-{n}", rollback=True, undo_of="x"))
            draft.seen(n, "u" * 36, rollback=True)
            (draft.undone if end == "taken back" else draft.undo_failed)(n, "m" * 2000)
    status = draft.final()
    assert size(status) < MOST
    assert [e["stepNumber"] for e in status["stepStatuses"]] == list(range(1, count + 1)), "every step has its line"
    assert all(e["name"].startswith(f"step-{e['stepNumber']}-") for e in status["stepStatuses"])
    results = status["validationResults"]["dryRunResults"]
    assert len(results["resourceChanges"]) + results["omittedChanges"] == 105, "what is left out is counted"
    workflow["status"] = status
    again = Draft(workflow, NOW)
    assert not again.changed(again.final()), "a status that was cut is not written again"


def test_what_executes_keeps_everything() -> None:
    _, draft = executing(500)
    for n in range(1, 500):
        draft.completed(n, "m" * 2000)
    last = draft.final()["stepStatuses"][-1]
    assert last["k8sExecutionRef"]["uid"] == "u" * 36
    assert "startTime" in last


def test_a_status_of_few_steps_is_not_touched() -> None:
    _, draft = executing(20)
    for n in range(1, 21):
        draft.completed(n, "m" * 1024)
    status = draft.final()
    assert {len(e["message"]) for e in status["stepStatuses"]} == {1024}
    assert status is bounds.fit(status)
