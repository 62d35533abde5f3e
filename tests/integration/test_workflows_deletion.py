"""Deleting a workflow: in every part of its life, whatever is down or gone; what is left of it is in the audit store."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing
from typing import Any

import pytest
from support.audit import recorded
from support.controller import ControllerProcess
from support.faults import Seen, between
from support.patience import until
from support.team import ruled
from support.workflows import (
    CONFIG,
    World,
    chain,
    config_map,
    doomed,
    is_waiting,
    phase,
    states,
    tell,
    told,
    waiting,
    workflow,
    write,
)

from controller.cluster.kinds import EVENT, EXECUTION, WORKFLOW
from controller.core.names import CANCEL_ANNOTATION, FINALIZER
from controller.local.plane import Plane

Document = dict[str, Any]

# One part of a workflow's life to the phase that it has there. The other ends are deleted in test_workflows_transitions.py.
LIFE = {
    "planning, where a rule says wait": "planning",
    "waiting for approval": "validating",
    "suspended": "executing",
    "a step runs": "executing",
    "monitoring": "monitoring",
    "an undo runs": "rolling_back",
    "degraded": "degraded",
    "completed": "completed",
    "failed": "failed",
}
ENDED = {"degraded", "completed", "failed"}
WAIT = 'wait contains {"code": "look_first", "message": "the team looks at it first"}'


@pytest.fixture
async def rules() -> AsyncIterator[AsyncExitStack]:
    """Holds a team's rules until the end of the test."""
    async with AsyncExitStack() as stack:
        yield stack


async def bring_to(world: World, where: str, rules: AsyncExitStack) -> Document:
    """Bring the workflow `w` into one part of its life; answers it as it is there."""
    match where:
        case "planning, where a rule says wait":
            await rules.enter_async_context(ruled(world, "planning", WAIT))
            await world.create(workflow("w", tell(1)))
        case "waiting for approval":
            await world.create(workflow("w", tell(1), executionStrategy={"approvalRequired": True}))
            await world.until(WORKFLOW, "w", lambda w: "approval_required" in is_waiting(w))
        case "suspended":
            await world.create(workflow("w", tell(1), suspend=True))
        case "a step runs":
            await world.create(workflow("w", waiting(1, timeout="1m")))
            await world.until(EXECUTION, "w-step-1", lambda a: phase(a) == "verifying")
        case "monitoring":
            await rules.enter_async_context(ruled(world, "monitoring", WAIT))
            await world.create(workflow("w", tell(1)))
        case "an undo runs":
            # Of an attempt that takes nothing back this rule says nothing, because there is no `undo` to count.
            undo = 'wait contains {"code": "look_first", "message": sprintf("%d operations to be looked at", [count(input.undo)])}'
            await rules.enter_async_context(ruled(world, "action", undo))
            await world.create(config_map(), workflow("w", *chain(write(1, "new"), doomed(2))))
        case "degraded":
            steps = chain(write(1, "new"), doomed(2))
            await world.create(config_map(), workflow("w", *steps, executionStrategy={"rollbackStrategy": "manual"}))
        case "completed":
            await world.create(workflow("w", tell(1)))
        case "failed":
            await world.create(workflow("w", doomed(1)))
    return await world.until(WORKFLOW, "w", lambda w: phase(w) == LIFE[where] and (where in ENDED or is_waiting(w)))


async def audited(controller: ControllerProcess, found: Document, *, deleted: bool) -> Document:
    """What the audit store has of a workflow, once it has."""
    query, uid = "select * from workflows where uid = ?", found["metadata"]["uid"]
    await until(lambda: any(bool(row["deleted_at"]) is deleted for row in recorded(controller, query, uid)), what="its record")
    (row,) = recorded(controller, query, uid)
    assert (row["namespace"], row["name"]) == (found["metadata"]["namespace"], "w")
    return row


async def test_a_new_workflow_can_be_deleted_at_once(world: World) -> None:
    await world.create(workflow("w", tell(1)))
    await world.cluster.delete(WORKFLOW, world.namespace, "w")
    await world.gone(WORKFLOW, "w")


@pytest.mark.parametrize("where", LIFE)
async def test_a_workflow_can_be_deleted_in_every_part_of_its_life_and_is_kept_in_the_audit_store(
    world: World, controller: ControllerProcess, rules: AsyncExitStack, where: str
) -> None:
    found = await bring_to(world, where, rules)
    if where in ENDED:
        assert (await audited(controller, found, deleted=False))["phase"] == where
    await world.cluster.delete(WORKFLOW, world.namespace, "w")
    await world.gone(WORKFLOW, "w")
    await world.told("w", "WorkflowExecutionDeleted")
    page = await world.cluster.list(EVENT, world.namespace, field_selector="involvedObject.name=w,reason=WorkflowExecutionDeleted")
    assert [event["count"] for event in page.items] == [1]
    row = await audited(controller, found, deleted=True)
    assert row["phase"] == LIFE[where]
    ran = {entry["stepNumber"] for entry in found["status"].get("stepStatuses") or [] if entry["attempts"]}
    steps = recorded(controller, "select step from steps where workflow_uid = ?", found["metadata"]["uid"])
    assert {row["step"] for row in steps} == ran


async def test_a_new_workflow_can_be_deleted_while_opa_is_down(world: World, plane: Plane) -> None:
    plane.stop("opa")
    try:
        await world.create(workflow("w", tell(1)))
        await world.until(WORKFLOW, "w", is_waiting)
        await world.cluster.delete(WORKFLOW, world.namespace, "w")
        await world.gone(WORKFLOW, "w")
    finally:
        plane.start("opa")


@pytest.mark.parametrize("where", LIFE)
async def test_a_workflow_can_be_deleted_while_opa_is_down(
    world: World, plane: Plane, controller: ControllerProcess, rules: AsyncExitStack, where: str
) -> None:
    found = await bring_to(world, where, rules)
    plane.stop("opa")
    try:
        await world.cluster.delete(WORKFLOW, world.namespace, "w")
        await world.gone(WORKFLOW, "w")
        await audited(controller, found, deleted=True)
    finally:
        plane.start("opa")


@pytest.mark.parametrize("children", ["there", "gone"])
@pytest.mark.parametrize("where", ["a step runs", "an undo runs", "completed"])
async def test_what_was_deleted_while_the_controller_was_down_goes_when_it_is_back(
    world: World, controller: ControllerProcess, rules: AsyncExitStack, where: str, children: str
) -> None:
    found = await bring_to(world, where, rules)
    controller.kill()
    await world.cluster.delete(WORKFLOW, world.namespace, "w")
    left = await world.read(WORKFLOW, "w")
    assert FINALIZER in left["metadata"]["finalizers"]
    if children == "gone":
        for attempt in [*await world.attempts("w"), *await world.attempts("w", rollback=True)]:
            await world.cluster.delete(EXECUTION, world.namespace, attempt["metadata"]["name"])
    controller.start()
    await world.gone(WORKFLOW, "w")
    await world.told("w", "WorkflowExecutionDeleted")
    await audited(controller, found, deleted=True)


async def test_what_is_gone_at_once_leaves_the_finalizer_nothing_to_wait_for(world: World) -> None:
    await world.create(workflow("w", waiting(1, timeout="1m")))
    await world.until(EXECUTION, "w-step-1", lambda a: phase(a) == "verifying")
    await world.cluster.delete(WORKFLOW, world.namespace, "w")
    await world.cluster.delete(EXECUTION, world.namespace, "w-step-1")
    await world.gone(WORKFLOW, "w")


@pytest.mark.parametrize("where", ["a step runs", "completed"])
async def test_who_waits_for_the_children_first_sees_all_of_it_go(world: World, rules: AsyncExitStack, where: str) -> None:
    await bring_to(world, where, rules)
    await world.cluster.delete(WORKFLOW, world.namespace, "w", propagation="Foreground")
    # The garbage collector looks for new kinds every thirty seconds only.
    await world.gone(WORKFLOW, "w", seconds=60)
    await world.gone(EXECUTION, "w-step-1", seconds=1)


async def test_the_attempts_of_a_workflow_go_with_it(world: World, rules: AsyncExitStack) -> None:
    found = await bring_to(world, "an undo runs", rules)
    assert states(found) == ["completed", "failed"], told(found)
    await world.cluster.delete(WORKFLOW, world.namespace, "w")
    for name in ("w-step-1", "w-step-2", "w-rollback-1"):
        await world.gone(EXECUTION, name, seconds=60)


async def test_deleting_an_executing_workflow_cancels_its_attempt_and_rolls_nothing_back(world: World) -> None:
    await world.create(config_map())
    await world.create(workflow("w", *chain(write(1, "new"), waiting(2, timeout="1m"))))
    await world.until(EXECUTION, "w-step-2", lambda a: phase(a) == "verifying")
    # The garbage collector may take the attempt right after its end: only who watched before the deletion sees both for certain.
    async with aclosing(world.states_of(EXECUTION, "w-step-2", 30)) as seen:
        assert phase(await anext(seen)) == "verifying"
        await world.cluster.delete(WORKFLOW, world.namespace, "w")
        cancelled = await anext((found async for found in seen if phase(found) == "failed"), {})
    assert cancelled, "the attempt was not seen to fail"
    assert "deleted" in cancelled["status"]["executionResults"]["errorMessage"]
    await world.gone(WORKFLOW, "w")
    assert (await world.read(*CONFIG))["data"]["key"] == "new"


def is_told_to_stop(attempt: Document) -> bool:
    return CANCEL_ANNOTATION in (attempt["metadata"].get("annotations") or {})


async def test_an_attempt_of_another_executor_is_waited_for_until_it_has_ended(world: World, controller: ControllerProcess) -> None:
    controller.kill()
    controller.start("--controllers", "workflow,policy")
    await world.create(workflow("w", tell(1)))
    found = await world.until(EXECUTION, "w-step-1", bool)
    await world.cluster.delete(WORKFLOW, world.namespace, "w")
    await world.until(EXECUTION, "w-step-1", is_told_to_stop)
    assert not await world.changes(WORKFLOW, "w", 1.5), "it is not let go while its attempt may still do something"
    ended = {"phase": "Failed", "startTime": found["metadata"]["creationTimestamp"], "executionResults": {"errorMessage": "stopped"}}
    await world.cluster.patch(EXECUTION, world.namespace, "w-step-1", {"status": ended}, subresource="status")
    await world.gone(WORKFLOW, "w")


async def test_an_attempt_that_never_ends_is_waited_for_in_bounds(world: World, controller: ControllerProcess) -> None:
    controller.kill()
    controller.start("--controllers", "workflow,policy")
    await world.create(workflow("w", tell(1)), workflow("begun", tell(1)))
    await world.until(EXECUTION, "w-step-1", bool)
    attempt = await world.until(EXECUTION, "begun-step-1", bool)
    running = {"phase": "Executing", "startTime": attempt["metadata"]["creationTimestamp"]}
    await world.cluster.patch(EXECUTION, world.namespace, "begun-step-1", {"status": running}, subresource="status")
    found = await world.read(WORKFLOW, "w")
    for name in ("w", "begun"):
        await world.cluster.delete(WORKFLOW, world.namespace, name)
        await world.until(EXECUTION, f"{name}-step-1", is_told_to_stop)
    for name in ("w", "begun"):
        await world.gone(WORKFLOW, name, seconds=60)
        # The garbage collector looks for new kinds every thirty seconds only.
        await world.gone(EXECUTION, f"{name}-step-1", seconds=60)
    await audited(controller, found, deleted=True)


async def test_an_ended_workflow_goes_when_its_time_to_live_is_over(world: World) -> None:
    await world.create(workflow("w", tell(1), ttlSecondsAfterFinished=1))
    await world.ended("w")
    await world.gone(WORKFLOW, "w")


async def test_the_time_to_live_can_be_shortened_after_the_end(world: World) -> None:
    await world.run(workflow("w", tell(1)))
    await world.patch(WORKFLOW, "w", {"spec": {"ttlSecondsAfterFinished": 0}})
    await world.gone(WORKFLOW, "w")


async def test_a_rollback_that_is_asked_for_at_the_last_moment_of_its_time_to_live_is_not_lost(
    world: World, controller: ControllerProcess, rules: AsyncExitStack
) -> None:
    async def ask(_: Seen) -> None:
        if len(proxy.seen) == 1:
            await world.annotate("w", "kubernaut.ai/rollback", "at the last moment")

    ours = rf"^DELETE .*/{world.namespace}/workflowexecutions/w$"
    async with between(controller, ours, "--namespaces", world.namespace, meddler=ask) as proxy:
        await bring_to(world, "degraded", rules)
        await world.patch(WORKFLOW, "w", {"spec": {"ttlSecondsAfterFinished": 0}})
        await world.gone(WORKFLOW, "w")
        await world.told("w", "RollbackCompleted")
        assert (await world.read(*CONFIG))["data"]["key"] == "old"
