"""The life of a workflow: what is waited for, retried, skipped, cancelled and deleted, and what its status says meanwhile."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import Any

import pytest
from support.workflows import (
    CONFIG,
    World,
    chain,
    condition,
    config_map,
    doomed,
    has_ended,
    is_waiting,
    never_falls,
    phase,
    states,
    tell,
    told,
    waiting,
    workflow,
    write,
)

from controller.cluster.kinds import EXECUTION, WORKFLOW
from controller.core.times import instant
from controller.local.plane import Plane

Document = dict[str, Any]


# Failing.


async def test_a_step_that_is_not_critical_fails_its_dependants_are_skipped_and_the_rest_goes_on(world: World) -> None:
    await world.create(config_map())
    steps = [doomed(1, criticalStep=False), tell(2, dependsOn=[1]), tell(3, dependsOn=["s2"]), write(4, "new")]
    found = await world.run(workflow("w", *steps))
    assert (phase(found), states(found)) == ("completed", ["failed", "skipped", "skipped", "completed"]), told(found)
    assert found["status"]["workflowResult"]["outcome"] == "partial_success"
    assert "step 1 failed" in found["status"]["stepStatuses"][1]["message"]
    assert (await world.read(*CONFIG))["data"]["key"] == "new"


async def test_a_step_is_tried_again_with_growing_delays_and_every_retry_is_counted(world: World) -> None:
    await world.create(workflow("w", doomed(1, maxRetries=2)))
    planned: list[str] = []
    async with aclosing(world.states_of(WORKFLOW, "w", 30)) as seen:
        async for found in seen:
            for entry in (found.get("status") or {}).get("stepStatuses") or []:
                if (at := entry.get("nextRetryTime")) and at not in planned:
                    planned.append(at)
            if has_ended(found):
                break
    (entry,) = found["status"]["stepStatuses"]
    assert (phase(found), entry["attempts"], entry["retriesAttempted"], len(planned)) == ("failed", 3, 2, 2), told(found)
    attempts = await world.attempts("w")
    assert [a["metadata"]["name"] for a in attempts] == ["w-step-1", "w-step-1-r1", "w-step-1-r2"]
    for earlier, later, due in zip(attempts, attempts[1:], planned, strict=False):
        assert instant(earlier["status"]["completionTime"]) < instant(due) <= instant(later["status"]["startTime"])
    pauses = [instant(at) - instant(a["status"]["completionTime"]) for at, a in zip(planned, attempts, strict=False)]
    assert [pause.total_seconds() >= least for pause, least in zip(pauses, (0.05, 0.1), strict=True)] == [True, True]


async def test_retries_of_the_strategy_count_for_steps_without_their_own(world: World) -> None:
    found = await world.run(workflow("w", *chain(doomed(1), tell(2)), executionStrategy={"maxRetries": 1}))
    assert found["status"]["stepStatuses"][0]["retriesAttempted"] == 1
    assert states(found) == ["failed", "pending"]


async def test_a_manual_strategy_ends_degraded_and_an_annotation_takes_it_back(world: World) -> None:
    await world.create(config_map())
    before = await world.snapshot(CONFIG)
    steps = chain(write(1, "new"), doomed(2))
    found = await world.run(workflow("w", *steps, executionStrategy={"rollbackStrategy": "manual"}))
    assert (phase(found), states(found)) == ("degraded", ["completed", "failed"]), told(found)
    assert (await world.read(*CONFIG))["data"]["key"] == "new"

    await world.annotate("w", "kubernaut.ai/rollback", "it was not worth it")
    found = await world.until(WORKFLOW, "w", lambda w: phase(w) in {"rolled_back", "failed"})
    assert (phase(found), states(found)) == ("rolled_back", ["rolled_back", "failed"]), told(found)
    assert found["status"]["rollbackReason"] == "it was not worth it"
    assert await world.snapshot(CONFIG) == before


async def test_a_strategy_of_none_fails_and_leaves_what_was_done(world: World) -> None:
    await world.create(config_map())
    found = await world.run(workflow("w", *chain(write(1, "new"), doomed(2)), executionStrategy={"rollbackStrategy": "none"}))
    assert (phase(found), states(found)) == ("failed", ["completed", "failed"]), told(found)
    assert (await world.read(*CONFIG))["data"]["key"] == "new"
    assert not await world.attempts("w", rollback=True)


async def test_steps_are_taken_back_in_reverse_order_and_running_siblings_finish_first(world: World) -> None:
    await world.create(config_map("a", key="1"), config_map("b", key="1"))
    steps = [
        write(1, "2", name="a"),
        write(2, "2", name="b", dependsOn=[1]),
        doomed(3, dependsOn=[2]),
        waiting(4, timeout="700ms", dependsOn=[2]),
    ]
    found = await world.run(workflow("w", *steps))
    assert (phase(found), states(found)) == ("rolled_back", ["rolled_back", "rolled_back", "failed", "failed"]), told(found)
    undone = await world.attempts("w", rollback=True)
    undone.sort(key=lambda a: str(a["status"]["completionTime"]))
    assert [u["spec"]["undoOf"] for u in undone] == ["w-step-2", "w-step-1"]
    sibling = next(a for a in await world.attempts("w") if a["metadata"]["name"] == "w-step-4")
    assert instant(sibling["status"]["completionTime"]) <= instant(found["status"]["rollbackStartTime"])
    assert found["status"]["failedStep"] == 3


async def test_what_somebody_else_changed_since_is_not_overwritten_by_an_undo(world: World) -> None:
    await world.create(config_map())
    steps = chain(write(1, "new"), waiting(2, timeout="1500ms"))
    await world.create(workflow("w", *steps))
    await world.until(EXECUTION, "w-step-2", lambda a: phase(a) == "verifying")
    await world.patch(*CONFIG, {"data": {"key": "somebody else's"}})
    found = await world.ended("w")
    assert (phase(found), states(found)) == ("failed", ["rollback_failed", "failed"]), told(found)
    assert found["status"]["failureReason"] == "rollback_failed"
    assert "changed_since" in found["status"]["stepStatuses"][0]["errorMessage"]
    assert (await world.read(*CONFIG))["data"]["key"] == "somebody else's"


# Stopping.


async def test_a_suspended_workflow_starts_nothing_until_it_is_resumed(world: World) -> None:
    await world.create(workflow("w", tell(1), suspend=True))
    found = await world.until(WORKFLOW, "w", lambda w: "suspended" in is_waiting(w))
    assert (phase(found), states(found)) == ("executing", ["pending"])
    assert found["status"]["remedy"] == "set spec.suspend to false"
    await world.patch(WORKFLOW, "w", {"spec": {"suspend": False}})
    assert phase(await world.ended("w")) == "completed"


async def test_suspending_lets_what_runs_finish(world: World) -> None:
    await world.create(workflow("w", *chain(waiting(1, timeout="1s", criticalStep=False), doomed(2)), tell(3, dependsOn=[])))
    await world.until(EXECUTION, "w-step-1", lambda a: phase(a) == "verifying")
    await world.patch(WORKFLOW, "w", {"spec": {"suspend": True}})
    found = await world.ended("w")
    assert states(found) == ["failed", "skipped", "completed"], told(found)


async def test_a_cancelled_workflow_starts_nothing_more_and_takes_back_what_was_done(world: World) -> None:
    await world.create(config_map())
    before = await world.snapshot(CONFIG)
    await world.create(workflow("w", *chain(write(1, "new"), waiting(2, timeout="1s", criticalStep=False), tell(3))))
    await world.until(EXECUTION, "w-step-2", lambda a: phase(a) == "verifying")
    await world.annotate("w", "kubernaut.ai/cancel", "wrong cluster")
    found = await world.ended("w")
    assert phase(found) == "rolled_back", told(found)
    assert (found["status"]["failureReason"], found["status"]["rollbackReason"]) == ("cancelled", "cancelled: wrong cluster")
    assert "w-step-3" not in {a["metadata"]["name"] for a in await world.attempts("w")}
    assert await world.snapshot(CONFIG) == before


async def test_a_workflow_that_waits_for_approval_can_be_cancelled(world: World) -> None:
    await world.create(workflow("w", tell(1), executionStrategy={"approvalRequired": True}))
    await world.until(WORKFLOW, "w", lambda w: "approval_required" in is_waiting(w))
    await world.annotate("w", "kubernaut.ai/cancel", "nobody is there")
    found = await world.ended("w")
    assert (phase(found), found["status"]["failureReason"]) == ("failed", "cancelled"), told(found)
    assert "nobody is there" in found["status"]["message"]
    assert not await world.attempts("w")


# Deleting.


async def bring_to(world: World, where: str) -> None:
    """Bring the workflow `w` into one part of its life."""
    match where:
        case "waiting for approval":
            await world.create(workflow("w", tell(1), executionStrategy={"approvalRequired": True}))
            await world.until(WORKFLOW, "w", lambda w: "approval_required" in is_waiting(w))
        case "executing":
            await world.create(workflow("w", waiting(1, timeout="1m")))
            await world.until(EXECUTION, "w-step-1", lambda a: phase(a) == "verifying")
        case "ended":
            await world.run(workflow("w", tell(1)))
        case _:
            await world.create(workflow("w", tell(1)))


LIFE = ["new", "waiting for approval", "executing", "ended"]


@pytest.mark.parametrize("where", LIFE)
async def test_a_workflow_can_be_deleted_in_every_part_of_its_life(world: World, where: str) -> None:
    await bring_to(world, where)
    await world.cluster.delete(WORKFLOW, world.namespace, "w")
    await world.gone(WORKFLOW, "w", seconds=10)
    if where != "new":
        await world.told("w", "WorkflowExecutionDeleted")


async def test_the_attempts_of_a_workflow_go_with_it(world: World) -> None:
    await world.run(workflow("w", tell(1)))
    await world.cluster.delete(WORKFLOW, world.namespace, "w")
    # The garbage collector looks for new kinds every thirty seconds only.
    await world.gone(EXECUTION, "w-step-1", seconds=60)


@pytest.mark.parametrize("where", LIFE)
async def test_a_workflow_can_be_deleted_while_opa_is_down(world: World, plane: Plane, where: str) -> None:
    if where != "new":
        await bring_to(world, where)
    plane.stop("opa")
    try:
        if where == "new":
            await bring_to(world, where)
            await world.until(WORKFLOW, "w", is_waiting)
        await world.cluster.delete(WORKFLOW, world.namespace, "w")
        await world.gone(WORKFLOW, "w", seconds=10)
    finally:
        plane.start("opa")


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
    await world.gone(WORKFLOW, "w", seconds=10)
    assert (await world.read(*CONFIG))["data"]["key"] == "new"


async def test_an_ended_workflow_goes_when_its_time_to_live_is_over(world: World) -> None:
    await world.create(workflow("w", tell(1), ttlSecondsAfterFinished=1))
    await world.ended("w")
    await world.gone(WORKFLOW, "w", seconds=5)


async def test_the_time_to_live_can_be_shortened_after_the_end(world: World) -> None:
    await world.run(workflow("w", tell(1)))
    await world.patch(WORKFLOW, "w", {"spec": {"ttlSecondsAfterFinished": 0}})
    await world.gone(WORKFLOW, "w", seconds=5)


# The status.


async def test_the_status_tells_the_generation_that_it_speaks_of_and_conditions_with_reasons(world: World) -> None:
    await world.create(config_map())
    found = await world.run(workflow("w", write(1, "new")))
    told_of = {c["type"]: (c["status"], c["reason"], c["observedGeneration"]) for c in found["status"]["conditions"]}
    assert told_of == {
        "Planned": ("True", "PlanBuilt", 1),
        "Validated": ("True", "ChecksPassed", 1),
        "Approved": ("True", "NotRequired", 1),
        "Progressing": ("False", "Ended", 1),
        "Verified": ("True", "OutcomeConfirmed", 1),
        "Succeeded": ("True", "Completed", 1),
        "PolicyReady": ("True", "Deciding", 1),
    }
    times = [
        found["status"][key]
        for key in ("startTime", "planningStartTime", "validationStartTime", "executionStartTime", "monitoringStartTime")
    ]
    assert never_falls(instant(at).timestamp() for at in [*times, found["status"]["completionTime"]])


async def test_progress_only_rises_even_when_everything_is_taken_back(world: World) -> None:
    await world.create(config_map())
    await world.create(workflow("w", *chain(write(1, "a"), write(2, "b"), write(3, "c"), doomed(4))))
    progress: list[int] = []
    async with aclosing(world.states_of(WORKFLOW, "w", 30)) as seen:
        async for found in seen:
            progress.append((found.get("status") or {}).get("progress", 0))
            if has_ended(found):
                break
    assert phase(found) == "rolled_back", told(found)
    assert never_falls(progress)
    assert progress[-1] == 75


async def test_nothing_is_written_while_nothing_changes(world: World) -> None:
    await world.create(
        workflow("approval", tell(1), executionStrategy={"approvalRequired": True}),
        workflow("suspended", tell(1), suspend=True),
        workflow("running", waiting(1, timeout="1m")),
        workflow("ended", tell(1)),
    )
    await world.until(WORKFLOW, "approval", lambda w: "approval_required" in is_waiting(w))
    await world.until(WORKFLOW, "suspended", lambda w: "suspended" in is_waiting(w))
    await world.until(EXECUTION, "running-step-1", lambda a: phase(a) == "verifying")
    await world.ended("ended")
    names = ("approval", "suspended", "running", "ended")
    written = await asyncio.gather(*(world.changes(WORKFLOW, n, 2.0) for n in names), world.changes(EXECUTION, "running-step-1", 2.0))
    assert [len(changes) for changes in written] == [0] * 5


async def test_events_tell_the_transitions(world: World) -> None:
    await world.create(config_map())
    found = await world.run(workflow("w", *chain(write(1, "new"), doomed(2))))
    assert condition(found, "RolledBack")["status"] == "True"
    wanted = ("WorkflowExecutionCreated", "PhaseTransition", "WorkflowValidated", "StepStarted", "StepCompleted", "StepFailed")
    for reason in (*wanted, "RollbackStarted", "RollbackCompleted"):
        await world.told("w", reason)
