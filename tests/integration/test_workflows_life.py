"""The life of a workflow: what is waited for, retried, skipped and cancelled, and what its status says meanwhile."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, aclosing
from typing import Any

from support.team import at_undos, ruled
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
    parked,
    phase,
    release,
    seen_by,
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
        parked(4, dependsOn=[2]),
    ]
    await world.create(workflow("w", *steps))
    await world.until(WORKFLOW, "w", lambda w: "running steps to end: 4 " in is_waiting(w))
    await release(world)
    found = await world.ended("w")
    assert (phase(found), states(found)) == ("rolled_back", ["rolled_back", "rolled_back", "failed", "completed"]), told(found)
    undone = await world.attempts("w", rollback=True)
    undone.sort(key=lambda a: str(a["status"]["completionTime"]))
    assert [u["spec"]["undoOf"] for u in undone] == ["w-step-2", "w-step-1"]
    sibling = next(a for a in await world.attempts("w") if a["metadata"]["name"] == "w-step-4")
    assert instant(sibling["status"]["completionTime"]) <= instant(found["status"]["rollbackStartTime"])
    assert found["status"]["failedStep"] == 3


async def test_what_somebody_else_changed_since_is_not_overwritten_by_an_undo(world: World) -> None:
    await world.create(config_map())
    async with at_undos(world, "action", 'wait contains {"code": "hold", "message": "not yet"}') as lift:
        await world.create(workflow("w", *chain(write(1, "new"), doomed(2))))
        await world.until(EXECUTION, "w-rollback-1", lambda a: "not yet" in str(a.get("status")))
        await world.patch(*CONFIG, {"data": {"key": "somebody else's"}})
        await lift()
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
    await world.create(workflow("w", *chain(write(1, "new"), parked(2), tell(3))))
    await world.until(EXECUTION, "w-step-2", lambda a: phase(a) == "verifying")
    await world.annotate("w", "kubernaut.ai/cancel", "wrong cluster")
    await world.until(WORKFLOW, "w", lambda w: "running steps to end" in is_waiting(w))
    await release(world)
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
    assert condition(found, "Approved")["reason"] == "Undecided"
    assert not await world.attempts("w")


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


async def test_nothing_is_written_while_a_teams_rule_says_wait(world: World) -> None:
    # Each rule speaks of the workflow that is named after its gate, and is silent on the others.
    message = '"message": {{"{0}": "the team looks at it first"}}[input.workflow.metadata.name]'
    gates = {gate: f'wait contains {{"code": "look_first", {message.format(gate)}}}' for gate in ("planning", "approval", "monitoring")}
    gates["dispatch"] = f'hold contains {{"step": 1, "code": "look_first", {message.format("dispatch")}}}'
    async with AsyncExitStack() as rules:
        for gate, rule in gates.items():
            await rules.enter_async_context(ruled(world, gate, rule))
        await world.create(*(workflow(gate, tell(1)) for gate in gates))
        for gate in gates:
            await world.until(WORKFLOW, gate, lambda w: "look_first" in is_waiting(w))
        written = await asyncio.gather(*(world.changes(WORKFLOW, gate, 3.0) for gate in gates))
        assert dict(zip(gates, map(len, written), strict=True)) == dict.fromkeys(gates, 0)


async def test_an_outage_of_opa_is_told_once_and_then_nothing_is_written_until_it_is_over(world: World, plane: Plane) -> None:
    await world.create(
        workflow("approval", tell(1), executionStrategy={"approvalRequired": True}),
        workflow("suspended", tell(1), suspend=True),
    )
    await world.until(WORKFLOW, "approval", lambda w: "approval_required" in is_waiting(w))
    await world.until(WORKFLOW, "suspended", lambda w: "suspended" in is_waiting(w))
    plane.stop("opa")
    try:
        for name in ("approval", "suspended"):
            await world.annotate(name, "look", "again")
            # What was asked while it went down is told in other words.
            await world.until(WORKFLOW, name, lambda w: "no decision: Cannot connect" in is_waiting(w))
        # It is asked again and again meanwhile.
        written = await asyncio.gather(*(world.changes(WORKFLOW, name, 3.0) for name in ("approval", "suspended")))
        assert [len(changes) for changes in written] == [0, 0], [told(found) for changes in written for found in changes]
    finally:
        plane.start("opa")
    await world.until(WORKFLOW, "approval", lambda w: "approval_required" in is_waiting(w))
    await world.until(WORKFLOW, "suspended", lambda w: "suspended" in is_waiting(w))


async def test_each_reconcile_writes_once_while_people_decide(world: World, plane: Plane) -> None:
    await world.create(workflow("w", tell(1), executionStrategy={"approvalRequired": True}, suspend=True))
    await world.until(WORKFLOW, "w", lambda w: "approval_required" in is_waiting(w))
    watching = asyncio.create_task(world.changes(WORKFLOW, "w", 2.0))
    async with seen_by(plane.users["approver"], world.namespace) as approver:
        await approver.decide("w", "approver")
    (written,) = await watching
    assert (phase(written), is_waiting(written)[:9]) == ("executing", "suspended"), told(written)
    assert written["status"]["validationResults"]["approvalReceived"]
