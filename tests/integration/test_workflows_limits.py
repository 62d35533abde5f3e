"""Time that runs out, attempts that others delete or leave behind, a policy that holds back a cancel, and a run that changes nothing."""

from __future__ import annotations

from typing import Any

import pytest
from support.team import ruled
from support.workflows import (
    CONFIG,
    World,
    chain,
    config_map,
    is_waiting,
    own_state,
    phase,
    states,
    tell,
    told,
    waiting,
    workflow,
    write,
)

from controller.cluster.client import Cluster
from controller.cluster.kinds import EXECUTION, WORKFLOW

Document = dict[str, Any]


async def test_a_step_that_outlives_its_own_time_is_ended_as_a_timeout_and_says_what_it_waited_for(world: World) -> None:
    found = await world.run(workflow("w", waiting(1, timeout="1m") | {"timeout": "1s"}))
    (entry,) = found["status"]["stepStatuses"]
    assert (phase(found), found["status"]["errorType"]) == ("failed", "timeout"), told(found)
    assert "not done within 1s" in entry["errorMessage"]
    assert "waited for" in entry["errorMessage"]


async def test_what_cannot_be_confirmed_within_its_time_is_completed_with_an_unknown_outcome(world: World) -> None:
    held = 'wait contains {"code": "not_yet", "message": "the dashboards are not back", "policy": "sre"}'
    async with ruled(world, "monitoring", held):
        found = await world.run(workflow("w", tell(), timeouts={"monitoring": "1s"}))
    status = found["status"]
    assert (phase(found), status["workflowResult"]["outcome"]) == ("completed", "unknown"), told(found)
    assert status["failureReason"] == "monitoring_timeout_cannot_verify_success"
    assert "the dashboards are not back" in status["message"]


async def test_planning_that_waits_for_longer_than_its_time_fails_and_says_why(world: World) -> None:
    async with ruled(world, "planning", 'wait contains {"code": "frozen", "message": "a freeze is on", "policy": "sre"}'):
        found = await world.run(workflow("w", tell(), timeouts={"planning": "1s"}))
    assert (phase(found), found["status"]["failureReason"]) == ("failed", "timeout"), told(found)
    assert "frozen: a freeze is on" in found["status"]["message"]


async def test_a_cancel_waits_where_a_teams_rule_says_wait_and_goes_on_when_it_is_lifted(world: World) -> None:
    await world.create(config_map())
    async with ruled(world, "failure", 'wait contains {"code": "hold", "message": "an audit is on", "policy": "sre"}') as lift:
        await world.create(workflow("w", write(1, "new"), suspend=True))
        await world.until(WORKFLOW, "w", is_waiting)
        await world.annotate("w", "kubernaut.ai/cancel", "enough")
        await world.until(WORKFLOW, "w", lambda found: "an audit is on" in is_waiting(found))
        await lift()
        found = await world.ended("w")
    assert (phase(found), found["status"]["failureReason"]) == ("failed", "cancelled"), told(found)


async def test_an_attempt_that_somebody_deletes_fails_its_step_and_says_so(world: World) -> None:
    await world.create(workflow("w", waiting(1, timeout="1m"), tell(2)))
    # By then the workflow has written down which attempt it is; one that nobody knew of would simply be made again.
    await world.until(WORKFLOW, "w", lambda found: phase(found) == "executing" and states(found) == ["executing", "completed"])
    await world.cluster.delete(EXECUTION, world.namespace, "w-step-1")
    found = await world.ended("w")
    assert (phase(found), found["status"]["failureReason"]) == ("failed", "step_creation_failed"), told(found)
    assert "KubernetesExecution w-step-1 was deleted by someone" in found["status"]["stepStatuses"][0]["errorMessage"]


async def test_a_strangers_leftover_under_an_attempts_name_is_waited_for_by_name(world: World, as_controller: Cluster) -> None:
    body: Document = {
        "apiVersion": EXECUTION.api_version,
        "kind": EXECUTION.kind,
        "metadata": {"name": "w-step-1"},
        "spec": {
            "workflowExecutionRef": {"name": "w", "uid": "of-another-life"},
            "stepNumber": 1,
            "action": "notify_only",
            "parameters": {"notifyOnly": {"message": "hello"}},
        },
    }
    await as_controller.create(EXECUTION, world.namespace, body)
    await world.create(config_map(), workflow("w", write(1, "new")))
    await world.until(WORKFLOW, "w", lambda found: "w-step-1 is still taken by another owner's leftover" in is_waiting(found))
    assert (await world.read(*CONFIG))["data"]["key"] == "old"
    await world.cluster.delete(EXECUTION, world.namespace, "w-step-1")
    found = await world.ended("w")
    assert phase(found) == "completed", told(found)
    assert (await world.read(*CONFIG))["data"]["key"] == "new"


@pytest.mark.parametrize("dry_run_first", [True, False])
async def test_a_simulated_workflow_asks_and_rehearses_and_changes_nothing(world: World, *, dry_run_first: bool) -> None:
    await world.create(config_map())
    before = await world.read(*CONFIG)
    steps = chain(write(1, "new"), write(2, "newer"))
    found = await world.run(workflow("w", *steps, simulate=True, executionStrategy={"dryRunFirst": dry_run_first}))
    assert (phase(found), states(found)) == ("completed", ["pending", "pending"]), told(found)
    assert found["status"]["workflowResult"]["outcome"] == "unknown"
    assert found["status"]["validationResults"]["dryRunResults"]["stepsSimulated"] == 2
    assert not await world.attempts("w")
    after = await world.read(*CONFIG)
    assert (after["metadata"]["resourceVersion"], own_state(after)) == (before["metadata"]["resourceVersion"], own_state(before))
