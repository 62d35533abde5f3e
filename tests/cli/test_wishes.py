"""`phasegate cancel` and `phasegate rollback`: asking for something in a phase in which it makes a difference."""

from __future__ import annotations

import json

import pytest
from support.commands import Phasegate
from support.workflows import CONFIG, World, chain, config_map, doomed, is_waiting, phase, tell, told, waiting, workflow, write

from controller.cli import main
from controller.cli._exits import Exit
from controller.cluster.kinds import WORKFLOW


async def test_cancelling_keeps_the_reason_and_takes_back_what_was_done(world: World, phasegate: Phasegate) -> None:
    await world.create(config_map(key="old"), workflow("w", *chain(write(1, "new"), waiting(2, timeout="2s"), tell(3))))
    await world.until(WORKFLOW, "w", lambda w: (w.get("status") or {}).get("currentStep") == 2)
    said = await phasegate("cancel", "w", "-n", world.namespace, "--reason", "wrong cluster")
    assert (said.code, said.err) == (0, ""), said
    assert "what runs finishes first" in said.out
    end = await world.ended("w")
    assert phase(end) == "rolled_back", told(end)
    assert "kubernaut.ai/cancel" in end["metadata"]["annotations"]
    assert (await world.read(*CONFIG))["data"] == {"key": "old"}


async def test_a_workflow_that_waits_for_approval_is_cancelled_at_once(world: World, phasegate: Phasegate) -> None:
    await world.create(workflow("w", tell(), executionStrategy={"approvalRequired": True}))
    await world.until(WORKFLOW, "w", lambda w: "approval_required" in is_waiting(w))
    said = await phasegate("cancel", "w", "-n", world.namespace, "--reason", "no longer needed", "-o", "json")
    assert json.loads(said.out) == {
        "workflow": "w",
        "namespace": world.namespace,
        "asked": "cancel",
        "reason": "no longer needed",
        "phase": "validating",
    }
    end = await world.ended("w")
    assert (phase(end), end["status"]["failureReason"]) == ("failed", "cancelled"), told(end)


async def test_who_may_only_look_is_told_which_role_it_takes_to_cancel(world: World, phasegate: Phasegate) -> None:
    await world.create(workflow("w", waiting(1, timeout="1m")))
    await world.until(WORKFLOW, "w", lambda w: phase(w) == "executing")
    said = await phasegate("cancel", "w", "-n", world.namespace, "--reason", "x", user="viewer")
    assert said.code == 1, said
    assert 'User "viewer" cannot patch resource "workflowexecutions"' in said.err
    assert f"ask for the role workflow-author in namespace {world.namespace}" in said.err


async def test_a_workflow_that_has_ended_cannot_be_cancelled(world: World, phasegate: Phasegate) -> None:
    await world.run(workflow("w", tell()))
    said = await phasegate("cancel", "w", "-n", world.namespace, "--reason", "late")
    assert said.code == 1, said
    assert "it can no longer be cancelled; it is completed" in said.err


@pytest.mark.parametrize("verb", ["cancel", "rollback"])
def test_a_wish_without_a_reason_is_wrong_usage(capsys: pytest.CaptureFixture[str], verb: str) -> None:
    with pytest.raises(SystemExit) as ended:
        main([verb, "w", "-n", "default"])
    assert ended.value.code == Exit.USAGE
    assert "--reason" in capsys.readouterr().err


async def test_a_degraded_workflow_is_rolled_back_on_request(world: World, phasegate: Phasegate) -> None:
    await world.create(config_map(key="old"))
    strategy = {"rollbackStrategy": "manual"}
    end = await world.run(workflow("w", *chain(write(1, "new"), doomed(2)), executionStrategy=strategy))
    assert phase(end) == "degraded", told(end)
    said = await phasegate("rollback", "w", "-n", world.namespace, "--reason", "customers complain")
    assert (said.code, said.err) == (0, ""), said
    found = await world.until(WORKFLOW, "w", lambda w: phase(w) == "rolled_back")
    assert found["status"]["rollbackReason"] == "customers complain"
    assert (await world.read(*CONFIG))["data"] == {"key": "old"}


async def test_only_a_degraded_workflow_can_be_rolled_back(world: World, phasegate: Phasegate) -> None:
    await world.run(workflow("w", tell()))
    said = await phasegate("rollback", "w", "-n", world.namespace, "--reason", "x")
    assert said.code == 1, said
    assert f"cannot roll back workflow {world.namespace}/w: only a degraded one" in said.err
