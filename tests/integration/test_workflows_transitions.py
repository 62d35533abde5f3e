"""Every arrow of the state diagram, taken on the real control plane, with the Events that are told on the way."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pytest
from support.team import condition as team_condition
from support.team import policy_status, ruled
from support.workflows import (
    CONFIG,
    SYSTEM,
    World,
    chain,
    config_map,
    delete,
    doomed,
    has_ended,
    is_waiting,
    never_falls,
    phase,
    step,
    tell,
    told,
    workflow,
    write,
)

from controller.cluster.kinds import CONFIG_MAP, EVENT, WORKFLOW
from controller.core import phases
from controller.core.conditions import REASONS
from controller.core.times import instant

Document = dict[str, Any]

# Every Event that the contract names; PhaseTransition is looked at by itself.
EVENTS = {
    "WorkflowExecutionCreated",
    "WorkflowExecutionDeleted",
    "OwnerReferenceFailed",
    "WorkflowValidated",
    "WorkflowValidationFailed",
    "ApprovalRequired",
    "ApprovalReceived",
    "StepStarted",
    "StepCompleted",
    "StepFailed",
    "GateDenied",
    "RollbackStarted",
    "RollbackCompleted",
    "WorkflowExecutionCompleted",
    "WorkflowExecutionFailed",
}
EVENTS_OF_POLICIES = {"PolicyRejected", "PolicyActivated"}


@dataclass(frozen=True)
class Route:
    """A way through the diagram: what makes a workflow `w` take it, and what is told of it in order, transitions aside."""

    path: tuple[str, ...]
    events: tuple[str, ...]
    take: Callable[[World], Awaitable[None]]

    @property
    def arrows(self) -> list[tuple[str, str]]:
        """The transitions, the one out of nothing first."""
        return list(pairwise((phases.NEW, *self.path)))


async def nothing_wrong(world: World) -> None:
    """Approved, done, and well; its owner is not there."""
    asked = workflow("w", tell(1), executionStrategy={"approvalRequired": True}, remediationRequestRef={"name": "nobody"})
    await world.create(asked)
    await world.until(WORKFLOW, "w", lambda w: "approval_required" in is_waiting(w))
    await world.decide("w", "admin")


async def going_in_circles(world: World) -> None:
    """Its steps cannot be put in order."""
    await world.create(workflow("w", tell(1, dependsOn=[2]), tell(2, dependsOn=[1])))


async def only_simulated(world: World) -> None:
    """Nothing is to happen."""
    await world.create(workflow("w", tell(1), simulate=True))


async def not_safe(world: World) -> None:
    """What it acts on is not there."""
    await world.create(workflow("w", step(1, "scale-deployment", {"deployment": "nobody", "replicas": 2})))


async def failing(world: World, **spec: Any) -> None:
    """A step does something, the next one fails."""
    await world.create(config_map(), workflow("w", *chain(write(1, "new"), doomed(2)), **spec))


async def failing_without_a_way_back(world: World) -> None:
    """Nothing is to be undone."""
    await failing(world, executionStrategy={"rollbackStrategy": "none"})


async def failing_and_meddled_with(world: World) -> None:
    """A person asks for the undo, and finds that somebody else has changed what was done."""
    await failing(world, executionStrategy={"rollbackStrategy": "manual"})
    await world.until(WORKFLOW, "w", lambda w: phase(w) == "degraded")
    await world.patch(*CONFIG, {"data": {"key": "somebody else's"}})
    await world.annotate("w", "kubernaut.ai/rollback", "it was not worth it")


async def blocked(world: World) -> None:
    """A required precondition stays false."""
    async with team_condition(world, "holds", 'holds contains "door_open" if input.step.name == "nobody"') as reference:
        await world.create(workflow("w", tell(1, preConditions=[{"type": "door_open", "rego": reference, "timeout": "200ms"}])))
        await world.ended("w")


async def not_well(world: World, **spec: Any) -> None:
    """A team's rule finds what was touched not well."""
    async with ruled(world, "monitoring", 'deny contains {"code": "too_slow", "message": "customers wait"}'):
        await world.create(config_map(), workflow("w", write(1, "new"), **spec))
        await world.ended("w")


async def not_well_without_a_way_back(world: World) -> None:
    """The same where nothing is to be undone."""
    await not_well(world, executionStrategy={"rollbackStrategy": "none"})


CREATED, STARTED, DONE = "WorkflowExecutionCreated", "StepStarted", "StepCompleted"
FAILED, ENDED_BADLY, DENIED = "StepFailed", "WorkflowExecutionFailed", "GateDenied"
BEGUN = (CREATED, "WorkflowValidated", STARTED)
HALF_DONE = (*BEGUN, DONE, STARTED, FAILED)
EXECUTING = ("planning", "validating", "executing")

ROUTES = [
    Route(
        (*EXECUTING, "monitoring", "completed"),
        (
            CREATED,
            "OwnerReferenceFailed",
            "ApprovalRequired",
            "ApprovalReceived",
            "WorkflowValidated",
            STARTED,
            DONE,
            "WorkflowExecutionCompleted",
        ),
        nothing_wrong,
    ),
    Route(("planning", "failed"), (CREATED, ENDED_BADLY), going_in_circles),
    Route(("planning", "validating", "completed"), (CREATED, "WorkflowExecutionCompleted"), only_simulated),
    Route(("planning", "validating", "failed"), (CREATED, DENIED, "WorkflowValidationFailed", ENDED_BADLY), not_safe),
    Route((*EXECUTING, "rolling_back", "rolled_back"), (*HALF_DONE, "RollbackStarted", "RollbackCompleted"), failing),
    Route((*EXECUTING, "failed"), (*HALF_DONE, ENDED_BADLY), failing_without_a_way_back),
    Route(
        (*EXECUTING, "degraded", "rolling_back", "failed"),
        (*HALF_DONE, ENDED_BADLY, "RollbackStarted", FAILED, ENDED_BADLY),
        failing_and_meddled_with,
    ),
    Route((*EXECUTING, "blocked"), (CREATED, "WorkflowValidated", FAILED, ENDED_BADLY), blocked),
    Route(
        (*EXECUTING, "monitoring", "rolling_back", "rolled_back"),
        (*BEGUN, DONE, DENIED, "RollbackStarted", "RollbackCompleted"),
        not_well,
    ),
    Route((*EXECUTING, "monitoring", "failed"), (*BEGUN, DONE, DENIED, ENDED_BADLY), not_well_without_a_way_back),
]


@pytest.mark.parametrize(("before", "after"), [(before, after) for before, followers in phases.TRANSITIONS.items() for after in followers])
def test_every_arrow_of_the_diagram_is_on_one_of_the_routes(before: str, after: str) -> None:
    assert [route.take.__name__ for route in ROUTES if (before, after) in route.arrows]


def test_every_event_of_the_contract_is_told_on_one_of_the_routes() -> None:
    # The end of each route is that the workflow is deleted.
    assert {reason for route in ROUTES for reason in route.events} | {"WorkflowExecutionDeleted"} == EVENTS


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.take.__name__)
async def test_a_route_is_taken_and_each_transition_is_told_once(world: World, route: Route) -> None:
    ready = asyncio.Event()
    watching = asyncio.create_task(history(world, route, ready))
    try:
        await ready.wait()
        await route.take(world)
        seen = await watching
    finally:
        watching.cancel()
    for found in seen:
        check_conditions(found)
    check_times(seen[-1], route)

    await world.cluster.delete(WORKFLOW, world.namespace, "w")
    await world.told("w", "WorkflowExecutionDeleted")
    events = await told_of(world, "w")
    transitions = [event["message"].split(":")[0] for event in events if event["reason"] == "PhaseTransition"]
    assert transitions == [f"{before or 'new'} → {after}" for before, after in route.arrows], told(seen[-1])
    others = [event["reason"] for event in events if event["reason"] != "PhaseTransition"]
    assert others == [*route.events, "WorkflowExecutionDeleted"]
    assert {event["count"] for event in events} == {1}
    alarming = {FAILED, ENDED_BADLY, DENIED, "WorkflowValidationFailed", "OwnerReferenceFailed"}
    assert all((event["type"] == "Warning") is (event["reason"] in alarming) for event in events)


async def history(world: World, route: Route, ready: asyncio.Event) -> list[Document]:
    """Every state of the workflow that has a status, until it is at the end of its route."""
    states: list[Document] = []
    async with aclosing(world.states_of(WORKFLOW, "w", 30)) as seen:
        async for found in seen:
            ready.set()
            if not (found.get("status") or {}).get("phase"):
                continue
            states.append(found)
            # A degraded workflow may go on.
            if has_ended(found) and phase(found) not in route.path[:-1]:
                return states
    raise AssertionError(f"it did not end: {told(states[-1]) if states else 'nothing was seen'}")


def check_conditions(found: Document) -> None:
    """Each condition speaks of the generation that was reconciled, and gives a reason that the runbook knows."""
    status = found["status"]
    assert status["observedGeneration"] <= found["metadata"]["generation"]
    for one in status["conditions"]:
        assert one["observedGeneration"] == status["observedGeneration"]
        known = set(REASONS[one["type"]])
        if one["type"] == "Succeeded" and status.get("failureReason"):
            known.add("".join(part.capitalize() for part in status["failureReason"].split("_")))
        elif one["type"] == "Succeeded":
            known.add("RolledBack")
        assert one["reason"] in known, one


def check_times(found: Document, route: Route) -> None:
    """Each phase that was entered has its time, no other has one, and they are in order."""
    status = found["status"]
    entered = [phases.ENTERED[name] for name in route.path if name in phases.ENTERED]
    assert set(entered) == set(phases.ENTERED.values()) & status.keys()
    assert never_falls(instant(status[key]).timestamp() for key in ("startTime", *entered, "completionTime"))
    assert ("rollbackCompletionTime" in status) is ("rolling_back" in route.path)


async def told_of(world: World, name: str) -> list[Document]:
    """The Events about an object in the order in which they were first told."""
    page = await world.cluster.list(EVENT, world.namespace, field_selector=f"involvedObject.name={name}")
    return sorted(page.items, key=lambda event: int(event["metadata"]["resourceVersion"]))


async def test_what_becomes_of_a_policy_is_told_once_each_time_that_it_changes(world: World) -> None:
    system, name = world.within(SYSTEM), f"told-{world.namespace}"
    good, bad = (
        f"package kubernaut.rules.dispatch.{name.replace('-', '_')}\n\nlimit contains 50\n",
        "package kubernaut.rules.dispatch.x\n\nlimit contains",
    )
    metadata = {"name": name, "labels": {"kubernaut.ai/policy": "rego"}}
    try:
        await system.create({**config_map(name), "metadata": metadata, "data": {"a.rego": bad}})
        await system.until(CONFIG_MAP, name, lambda c: policy_status(c).get("state") == "rejected")
        await system.patch(CONFIG_MAP, name, {"data": {"a.rego": good}})
        await system.until(CONFIG_MAP, name, lambda c: policy_status(c).get("state") == "active")
        await system.told(name, "PolicyActivated")
        events = await told_of(system, name)
    finally:
        await delete(system, CONFIG_MAP, name)
    assert {event["reason"] for event in events} == EVENTS_OF_POLICIES
    assert [(event["reason"], event["count"]) for event in events] == [("PolicyRejected", 1), ("PolicyActivated", 1)]
