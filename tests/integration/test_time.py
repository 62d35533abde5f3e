"""What counts as time and what does not: an outage of OPA, a suspended workflow, an attempt that has not begun."""

from __future__ import annotations

import asyncio
from typing import Any

from support.controller import ControllerProcess
from support.team import condition, ruled
from support.workflows import World, chain, is_waiting, phase, states, tell, told, waiting, workflow

from controller.cluster.kinds import EXECUTION, WORKFLOW
from controller.core.times import instant
from controller.local.plane import Plane

Document = dict[str, Any]

# Longer than the timeouts below: whoever goes on counting finds them over when OPA is there again.
OUTAGE = 6.0


def stopped(found: Document) -> bool:
    return "clockStoppedSince" in (found.get("status") or {})


async def outlast(plane: Plane, world: World, *objects: tuple[Any, str]) -> None:
    """Take OPA away until the objects say that their time stands still, and for a while longer."""
    plane.stop("opa")
    try:
        for kind, name in objects:
            await world.until(kind, name, stopped)
        await asyncio.sleep(OUTAGE)
    finally:
        plane.start("opa")


async def test_an_outage_of_opa_eats_no_timeout_of_a_step_that_runs(world: World, plane: Plane) -> None:
    await world.create(workflow("w", waiting(1, timeout="5s")))
    await world.until(EXECUTION, "w-step-1", lambda found: phase(found) == "verifying")
    await outlast(plane, world, (EXECUTION, "w-step-1"))
    attempt = await world.until(EXECUTION, "w-step-1", lambda found: phase(found) in {"verifying", "failed"} and not stopped(found))
    assert phase(attempt) == "verifying", attempt["status"]["executionResults"]
    assert attempt["status"]["uncounted"] != "0s"
    found = await world.ended("w")
    assert (phase(found), found["status"]["failureReason"]) == ("failed", "postcondition_failed"), told(found)
    attempt = await world.read(EXECUTION, "w-step-1")
    lasted = instant(attempt["status"]["completionTime"]) - instant(attempt["status"]["startTime"])
    assert lasted.total_seconds() > OUTAGE + 4.5, "the condition had all of its time besides the outage"


async def test_an_outage_of_opa_eats_no_timeout_of_a_phase(world: World, plane: Plane, controller: ControllerProcess) -> None:
    controller.kill()
    plane.stop("opa")
    try:
        controller.start(wait=False)
        await world.create(workflow("w", tell(1), timeouts={"planning": "5s"}))
        found = await world.until(WORKFLOW, "w", stopped)
        assert phase(found) == "planning"
        await asyncio.sleep(OUTAGE)
    finally:
        plane.start("opa")
    found = await world.ended("w")
    assert phase(found) == "completed", told(found)


async def test_an_outage_of_opa_while_monitoring_does_not_end_it(world: World, plane: Plane) -> None:
    async with ruled(world, "monitoring", 'wait contains {"code": "not_yet", "message": "the team looks at it first"}'):
        await world.create(workflow("w", tell(1), timeouts={"monitoring": "5s"}))
        await world.until(WORKFLOW, "w", lambda found: phase(found) == "monitoring" and is_waiting(found))
        await outlast(plane, world, (WORKFLOW, "w"))
        found = await world.ended("w")
    status = found["status"]
    assert (phase(found), status["workflowResult"]["outcome"]) == ("completed", "unknown"), told(found)
    lasted = instant(status["completionTime"]) - instant(status["monitoringStartTime"])
    assert lasted.total_seconds() > OUTAGE + 4.5, "it had all of its time besides the outage"


async def test_a_suspended_workflow_loses_nothing_of_the_time_that_its_preconditions_have(world: World) -> None:
    async with condition(world, "holds", 'holds contains "door_open" if input.step.name == "nobody"') as reference:
        wanted = [{"type": "door_open", "rego": reference, "timeout": "5s"}]
        await world.create(workflow("w", *chain(tell(1), tell(2, preConditions=wanted))))
        await world.until(WORKFLOW, "w", lambda found: "door_open" in is_waiting(found))
        await world.patch(WORKFLOW, "w", {"spec": {"suspend": True}})
        await world.until(WORKFLOW, "w", lambda found: "suspended" in is_waiting(found))
        await asyncio.sleep(OUTAGE)
        await world.patch(WORKFLOW, "w", {"spec": {"suspend": False}})
        found = await world.until(WORKFLOW, "w", lambda seen: "door_open" in is_waiting(seen) or phase(seen) == "blocked")
        assert phase(found) == "executing", told(found)
        found = await world.ended("w")
    assert (phase(found), states(found)) == ("blocked", ["completed", "blocked"]), told(found)
