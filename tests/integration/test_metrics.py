"""Metrics on the real control plane: what is scraped is what was run.

Each test has a controller of its own that looks at the test's namespace only, so that its counters began at 0 and nothing else
moves them. What a workflow's status says is compared with what was counted of it.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import Any

import pytest
from support.controller import ControllerProcess
from support.faults import Seen, between
from support.metrics import samples, scrape
from support.patience import until
from support.workflows import (
    CONFIG,
    World,
    chain,
    config_map,
    doomed,
    has_ended,
    is_waiting,
    parked,
    phase,
    release,
    seen_by,
    states,
    tell,
    told,
    workflow,
    write,
)

from controller.cluster.kinds import EXECUTION, WORKFLOW
from controller.core.times import instant
from controller.local.plane import Plane

Document = dict[str, Any]
Sample = tuple[str, ...]

PREFIX = "kubernaut_workflowexecution_"
# As in reference.md, "Metrics": those with the long prefix, and those with `kubernaut_`.
OF_WORKFLOWS = """
executions_total phase_duration_seconds active_executions created_total deleted_total lifecycle_duration_seconds workflow_steps
validation_failures_total validation_status oldest_in_phase_seconds steps_created_total steps_completed_total step_creation_total
concurrent_steps step_completion_duration_seconds rollbacks_total effectiveness_score safety_validation_total
adaptive_adjustments_total status_updates_total status_update_duration_seconds watch_reconnections_total
dependency_resolution_failures_total execution_creation_failures_total
"""
OTHERS = """
gate_decisions_total gate_latency_seconds facts_latency_seconds queue_depth queue_latency_seconds api_requests_total
api_throttled_seconds_total policy_set_info policy_loads_total policy_load_duration_seconds policy_configmaps approval_wait_seconds leader
"""
NAMES = {f"{PREFIX}{name}" for name in OF_WORKFLOWS.split()} | {f"kubernaut_{name}" for name in OTHERS.split()}
ASKING = {"executionStrategy": {"approvalRequired": True}}


@dataclass(frozen=True, slots=True)
class Counters:
    """What one controller exposes."""

    plane: Plane

    def read(self, *names: str) -> dict[Sample, float]:
        """The samples with these names that are not 0, by name without the prefix and label values."""
        found = {}
        for sample in samples(self.plane):
            name = sample.name.removeprefix(PREFIX).removeprefix("kubernaut_")
            if name in names and sample.value:
                found[name, *sample.labels.values()] = sample.value
        return found

    async def settle(self, wanted: Mapping[Sample, float]) -> None:
        """Wait until the metrics named in ``wanted`` say exactly that: a counter moves after the write that everybody can see."""
        names = {sample[0] for sample in wanted}
        expected = {sample: value for sample, value in wanted.items() if value != 0}
        with suppress(TimeoutError):
            await until(lambda: self.read(*names) == expected)
        assert self.read(*names) == expected


def alone(namespace: str) -> tuple[str, ...]:
    """The flags of a controller for one namespace."""
    return "--metrics-open", "--no-leader-elect", f"--namespaces={namespace}"


@pytest.fixture
async def world(plane: Plane, namespace: str) -> AsyncIterator[World]:
    """The test's namespace as the administrator sees it; the controller is that of ``counters``."""
    async with seen_by(plane.kubeconfig, namespace) as world:
        yield world


@pytest.fixture
async def counters(controller_process: ControllerProcess, namespace: str) -> AsyncIterator[Counters]:
    """What the controller of this test exposes; it is in the place of the usual one, which the next test that wants it starts again."""
    await asyncio.to_thread(controller_process.kill)
    await asyncio.to_thread(controller_process.start, *alone(namespace))
    yield Counters(controller_process.plane)
    await asyncio.to_thread(controller_process.kill)


def took(found: Document, began: str, ended: str) -> float:
    """Seconds between two instants of a status."""
    return (instant(found["status"][ended]) - instant(found["status"][began])).total_seconds()


async def written(world: World, name: str, ready: asyncio.Event) -> int:
    """How many statuses are written to a workflow until it has ended."""
    seen: list[object] = []
    async with aclosing(world.states_of(WORKFLOW, name, 60)) as states:
        async for found in states:
            ready.set()
            if "status" in found and found["status"] not in seen:
                seen.append(found["status"])
            if found and has_ended(found):
                return len(seen)
    raise AssertionError(f"{name} did not end")


def test_a_scrape_names_every_metric_of_the_reference_and_nothing_else_of_ours(counters: Counters) -> None:
    exposed = set(re.findall(r"^# TYPE (kubernaut_\w+) ", scrape(counters.plane), re.MULTILINE))
    assert {name for name in exposed if not name.startswith("kubernaut_shadow_")} == NAMES


async def test_a_workflow_that_succeeds(world: World, counters: Counters) -> None:
    await world.create(config_map())
    ready = asyncio.Event()
    watching = asyncio.create_task(written(world, "w", ready))
    await ready.wait()
    found = await world.run(workflow("w", *chain(write(1, "new"), tell(2))))
    assert phase(found) == "completed", told(found)
    score = found["status"]["workflowResult"]["effectivenessScore"]
    checks = found["status"]["validationResults"]["checks"]
    await counters.settle(
        {
            ("created_total",): 1,
            ("workflow_steps_sum",): 2,
            ("executions_total", "completed"): 1,
            ("lifecycle_duration_seconds_count",): 1,
            ("lifecycle_duration_seconds_sum",): pytest.approx(took(found, "startTime", "completionTime")),
            ("phase_duration_seconds_count", "planning"): 1,
            ("phase_duration_seconds_count", "validating"): 1,
            ("phase_duration_seconds_count", "executing"): 1,
            ("phase_duration_seconds_count", "monitoring"): 1,
            ("steps_created_total", "update_configmap"): 1,
            ("steps_created_total", "notify_only"): 1,
            ("steps_completed_total", "update_configmap", "completed"): 1,
            ("steps_completed_total", "notify_only", "completed"): 1,
            ("step_creation_total", "success"): 2,
            ("step_completion_duration_seconds_count", "success"): 2,
            ("effectiveness_score_count",): 1,
            ("effectiveness_score_sum",): score,
            **{("safety_validation_total", c["type"], "passed" if c["passed"] else "failed"): 1 for c in checks},
            ("status_updates_total", "success"): await watching,
            ("validation_status", "passed"): 1,
            ("active_executions",): 0,
            ("concurrent_steps",): 0,
            ("queue_depth",): 0,
            ("leader",): 1,
            ("deleted_total",): 0,
            ("rollbacks_total",): 0,
            ("validation_failures_total",): 0,
            ("approval_wait_seconds_count",): 0,
            ("execution_creation_failures_total",): 0,
        }
    )
    fed = counters.read("gate_latency_seconds_count", "queue_latency_seconds_count", "facts_latency_seconds_count", "policy_set_info")
    gates = {labels[0] for name, *labels in fed if name == "gate_latency_seconds_count"}
    assert {"planning", "safety", "approval", "dispatch", "action", "verify", "completion", "monitoring"} <= gates
    assert {name for name, *_ in fed} >= {"queue_latency_seconds_count", "facts_latency_seconds_count", "policy_set_info"}
    durations = counters.read("phase_duration_seconds_sum")
    assert sum(durations.values()) == pytest.approx(took(found, "planningStartTime", "completionTime"))


async def test_a_workflow_that_is_taken_back_and_one_that_fails_after_a_retry(world: World, counters: Counters) -> None:
    await world.create(config_map())
    back = await world.run(workflow("back", *chain(write(1, "new"), doomed(2))))
    assert phase(back) == "rolled_back", told(back)
    again = await world.run(workflow("again", doomed(1, maxRetries=1)))
    assert phase(again) == "failed", told(again)
    reason = "validation_failure" if back["status"]["failureReason"] == "postcondition_failed" else "step_failure"
    await counters.settle(
        {
            ("created_total",): 2,
            ("executions_total", "rolled_back"): 1,
            ("executions_total", "failed"): 1,
            ("rollbacks_total", reason): 1,
            ("phase_duration_seconds_count", "planning"): 2,
            ("phase_duration_seconds_count", "validating"): 2,
            ("phase_duration_seconds_count", "executing"): 2,
            ("phase_duration_seconds_count", "rolling_back"): 1,
            ("steps_created_total", "update_configmap"): 2,
            ("steps_created_total", "wait_for_condition"): 3,
            ("steps_completed_total", "update_configmap", "completed"): 1,
            ("steps_completed_total", "update_configmap", "rolled_back"): 1,
            ("steps_completed_total", "wait_for_condition", "failed"): 2,
            ("steps_completed_total", "wait_for_condition", "retried"): 1,
            ("step_creation_total", "success"): 5,
            ("step_completion_duration_seconds_count", "success"): 1,
            ("step_completion_duration_seconds_count", "failure"): 3,
            ("validation_failures_total",): 0,
        }
    )


async def test_a_rollback_that_fails(world: World, counters: Counters) -> None:
    await world.create(config_map())
    degraded = await world.run(workflow("w", *chain(write(1, "new"), doomed(2)), executionStrategy={"rollbackStrategy": "manual"}))
    assert phase(degraded) == "degraded", told(degraded)
    await world.patch(*CONFIG, {"data": {"key": "somebody else's"}})
    await world.annotate("w", "kubernaut.ai/rollback", "it was not worth it")
    found = await world.until(WORKFLOW, "w", lambda w: phase(w) in {"rolled_back", "failed"})
    assert states(found) == ["rollback_failed", "failed"], told(found)
    await counters.settle(
        {
            ("executions_total", "degraded"): 1,
            ("executions_total", "rollback_failed"): 1,
            ("rollbacks_total", "manual"): 1,
            ("steps_completed_total", "update_configmap", "completed"): 1,
            ("steps_completed_total", "update_configmap", "rollback_failed"): 1,
            ("steps_completed_total", "wait_for_condition", "failed"): 1,
        }
    )


async def test_a_workflow_that_waits_for_approval_is_seen_waiting_and_the_wait_is_timed_apart(
    world: World, plane: Plane, counters: Counters
) -> None:
    await world.create(workflow("w", tell(1), **ASKING), workflow("s", tell(1), suspend=True))
    await world.until(WORKFLOW, "w", lambda w: "approval_required" in is_waiting(w))
    await world.until(WORKFLOW, "s", lambda w: "suspended" in is_waiting(w))
    await counters.settle(
        {
            ("active_executions",): 2,
            ("validation_status", "waiting_for_approval"): 1,
            ("validation_status", "passed"): 1,
            ("approval_wait_seconds_count",): 0,
        }
    )
    # Neither is stuck: one waits for a person, the other was told to.
    await until(
        lambda: counters.read("oldest_in_phase_seconds")["oldest_in_phase_seconds", "waiting_for_approval"] > 0.5, what="time to pass"
    )
    assert set(counters.read("oldest_in_phase_seconds")) == {("oldest_in_phase_seconds", "waiting_for_approval")}

    async with seen_by(plane.users["approver"], world.namespace) as approver:
        await approver.decide("w", "approver")
    found = await world.ended("w")
    assert phase(found) == "completed", told(found)
    status = found["status"]
    waited = (instant(status["validationResults"]["approvalTimestamp"]) - instant(status["approval"]["requestedAt"])).total_seconds()
    await counters.settle(
        {
            ("approval_wait_seconds_count",): 1,
            ("approval_wait_seconds_sum",): pytest.approx(waited),
            ("active_executions",): 1,
            ("validation_status", "passed"): 2,
            ("oldest_in_phase_seconds",): 0,
            ("executions_total", "completed"): 1,
        }
    )
    # The other one passed through validating without waiting for anybody.
    spent = counters.read("phase_duration_seconds_sum").get(("phase_duration_seconds_sum", "validating"), 0)
    assert spent == pytest.approx(took(found, "validationStartTime", "executionStartTime") - waited, abs=0.001)


async def test_cancelled_workflows_fail_without_failing_validation_or_are_rolled_back_by_hand(world: World, counters: Counters) -> None:
    await world.create(config_map())
    await world.create(workflow("asking", tell(1), **ASKING))
    await world.until(WORKFLOW, "asking", lambda w: "approval_required" in is_waiting(w))
    await world.annotate("asking", "kubernaut.ai/cancel", "nobody is there")
    await world.ended("asking")
    await world.create(workflow("done", *chain(write(1, "new"), parked(2), tell(3))))
    await world.until(EXECUTION, "done-step-2", lambda a: phase(a) == "verifying")
    await counters.settle({("concurrent_steps",): 1, ("active_executions",): 1})
    await world.annotate("done", "kubernaut.ai/cancel", "wrong cluster")
    await world.until(WORKFLOW, "done", lambda w: "running steps to end" in is_waiting(w))
    await release(world)
    found = await world.ended("done")
    assert phase(found) == "rolled_back", told(found)
    await counters.settle(
        {
            ("executions_total", "failed"): 1,
            ("executions_total", "rolled_back"): 1,
            ("rollbacks_total", "manual"): 1,
            ("validation_failures_total",): 0,
            ("approval_wait_seconds_count",): 1,
        }
    )


async def test_what_cannot_be_planned_and_what_is_not_safe(world: World, counters: Counters) -> None:
    circle = await world.run(workflow("circle", tell(1, dependsOn=[2]), tell(2, dependsOn=[1])))
    unsafe = await world.run(workflow("unsafe", write(1, "new", name="nowhere")))
    assert (phase(circle), circle["status"]["failureReason"]) == ("failed", "dependency_resolution_failed")
    assert phase(unsafe) == "failed", told(unsafe)
    assert "executionStartTime" not in unsafe["status"]
    await counters.settle(
        {
            ("dependency_resolution_failures_total",): 1,
            ("validation_failures_total",): 1,
            ("validation_status", "failed"): 1,
            ("executions_total", "failed"): 2,
            ("created_total",): 2,
        }
    )


async def test_deleted_workflows_are_counted_when_they_are_let_go(world: World, counters: Counters) -> None:
    await world.run(workflow("ended", tell(1)))
    await world.create(workflow("asking", tell(1), **ASKING))
    await world.until(WORKFLOW, "asking", lambda w: "approval_required" in is_waiting(w))
    for name in ("ended", "asking"):
        await world.cluster.delete(WORKFLOW, world.namespace, name)
        await world.gone(WORKFLOW, name)
    await counters.settle({("deleted_total",): 2, ("created_total",): 2, ("active_executions",): 0, ("validation_status",): 0})


async def test_writes_that_are_refused_are_counted(world: World, controller_process: ControllerProcess) -> None:
    answers = {"PUT": [409, 500], "POST": [422]}

    async def meddle(seen: Seen) -> int | None:
        left = answers[seen.method]
        return left.pop(0) if left else None

    ours = rf"^(PUT .*/{world.namespace}/workflowexecutions/w/status|POST .*/{world.namespace}/kubernetesexecutions)$"
    async with between(controller_process, ours, *alone(world.namespace), meddler=meddle) as proxy:
        found = await world.run(workflow("w", tell(1)))
        assert (phase(found), found["status"]["failureReason"]) == ("failed", "step_creation_failed"), told(found)
        await Counters(controller_process.plane).settle(
            {
                ("status_updates_total", "conflict"): 1,
                ("status_updates_total", "failure"): 1,
                ("status_updates_total", "success"): sum(seen.method == "PUT" for seen in proxy.seen) - 2,
                ("step_creation_total", "failure"): 1,
                ("execution_creation_failures_total",): 1,
                ("steps_completed_total", "notify_only", "failed"): 1,
                ("executions_total", "failed"): 1,
            }
        )
        assert not any(answers.values())
