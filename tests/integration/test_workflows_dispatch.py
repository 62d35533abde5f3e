"""Dispatch on the real control plane: how many steps run at once, what holds one back, and how fast the API server is asked.

And the conditions that a step lists by reference, judged before it starts and after its attempt has ended.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from support.controller import ControllerProcess
from support.history import watched
from support.metrics import samples
from support.patience import until
from support.team import condition, ruled, settings
from support.workflows import (
    CONFIG,
    World,
    chain,
    codes,
    config_map,
    has_ended,
    is_waiting,
    parked,
    phase,
    release,
    seen_by,
    states,
    tell,
    told,
    waiting,
    workflow,
)

from controller.cluster.kinds import EXECUTION, WORKFLOW, Kind
from controller.local.plane import Plane

Document = dict[str, Any]


# At once.


@dataclass(slots=True)
class Underway:
    """The attempts that have not ended, and how many of them there were at most."""

    now: set[str] = field(default_factory=set)
    most: int = 0

    def take(self, _: Kind, what: str, found: Document) -> None:
        name = found["metadata"]["name"]
        if what == "DELETED" or phase(found) in {"completed", "failed"}:
            self.now.discard(name)
        else:
            self.now.add(name)
        self.most = max(self.most, len(self.now))


@asynccontextmanager
async def limited(world: World, limit: int | None) -> AsyncIterator[None]:
    """A team's limit in this namespace, if there is one."""
    if limit is None:
        yield
        return
    async with ruled(world, "dispatch", f"limit contains {limit}"):
        yield


@pytest.mark.parametrize(
    ("wanted", "team", "most"),
    [(None, None, 5), (2, None, 2), (1, None, 1), (9, None, 5), (None, 3, 3), (None, 8, 5), (4, 2, 2), (2, 4, 2)],
)
async def test_no_more_attempts_are_under_way_than_site_workflow_and_teams_all_allow(
    world: World, wanted: int | None, team: int | None, most: int
) -> None:
    strategy = {"executionStrategy": {"maxParallelSteps": wanted}} if wanted else {}
    underway = Underway()
    async with limited(world, team), watched(world.cluster, world.namespace, [EXECUTION], underway.take):
        await world.create(workflow("w", *(parked(n) for n in range(1, 9)), **strategy))
        await world.until(WORKFLOW, "w", lambda w: phase(w) == "executing" and states(w).count("executing") == most)
        # Whatever has it looked at again, no more start.
        await world.annotate("w", "example.com/look", "again")
        found = await world.until(WORKFLOW, "w", lambda w: "parallel_limit" in codes(w, "dispatch"))
        assert states(found) == ["executing"] * most + ["pending"] * (8 - most)
        assert f"parallel_limit: at most {most} steps may run at once, and {most} do" in is_waiting(found)
        await release(world)
        found = await world.ended("w")
        await until(lambda: not underway.now, what="the last attempt's end")
    assert (phase(found), underway.most) == ("completed", most), told(found)


async def test_one_that_ends_makes_room_for_one(world: World) -> None:
    steps = [parked(1), waiting(2, timeout="300ms", criticalStep=False), parked(3)]
    await world.create(workflow("w", *steps, executionStrategy={"maxParallelSteps": 2}))
    await world.until(WORKFLOW, "w", lambda w: phase(w) == "executing" and states(w) == ["executing", "failed", "executing"])
    await release(world)
    assert phase(await world.ended("w")) == "completed"


# Held back.


async def test_a_step_that_a_team_holds_waits_and_says_why_and_nothing_else_waits_for_it(world: World) -> None:
    cold = 'hold contains {"step": 2, "code": "cache_cold", "message": "the cache is cold", "remedy": "warm it"}'
    async with ruled(world, "dispatch", cold) as lift:
        await world.create(workflow("w", tell(1), tell(2), tell(3, dependsOn=[1]), tell(4, dependsOn=[2])))
        found = await world.until(
            WORKFLOW,
            "w",
            lambda w: phase(w) == "executing" and states(w) == ["completed", "pending", "completed", "pending"] and is_waiting(w),
        )
        assert "cache_cold: the cache is cold" in is_waiting(found)
        (reason,) = found["status"]["gates"]["dispatch"]["reasons"]
        assert (reason["code"], reason["remedy"]) == ("cache_cold", "warm it")
        assert reason["policy"].startswith("rules.dispatch.team_")
        await lift()
        found = await world.ended("w")
    assert phase(found) == "completed", told(found)
    assert "waitingFor" not in found["status"]


# Conditions by reference.

ASKS = """
facts contains {
	"id": "door", "verb": "get", "apiVersion": "v1", "kind": "ConfigMap",
	"namespace": input.workflow.metadata.namespace, "name": "settings",
}

open if input.facts.door.object.data.key == "open"

holds contains "door_open" if open
"""
SIDES = ["preConditions", "postConditions"]


def listing(side: str, reference: str, **terms: Any) -> list[Document]:
    """Two steps, the second of which has a condition."""
    return chain(tell(1), tell(2, **{side: [{"type": "door_open", "rego": reference, **terms}]}))


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("rule", ["holds", "open"])
async def test_a_condition_that_holds_or_comes_to_hold_lets_its_step_go_on(world: World, side: str, rule: str) -> None:
    await world.create(config_map(key="shut"))
    async with condition(world, rule, ASKS) as reference:
        await world.create(workflow("w", *listing(side, reference, timeout="20s", description="the door must be open")))
        found = await world.until(WORKFLOW, "w", lambda w: "door_open" in is_waiting(w))
        assert states(found) == ["completed", "pending" if side == "preConditions" else "executing"]
        assert "the door must be open" in is_waiting(found)
        gate = "dispatch" if side == "preConditions" else "completion"
        assert codes(found, gate) == ["precondition_unmet" if side == "preConditions" else "postcondition_unmet"]
        assert found["status"]["conditionSince"].keys() == {"2/door_open"}
        await world.patch(*CONFIG, {"data": {"key": "open"}})
        found = await world.ended("w")
        assert (phase(found), found["status"]["stepStatuses"][1]["attempts"]) == ("completed", 1), told(found)
        assert not found["status"].get("conditionSince")
        again = await world.run(workflow("again", *listing(side, reference)))
    assert (phase(again), again["status"]["stepStatuses"][1]["attempts"]) == ("completed", 1), told(again)


async def test_a_precondition_that_stays_unmet_past_its_time_blocks_the_workflow(world: World) -> None:
    await world.create(config_map(key="shut"))
    async with condition(world, "holds", ASKS) as reference:
        found = await world.run(workflow("w", *listing("preConditions", reference, timeout="300ms")))
    status = found["status"]
    assert (phase(found), states(found), status["failureReason"]) == ("blocked", ["completed", "blocked"], "precondition_failed"), told(
        found
    )
    assert (status["failedStep"], status["failedAction"], status["errorType"]) == (2, "notify_only", "validation_error")
    assert "door_open does not hold" in status["message"]
    assert [a["metadata"]["name"] for a in await world.attempts("w")] == ["w-step-1"]


async def test_a_postcondition_that_stays_unmet_past_its_time_fails_the_step_and_is_tried_again_where_that_is_allowed(world: World) -> None:
    await world.create(config_map(key="shut"))
    async with condition(world, "holds", ASKS) as reference:
        steps = listing("postConditions", reference, timeout="300ms")
        found = await world.run(workflow("w", steps[0], {**steps[1], "maxRetries": 1}))
    status = found["status"]
    assert (phase(found), states(found), status["failureReason"]) == ("failed", ["completed", "failed"], "postcondition_failed"), told(
        found
    )
    assert (status["failedStep"], status["errorType"], status["stepStatuses"][1]["retriesAttempted"]) == (2, "execution_error", 1)
    assert "door_open does not hold" in status["stepStatuses"][1]["errorMessage"]
    assert [phase(a) for a in await world.attempts("w")] == ["completed"] * 3


@pytest.mark.parametrize("side", SIDES)
async def test_a_condition_that_is_not_required_is_a_warning_only(world: World, side: str) -> None:
    await world.create(config_map(key="shut"))
    async with condition(world, "holds", ASKS) as reference:
        found = await world.run(workflow("w", *listing(side, reference, timeout="20s", required=False)))
    assert phase(found) == "completed", told(found)
    if side == "postConditions":
        assert "postcondition_unmet: door_open does not hold" in found["status"]["stepStatuses"][1]["message"]


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('open := "yes"', "its rule says a string, neither true nor a set"),
        ("open := input.step.stepNumber", "its rule says a number, neither true nor a set"),
        ("shut := true", "its rule is undefined"),
        ("open if 1 / (input.step.stepNumber - 2) == 1", "its rule is undefined"),
    ],
    ids=["a text", "a number", "undefined", "erring"],
)
async def test_a_condition_that_says_neither_yes_nor_no_is_not_met_and_says_so(world: World, side: str, text: str, said: str) -> None:
    async with condition(world, "open", text) as reference:
        found = await world.run(workflow("w", *listing(side, reference)))
    pre = side == "preConditions"
    wanted = ("blocked", "precondition_failed") if pre else ("failed", "postcondition_failed")
    assert (phase(found), found["status"]["failureReason"]) == wanted, told(found)
    assert said in found["status"]["message"]


# Fairness, and the speed of asking.


@pytest.fixture
def throttled(controller_process: ControllerProcess, plane: Plane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControllerProcess]:
    """A controller with the client's limits as they are shipped, in the place of the usual one."""
    controller_process.kill()
    log = tmp_path_factory.mktemp("throttled") / "controller.log"
    process = ControllerProcess(plane, log, {"MONITORING_STABILITY": "0s", "COMPLEXITY_APPROVAL_THRESHOLD": "500"})
    process.start("--metrics-open", "--no-leader-elect")
    yield process
    process.kill()


@pytest.fixture
async def limiting(plane: Plane, throttled: ControllerProcess, namespace: str) -> AsyncIterator[World]:
    """The test's namespace, with that controller at work."""
    assert throttled.is_running
    async with seen_by(plane.kubeconfig, namespace) as world:
        yield world


async def test_a_workflow_of_a_hundred_steps_does_not_keep_a_small_one_waiting(limiting: World) -> None:
    world = limiting
    await world.create(workflow("long", *(tell(n) for n in range(1, 101))))
    await world.until(WORKFLOW, "long", lambda w: phase(w) == "executing" and "completed" in states(w))
    small = await world.run(workflow("small", *chain(tell(1), tell(2))), seconds=60)
    long = await world.read(WORKFLOW, "long")
    assert phase(small) == "completed", told(small)
    assert not has_ended(long), "the long one ended first"
    assert states(long).count("completed") < 50, "it was served when half of the long one was done"


# What the reconcilers write while steps run. Watches, Leases, Events and policies come when they come.
WRITTEN = {"KubernetesExecution", "KubernetesExecution/status", "WorkflowExecution", "WorkflowExecution/status"}
WRITES = {"create", "patch", "update"}


def requests(process: ControllerProcess) -> float:
    """How many writes of workflows and attempts the controller has sent."""
    sent = samples(process.plane, "kubernaut_api_requests_total")
    return sum(sample.value for sample in sent if sample.labels["verb"] in WRITES and sample.labels["kind"] in WRITTEN)


async def rate(process: ControllerProcess, count: int) -> float:
    """Writes a second while the next ``count`` are sent."""
    first, began = requests(process), time.monotonic()
    await until(lambda: requests(process) >= first + count, 60, f"{count} requests")
    return (requests(process) - first) / (time.monotonic() - began)


async def test_how_fast_the_api_server_is_asked_follows_the_settings_at_once(limiting: World, throttled: ControllerProcess) -> None:
    pid = throttled.pid
    async with settings(limiting) as change:
        await change({"kubernetes-qps": "5", "kubernetes-burst": "1"})
        await limiting.create(*(workflow(f"w-{n}", *(tell(i) for i in range(1, 101))) for n in range(2)))
        slow = await rate(throttled, 20)
        await change({"kubernetes-qps": "1000", "kubernetes-burst": "1000"})
        fast = await rate(throttled, 100)
    assert fast > 2 * slow, f"{slow:.1f} and {fast:.1f} writes a second"
    assert throttled.pid == pid
