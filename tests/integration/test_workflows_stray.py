"""What others leave behind or write: another life's leftovers, an executor's odd words, a retry that finds what the try before it did."""

from __future__ import annotations

import secrets
from typing import Any

from support.team import condition, policy, ruled
from support.workflows import CONFIG, World, chain, config_map, doomed, phase, states, told, waiting, workflow, write

from controller.cluster.client import Cluster
from controller.cluster.kinds import EXECUTION, WORKFLOW
from controller.core.names import ROLLBACK_ANNOTATION

Document = dict[str, Any]


async def test_a_completed_undo_of_another_life_takes_nothing_back(world: World, as_controller: Cluster) -> None:
    leftover: Document = {
        "apiVersion": EXECUTION.api_version,
        "kind": EXECUTION.kind,
        "metadata": {"name": "w-rollback-1", "labels": {"kubernaut.ai/rollback": "true"}},
        "spec": {
            "workflowExecutionRef": {"name": "w", "uid": "of-another-life"},
            "stepNumber": 1,
            "action": "update_configmap",
            "undoOf": "w-step-1",
        },
    }
    await as_controller.create(EXECUTION, world.namespace, leftover)
    ended = {"status": {"phase": "completed"}}
    await world.cluster.patch(EXECUTION, world.namespace, "w-rollback-1", ended, subresource="status")
    await world.create(config_map(), workflow("w", *chain(write(1, "new"), doomed(2))))
    await world.until(WORKFLOW, "w", lambda w: "w-rollback-1 is still taken" in (w.get("status") or {}).get("waitingFor", ""))
    await world.cluster.delete(EXECUTION, world.namespace, "w-rollback-1")
    found = await world.ended("w")
    assert (phase(found), states(found)) == ("rolled_back", ["rolled_back", "failed"]), told(found)
    assert (await world.read(*CONFIG))["data"]["key"] == "old"


async def test_what_a_first_try_did_is_taken_back_though_the_second_was_refused_untouched(world: World) -> None:
    await world.create(config_map())
    name = f"one_try_{secrets.token_hex(4)}"
    once = f"""package kubernaut.rules.action.{name}

deny contains {{"code": "one_try", "message": "one try is enough"}} if {{
	input.workflow.metadata.namespace == "{world.namespace}"
	input.attempt.number == 1
}}
"""
    async with (
        policy(world, {"rule.rego": once}),
        condition(world, "holds", 'holds contains "never" if input.step.name == "nobody"') as reference,
    ):
        afterwards = [{"type": "never", "rego": reference, "timeout": "200ms"}]
        found = await world.run(workflow("w", write(1, "new", maxRetries=1, postConditions=afterwards)))
    (entry,) = found["status"]["stepStatuses"]
    assert (phase(found), entry["attempts"], entry["status"]) == ("rolled_back", 2, "rolled_back"), told(found)
    assert (await world.read(*CONFIG))["data"]["key"] == "old"


async def test_a_degraded_workflow_of_which_nothing_is_left_to_undo_can_still_be_taken_back(world: World) -> None:
    await world.create(config_map())
    found = await world.run(workflow("w", *chain(write(1, "new"), doomed(2)), executionStrategy={"rollbackStrategy": "manual"}))
    assert phase(found) == "degraded", told(found)
    async with ruled(world, "rollback", 'stop contains {"code": "people", "message": "people do the rest"}'):
        await world.annotate("w", ROLLBACK_ANNOTATION, "long " * 400)
        found = await world.until(WORKFLOW, "w", lambda w: phase(w) == "failed")
    assert found["status"]["failureReason"] == "rollback_failed", told(found)
    assert len(found["status"]["rollbackReason"]) == 1024


async def test_a_rollback_that_is_asked_for_before_the_workflow_is_degraded_is_not_lost(world: World) -> None:
    await world.create(config_map())
    steps = chain(write(1, "new"), waiting(2, timeout="2s"))
    await world.create(workflow("w", *steps, executionStrategy={"rollbackStrategy": "manual"}))
    await world.until(WORKFLOW, "w", lambda w: phase(w) == "executing" and states(w) == ["completed", "executing"])
    await world.annotate("w", ROLLBACK_ANNOTATION, "we know already")
    found = await world.until(WORKFLOW, "w", lambda w: phase(w) == "rolled_back")
    assert (await world.read(*CONFIG))["data"]["key"] == "old", told(found)
