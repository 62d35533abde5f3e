"""Taking back: who starts it, in which order it goes, what it leaves alone, and what it says of both."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from support.commands import Phasegate
from support.team import at_undos, condition, policy, ruled
from support.workflows import (
    CONFIG,
    WEB,
    World,
    chain,
    config_map,
    deployment,
    doomed,
    is_waiting,
    parked,
    phase,
    release,
    states,
    step,
    tell,
    told,
    workflow,
    write,
)

from controller.cluster.kinds import CONFIG_MAP, EXECUTION, WORKFLOW
from controller.core.times import instant
from controller.local.plane import Plane

Document = dict[str, Any]

NAMES = ("a", "b", "c")
MANUAL = {"rollbackStrategy": "manual"}
# What a cancel keeps from starting.
NEXT = [tell(3, dependsOn=[1])]


def writes() -> list[Document]:
    """Steps 1 to 3, each to a ConfigMap of its own."""
    return [write(number, "new", name=name) for number, name in enumerate(NAMES, start=1)]


async def values(world: World) -> list[str]:
    return [(await world.read(CONFIG_MAP, name))["data"]["key"] for name in NAMES]


async def undos(world: World) -> list[Document]:
    """The undo attempts of `w`, in the order in which they ended."""
    return sorted(await world.attempts("w", rollback=True), key=lambda a: instant(a["status"]["completionTime"]))


async def degraded(world: World) -> None:
    """A workflow `w` that wrote `settings`, failed, and waits for people."""
    await world.create(config_map())
    found = await world.run(workflow("w", *chain(write(1, "new"), doomed(2)), executionStrategy=MANUAL))
    assert phase(found) == "degraded", told(found)


# Order.


async def test_attempts_of_the_failed_step_come_first_the_last_one_first(world: World) -> None:
    document = deployment()
    document["spec"]["template"]["spec"]["containers"][0]["args"] = ["serve"]
    await world.roll_out(document)
    before = await world.snapshot(WEB)
    more = [{"op": "add", "path": "/spec/template/spec/containers/0/args/-", "value": "more"}]
    patch = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "patchType": "json", "patch": more}
    async with condition(world, "holds", 'holds contains "enough" if input.step.name == "nobody"') as reference:
        never = [{"type": "enough", "rego": reference, "timeout": "100ms"}]
        steps = chain(
            step(1, "scale-deployment", {"deployment": "web", "replicas": 2}),
            step(2, "patch-resource", patch, maxRetries=1, postConditions=never),
        )
        found = await world.run(workflow("w", *steps))
    assert (phase(found), states(found)) == ("rolled_back", ["rolled_back", "rolled_back"]), told(found)
    assert [u["spec"]["undoOf"] for u in await undos(world)] == ["w-step-2-r1", "w-step-2", "w-step-1"]
    assert await world.snapshot(WEB) == before


async def test_the_last_completed_is_taken_back_first_whatever_its_number(world: World) -> None:
    await world.create(*(config_map(name, key="old") for name in NAMES))
    first, second, third = writes()
    steps = [first | {"dependsOn": [2]}, second | {"dependsOn": [3]}, third, doomed(4, dependsOn=[1])]
    found = await world.run(workflow("w", *steps))
    assert phase(found) == "rolled_back", told(found)
    assert [u["spec"]["undoOf"] for u in await undos(world)] == ["w-step-1", "w-step-2", "w-step-3"]
    assert "undone: 1, 2, 3; not undone: none" in found["status"]["message"]


# The way back.


async def test_an_irreversible_step_counts_as_undone_beside_one_that_is_taken_back(world: World) -> None:
    await world.roll_out(deployment())
    await world.create(config_map())
    before = await world.snapshot(CONFIG)
    steps = chain(
        write(1, "new"),
        step(2, "restart-pod", {"selector": "app=web"}),
        doomed(3),
    )
    found = await world.run(workflow("w", *steps))
    assert phase(found) == "rolled_back", told(found)
    assert await world.snapshot(CONFIG) == before
    assert found["status"]["stepStatuses"][0]["status"] == "rolled_back"
    assert "step 2 cannot be taken back and counts as undone" in found["status"]["message"]


async def test_a_rollback_spec_beats_the_recorded_undo(world: World) -> None:
    await world.roll_out(deployment())
    way_back = {"action": "scale-to-previous", "parameters": {"scaleToPrevious": {"deployment": "web", "previousReplicas": 2}}}
    steps = chain(step(1, "scale-deployment", {"deployment": "web", "replicas": 3}, rollbackSpec=way_back), doomed(2))
    found = await world.run(workflow("w", *steps))
    assert phase(found) == "rolled_back", told(found)
    assert (await world.read(*WEB))["spec"]["replicas"] == 2


# Partial.


async def taken_back_after(world: World, *meddled: str) -> Document:
    """A workflow `w` that wrote all three and failed; a person takes it back once somebody else has changed some. As it has ended."""
    await world.create(*(config_map(name, key="old") for name in NAMES))
    found = await world.run(workflow("w", *chain(*writes(), doomed(4)), executionStrategy=MANUAL))
    assert phase(found) == "degraded", told(found)
    for name in meddled:
        await world.patch(CONFIG_MAP, name, {"data": {"key": "theirs"}})
    await world.annotate("w", "kubernaut.ai/rollback", "take it back")
    return await world.until(WORKFLOW, "w", lambda w: phase(w) in {"rolled_back", "failed"})


async def test_what_somebody_changed_stays_the_rest_is_taken_back_and_the_message_says_which(world: World) -> None:
    found = await taken_back_after(world, "b")
    assert (phase(found), states(found)) == ("failed", ["rolled_back", "rollback_failed", "rolled_back", "failed"]), told(found)
    assert await values(world) == ["old", "theirs", "old"]
    status = found["status"]
    assert status["failureReason"] == "rollback_failed"
    assert "undone: 3, 1; not undone: 2" in status["message"]
    assert status["remedy"]
    assert "changed_since" in status["stepStatuses"][1]["errorMessage"]
    assert len(await undos(world)) == 3


async def test_a_teams_rule_may_let_a_strangers_change_be_overwritten(world: World) -> None:
    async with ruled(world, "rollback", 'overwrite contains {"step": 2, "reason": "its owner agreed"}'):
        found = await taken_back_after(world, "b", "c")
    assert (phase(found), states(found)) == ("failed", ["rolled_back", "rolled_back", "rollback_failed", "failed"]), told(found)
    assert await values(world) == ["old", "old", "theirs"]
    assert "undone: 2, 1; not undone: 3" in found["status"]["message"]


async def test_a_teams_rule_may_stop_it_and_leave_the_rest_to_people(world: World) -> None:
    await world.create(*(config_map(name, key="old") for name in NAMES))
    rule = f"""package kubernaut.rules.rollback.stops

stop contains {{"code": "enough", "message": "the database is next: call its people"}} if {{
	input.workflow.metadata.namespace == "{world.namespace}"
	some step in input.steps
	step.status == "rolled_back"
}}
"""
    async with policy(world, {"rule.rego": rule}):
        found = await world.run(workflow("w", *chain(*writes(), doomed(4))))
    assert (phase(found), states(found)) == ("failed", ["completed", "completed", "rolled_back", "failed"]), told(found)
    assert await values(world) == ["new", "new", "old"]
    assert found["status"]["failureReason"] == "rollback_failed"
    assert "call its people; undone: 3; not undone: 2, 1" in found["status"]["message"]


async def test_an_undo_attempt_that_somebody_deletes_is_made_again(world: World) -> None:
    await world.create(config_map())
    async with at_undos(world, "action", 'wait contains {"code": "hold", "message": "not yet"}') as lift:
        await world.create(workflow("w", *chain(write(1, "new"), doomed(2))))
        first = await world.until(EXECUTION, "w-rollback-1", lambda a: "not yet" in str(a.get("status")))
        await world.cluster.delete(EXECUTION, world.namespace, "w-rollback-1")
        await lift()
        found = await world.ended("w")
    assert (phase(found), states(found)) == ("rolled_back", ["rolled_back", "failed"]), told(found)
    (again,) = await undos(world)
    assert again["metadata"]["uid"] != first["metadata"]["uid"]
    assert (await world.read(*CONFIG))["data"]["key"] == "old"


# Never twice.


async def test_what_was_taken_back_is_not_taken_back_again(world: World) -> None:
    await world.create(config_map())
    found = await world.run(workflow("w", *chain(write(1, "new"), doomed(2))))
    assert phase(found) == "rolled_back", told(found)
    before, seen = await world.read(*CONFIG), await world.attempts("w", rollback=True)
    await world.annotate("w", "kubernaut.ai/rollback", "once more")
    assert not await world.changes(WORKFLOW, "w", 1.0)
    assert phase(await world.read(WORKFLOW, "w")) == "rolled_back"
    assert (await world.read(*CONFIG), await world.attempts("w", rollback=True)) == (before, seen)


async def test_an_undo_that_fails_after_it_was_sent_is_neither_repeated_nor_undone(world: World) -> None:
    await world.roll_out(deployment())
    way_back = {"action": "scale-to-previous", "parameters": {"scaleToPrevious": {"deployment": "web", "previousReplicas": 2}}}
    steps = chain(step(1, "scale-deployment", {"deployment": "web", "replicas": 3}, maxRetries=3, rollbackSpec=way_back), doomed(2))
    async with at_undos(world, "verify", 'deny contains {"code": "no", "message": "that was not it"}'):
        found = await world.run(workflow("w", *steps))
    assert (phase(found), states(found)) == ("failed", ["rollback_failed", "failed"]), told(found)
    assert "that was not it" in found["status"]["stepStatuses"][0]["errorMessage"]
    assert (await world.read(*WEB))["spec"]["replicas"] == 2
    assert [u["metadata"]["name"] for u in await undos(world)] == ["w-rollback-1"]
    await world.annotate("w", "kubernaut.ai/rollback", "once more")
    assert not await world.changes(WORKFLOW, "w", 1.0)
    assert len(await undos(world)) == 1


# By hand.


async def test_only_phasegate_rollback_takes_back_what_is_degraded(world: World, plane: Plane) -> None:
    await degraded(world)
    await world.annotate("w", "kubernaut.ai/cancel", "it is over")
    await world.patch(WORKFLOW, "w", {"spec": {"suspend": True}})
    assert not await world.changes(WORKFLOW, "w", 1.0)
    assert phase(await world.read(WORKFLOW, "w")) == "degraded"
    assert not await undos(world)

    said = await Phasegate(plane)("rollback", "w", "-n", world.namespace, "--reason", "it was not worth it")
    assert said.code == 0, said
    found = await world.until(WORKFLOW, "w", lambda w: phase(w) in {"rolled_back", "failed"})
    assert (phase(found), found["status"]["rollbackReason"]) == ("rolled_back", "it was not worth it"), told(found)
    assert (await world.read(*CONFIG))["data"]["key"] == "old"


# Cancelled.


async def cancelled(world: World, strategy: str, *steps: Document, more: Sequence[Document] = ()) -> Document:
    """A workflow `w` of this strategy that was cancelled while a step after these ran, and before ``more``, once it has ended."""
    running = len(steps) + 1
    terms = {"rollbackStrategy": strategy, "maxParallelSteps": 1}
    await world.create(workflow("w", *chain(*steps, parked(running)), *more, executionStrategy=terms))
    await world.until(EXECUTION, f"w-step-{running}", lambda a: phase(a) == "verifying")
    await world.annotate("w", "kubernaut.ai/cancel", "wrong cluster")
    await world.until(WORKFLOW, "w", lambda w: f"running steps to end: {running} " in is_waiting(w))
    await release(world)
    return await world.ended("w")


async def test_a_cancel_leaves_to_people_what_they_want_to_undo_by_hand(world: World) -> None:
    await world.create(config_map())
    found = await cancelled(world, "manual", write(1, "new"), more=NEXT)
    assert (phase(found), states(found)) == ("degraded", ["completed", "completed", "pending"]), told(found)
    assert (found["status"]["failureReason"], found["status"]["message"]) == ("cancelled", "cancelled: wrong cluster")
    assert (await world.read(*CONFIG))["data"]["key"] == "new"

    await world.annotate("w", "kubernaut.ai/rollback", "take it back")
    found = await world.until(WORKFLOW, "w", lambda w: phase(w) in {"rolled_back", "failed"})
    assert (phase(found), states(found)) == ("rolled_back", ["rolled_back", "completed", "pending"]), told(found)
    assert (found["status"]["failureReason"], found["status"]["rollbackReason"]) == ("cancelled", "take it back")
    assert (await world.read(*CONFIG))["data"]["key"] == "old"


@pytest.mark.parametrize("strategy", ["automatic", "manual", "none"])
async def test_a_cancel_with_nothing_to_undo_only_ends(world: World, strategy: str) -> None:
    found = await cancelled(world, strategy, tell(1), more=NEXT)
    assert (phase(found), found["status"]["failureReason"]) == ("failed", "cancelled"), told(found)
    assert "rollbackStartTime" not in found["status"]


async def test_a_cancel_without_rollback_keeps_what_was_done(world: World) -> None:
    await world.create(config_map())
    found = await cancelled(world, "none", write(1, "new"), more=NEXT)
    assert (phase(found), states(found)) == ("failed", ["completed", "completed", "pending"]), told(found)
    assert (await world.read(*CONFIG))["data"]["key"] == "new"
    assert not await undos(world)


async def test_a_cancel_during_the_last_step_leaves_the_undo_to_people_as_well(world: World) -> None:
    await world.create(config_map())
    found = await cancelled(world, "manual", write(1, "new"))
    assert (phase(found), states(found)) == ("degraded", ["completed", "completed"]), told(found)
