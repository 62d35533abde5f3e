"""How an action went before, as a policy is told."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from support.audit import attempt, workflow

from controller.audit.history import history_fact
from controller.audit.records import read_record, step_line
from controller.audit.store import Store
from controller.core.verdict import FactRequest

AT = datetime(2026, 11, 21, 11, tzinfo=UTC)


def asked(**fields: Any) -> FactRequest:
    return FactRequest(id="past", verb="history", **fields)


def keep(store: Store, *executions: dict[str, Any]) -> None:
    store.save([read_record(step_line(workflow(f"u{number}"), execution, AT)) for number, execution in enumerate(executions)])


def test_an_action_that_was_never_tried_is_an_answer(store: Store) -> None:
    assert history_fact(store, asked(action="scale_deployment"), AT) == {
        "available": True,
        "found": False,
        "observedAt": "2026-11-21T11:00:00.000Z",
        "action": "scale_deployment",
        "target": {},
        "count": 0,
        "successes": 0,
    }


def test_all_attempts_are_counted_and_the_last_one_is_told(store: Store) -> None:
    keep(store, attempt(seconds=1), attempt(seconds=2), attempt(seconds=3), attempt(phase="failed", seconds=40))
    fact = history_fact(store, asked(action="Scale-Deployment"), AT)
    assert (fact["found"], fact["count"], fact["successes"], fact["successRate"]) == (True, 4, 3, 0.75)
    assert fact["last"] == {
        "success": False,
        "endedAt": "2026-11-21T10:00:40.000Z",
        "namespace": "shop",
        "workflow": "fix",
        "errorType": "timeout",
    }
    assert fact["durationSeconds"] == {"p50": 2.0, "p95": 40.0}


def test_durations_are_those_of_the_latest_fifty(store: Store) -> None:
    keep(store, *(attempt(seconds=number) for number in range(1, 101)))
    fact = history_fact(store, asked(action="scale_deployment"), AT)
    assert (fact["count"], fact["durationSeconds"]) == (100, {"p50": 75.0, "p95": 98.0})


def test_undone_rehearsed_and_unfinished_attempts_do_not_count(store: Store) -> None:
    running = attempt(phase="executing")
    del running["status"]["completionTime"]
    keep(store, attempt(undoOf="fix-step-1"), attempt(simulate=True), running)
    assert history_fact(store, asked(action="scale_deployment"), AT)["count"] == 0


@pytest.mark.parametrize(
    ("target", "count"),
    [
        ({"kind": "Deployment"}, 3),
        ({"kind": "Deployment", "namespace": "shop"}, 2),
        ({"kind": "Deployment", "namespace": "shop", "name": "web"}, 1),
        ({"kind": "Node", "namespace": ""}, 1),
        ({"kind": "Pod"}, 0),
    ],
)
def test_a_target_narrows_it_down(store: Store, target: dict[str, str], count: int) -> None:
    at = [("Deployment", "shop", "web"), ("Deployment", "shop", "api"), ("Deployment", "other", "web"), ("Node", None, "n1")]
    executions = [attempt() for _ in at]
    for execution, (kind, namespace, name) in zip(executions, at, strict=True):
        operation = execution["status"]["executionResults"]["operations"][0]
        operation.update(kind=kind, name=name)
        operation.pop("namespace")
        operation.update({"namespace": namespace} if namespace else {})
    keep(store, *executions)
    fact = history_fact(store, asked(action="scale_deployment", **target), AT)
    assert (fact["count"], fact["target"]) == (count, target)


def test_without_an_action_there_is_no_history(store: Store) -> None:
    fact = history_fact(store, asked(kind="Deployment"), AT)
    assert (fact["available"], fact["reason"]) == (False, "invalid_request")
