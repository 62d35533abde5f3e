"""Monitoring: what a workflow touched has to stay healthy for a while, and what an Alertmanager says about it counts.

Each test has a controller of its own, because others are told not to monitor at all.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
from aiohttp import web
from support.alertmanager import alert, never, serving
from support.controller import ControllerProcess
from support.team import ruled
from support.workflows import (
    CONFIG,
    DEPLOYMENT,
    WEB,
    World,
    config_map,
    deployment,
    doomed,
    has_rolled_out,
    is_waiting,
    phase,
    seen_by,
    states,
    step,
    tell,
    told,
    workflow,
    write,
)

from controller.cluster.kinds import EXECUTION, WORKFLOW
from controller.core.times import instant, stamp
from controller.local.plane import Plane

Document = dict[str, Any]

WELL = {
    "outcome": "success",
    "effectivenessScore": 1,
    "resourceHealth": "healthy",
    "newAlertsTriggered": False,
    "recommendedActions": [],
}


@pytest.fixture
async def world(plane: Plane, namespace: str) -> AsyncIterator[World]:
    """The test's namespace as the administrator sees it; the controller is that of `watched`."""
    async with seen_by(plane.kubeconfig, namespace) as world:
        yield world


@asynccontextmanager
async def watched(process: ControllerProcess, stability: str, alertmanager: str = "") -> AsyncIterator[None]:
    """A controller with this window, in the place of the usual one, which the next test that wants it starts again."""
    environment = {"MONITORING_STABILITY": stability, "ALERTMANAGER_URL": alertmanager}
    await asyncio.to_thread(process.stop)
    # By its flag the usual one is told from this.
    await asyncio.to_thread(process.start, "--no-leader-elect", environment=environment)
    try:
        yield
    finally:
        process.kill()


def label(number: int = 1, name: str = "web", **more: Any) -> Document:
    """A step that changes a Deployment without making its pods anew; it does not mind whether they are ready."""
    patch = {"metadata": {"labels": {"app": name, "tier": "front"}}}
    parameters = {"apiVersion": "apps/v1", "kind": "Deployment", "name": name, "patchType": "merge", "patch": patch}
    return step(number, "patch-resource", parameters, **more)


async def has_tier(world: World) -> bool:
    return "tier" in (await world.read(*WEB))["metadata"]["labels"]


async def give_image(world: World, tag: str) -> None:
    """Let somebody roll out another image of `web`."""
    containers = [{"name": "app", "image": f"registry.example/web:{tag}"}]
    body = {"spec": {"template": {"spec": {"containers": containers}}}}
    await world.cluster.patch(DEPLOYMENT, world.namespace, "web", body, patch_type="strategic")


async def begin_ill(world: World, *steps: Document, **spec: Any) -> None:
    """A workflow `w` of these steps that is monitored after `web` became ill: its last step waits for a pod, which comes only then."""
    wanted = {"apiVersion": "v1", "kind": "Pod", "name": "gate", "condition": "Ready", "timeout": "30s"}
    gate = step(len(steps) + 1, "wait-for-condition", wanted, dependsOn=[s["stepNumber"] for s in steps])
    await world.create(workflow("w", *steps, gate, **spec))
    await world.until(EXECUTION, f"w-step-{len(steps) + 1}", lambda a: phase(a) == "verifying")
    await give_image(world, "never-ready")
    await world.until(DEPLOYMENT, "web", lambda d: not has_rolled_out(d))
    container = {"name": "app", "image": "registry.example/web:1"}
    await world.create({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "gate"}, "spec": {"containers": [container]}})


def result(found: Document) -> dict[str, Any]:
    """What a workflow says of how well it did; [] where it recommends nothing."""
    return {"recommendedActions": [], **found["status"]["workflowResult"]}


def about(world: World, name: str, began: str, **labels: str) -> Document:
    """An alert of this namespace."""
    return alert(name, began, labels={"alertname": name, "namespace": world.namespace, **labels})


# Health.


@pytest.mark.parametrize(("stability", "seconds"), [("1s", 1), ("3s", 3)])
async def test_it_is_completed_once_its_targets_were_healthy_for_the_window(
    world: World, controller_process: ControllerProcess, stability: str, seconds: int
) -> None:
    await world.roll_out(deployment())
    async with watched(controller_process, stability):
        await world.create(workflow("w", label()))
        waiting = await world.until(WORKFLOW, "w", lambda w: phase(w) == "monitoring" and is_waiting(w))
        found = await world.ended("w")
    assert f"has to stay healthy for {seconds} seconds" in is_waiting(waiting)
    assert phase(found) == "completed", told(found)
    times = [instant(found["status"][key]).timestamp() for key in ("monitoringStartTime", "completionTime")]
    assert times[1] - times[0] >= seconds
    assert result(found) == WELL


async def test_it_waits_for_a_target_that_is_not_healthy_yet(world: World, controller_process: ControllerProcess) -> None:
    await world.roll_out(deployment())
    async with watched(controller_process, "0s"):
        await begin_ill(world, label())
        found = await world.until(WORKFLOW, "w", lambda w: "not healthy" in is_waiting(w))
        assert phase(found) == "monitoring"
        assert f"Deployment/{world.namespace}/web" in is_waiting(found)
        await give_image(world, "2")
        found = await world.ended("w")
    assert phase(found) == "completed", told(found)
    assert (result(found)["resourceHealth"], result(found)["effectivenessScore"]) == ("healthy", 1)


@pytest.mark.parametrize(
    ("strategy", "end", "step_status"),
    [("automatic", "rolled_back", "rolled_back"), ("manual", "failed", "completed"), ("none", "failed", "completed")],
)
async def test_a_target_that_is_never_healthy_fails_it_and_only_automatic_takes_it_back(
    world: World, controller_process: ControllerProcess, strategy: str, end: str, step_status: str
) -> None:
    await world.roll_out(deployment())
    async with watched(controller_process, "0s"):
        await begin_ill(world, label(), executionStrategy={"rollbackStrategy": strategy}, timeouts={"monitoring": "1s"})
        found = await world.ended("w")
    assert (phase(found), states(found)) == (end, [step_status, "completed"]), told(found)
    target, status = f"Deployment/{world.namespace}/web", found["status"]
    assert status["failureReason"] == "monitoring_failed"
    assert f"{target} is not healthy at the end of monitoring" in status.get("rollbackReason", status["message"])
    assert result(found) == {
        "outcome": "failed",
        "effectivenessScore": 0.5,
        "resourceHealth": "unhealthy",
        "newAlertsTriggered": False,
        "recommendedActions": [f"look at {target}"],
    }
    assert await has_tier(world) is (step_status == "completed")


async def test_one_healthy_target_of_two_is_three_quarters(world: World, controller_process: ControllerProcess) -> None:
    await world.roll_out(deployment())
    await world.roll_out(deployment("well"))
    async with watched(controller_process, "0s"):
        terms = {"executionStrategy": {"rollbackStrategy": "none"}, "timeouts": {"monitoring": "1s"}}
        await begin_ill(world, label(1), label(2, "well"), **terms)
        found = await world.ended("w")
    assert phase(found) == "failed", told(found)
    assert (result(found)["resourceHealth"], result(found)["effectivenessScore"]) == ("degraded", 0.75)
    assert result(found)["recommendedActions"] == [f"look at Deployment/{world.namespace}/web"]


async def test_what_was_done_in_part_is_a_partial_success(world: World, controller_process: ControllerProcess) -> None:
    await world.create(config_map())
    async with watched(controller_process, "1s"):
        steps = [write(1, "new"), doomed(2, criticalStep=False), tell(3, dependsOn=[2]), tell(4)]
        found = await world.run(workflow("w", *steps))
    assert (phase(found), states(found)) == ("completed", ["completed", "failed", "skipped", "completed"]), told(found)
    assert (result(found)["outcome"], result(found)["effectivenessScore"]) == ("partial_success", 0.5)


# Alerts.


async def test_an_alert_about_a_target_that_began_since_takes_it_back_at_once(world: World, controller_process: ControllerProcess) -> None:
    await world.roll_out(deployment())

    async def fire(_: web.Request) -> web.StreamResponse:
        return web.json_response([about(world, "Slow", stamp(datetime.now(UTC)), deployment="web")])

    async with serving(reply=fire) as server, watched(controller_process, "1h", f"http://{server.address}"):
        found = await world.run(workflow("w", label()))
    assert (phase(found), states(found)) == ("rolled_back", ["rolled_back"]), told(found)
    assert (found["status"]["failureReason"], found["status"]["errorType"]) == ("workflow_triggered_new_alerts", "execution_error")
    assert "new_alerts: alerts about what was touched began after the workflow did: Slow" in found["status"]["rollbackReason"]
    assert (result(found)["outcome"], result(found)["newAlertsTriggered"]) == ("failed", True)
    assert result(found)["recommendedActions"] == ["look at the alert Slow, which began after the workflow did"]
    assert not await has_tier(world)


async def test_strangers_alerts_and_those_that_fired_before_change_nothing(world: World, controller_process: ControllerProcess) -> None:
    await world.roll_out(deployment())

    async def fire(_: web.Request) -> web.StreamResponse:
        now = stamp(datetime.now(UTC))
        elsewhere = alert("Elsewhere", now, labels={"alertname": "Elsewhere", "namespace": "shop", "deployment": "web"})
        others = [about(world, "Neighbour", now, deployment="api"), about(world, "Pod", now, pod="web-admin-x2x7k")]
        return web.json_response([elsewhere, *others, about(world, "Old", "2026-01-01T00:00:00.000Z", deployment="web")])

    async with serving(reply=fire) as server, watched(controller_process, "1s", f"http://{server.address}"):
        found = await world.run(workflow("w", label()))
        assert server.asked
    assert phase(found) == "completed", told(found)
    assert result(found) == WELL


async def test_the_alert_that_it_was_made_for_halves_the_score_while_it_fires(world: World, controller_process: ControllerProcess) -> None:
    await world.roll_out(deployment())

    async def fire(_: web.Request) -> web.StreamResponse:
        # It went and came back: it is its own all the same.
        return web.json_response([about(world, "Slow", stamp(datetime.now(UTC)), deployment="web")])

    async with serving(reply=fire) as server, watched(controller_process, "1s", f"http://{server.address}"):
        found = await world.run(workflow("w", label(), alertContext={"fingerprint": "fp-Slow"}))
    assert phase(found) == "completed", told(found)
    advice = ["look at the alert Slow: the workflow was made for it, and it still fires"]
    assert result(found) == WELL | {"effectivenessScore": 0.5, "recommendedActions": advice}


@pytest.mark.parametrize(("how", "why"), [("down", "cannot be reached"), ("slow", "within 5 s"), ("broken", "answered 500")])
async def test_an_alertmanager_that_cannot_be_read_is_warned_of_and_changes_nothing(
    world: World, controller_process: ControllerProcess, how: str, why: str
) -> None:
    await world.roll_out(deployment())

    async def broken(_: web.Request) -> web.StreamResponse:
        return web.Response(status=500)

    async with serving(reply=never if how == "slow" else broken) as server:
        address = "127.0.0.1:1" if how == "down" else server.address
        async with watched(controller_process, "1s", f"http://{address}"):
            found = await world.run(workflow("w", label()), seconds=60)
    assert phase(found) == "completed", told(found)
    assert (result(found)["outcome"], result(found)["effectivenessScore"]) == ("success", 1)
    assert "not all alerts are known: " in found["status"]["message"]
    assert why in found["status"]["message"]


# People and teams.


async def test_a_teams_denial_takes_back_what_was_done(world: World, controller_process: ControllerProcess) -> None:
    await world.create(config_map())
    no = 'deny contains {"code": "orders_fell", "message": "fewer orders than before"}'
    async with watched(controller_process, "1s"), ruled(world, "monitoring", no):
        found = await world.run(workflow("w", write(1, "new")))
    assert (phase(found), states(found)) == ("rolled_back", ["rolled_back"]), told(found)
    assert (found["status"]["failureReason"], found["status"]["errorType"]) == ("policy_denied", "policy_denied")
    assert "fewer orders than before" in found["status"]["rollbackReason"]
    assert result(found)["outcome"] == "failed"
    assert (await world.read(*CONFIG))["data"]["key"] == "old"


@pytest.mark.parametrize(("strategy", "end"), [("automatic", "rolled_back"), ("manual", "failed"), ("none", "failed")])
async def test_it_can_be_cancelled_at_once(world: World, controller_process: ControllerProcess, strategy: str, end: str) -> None:
    await world.create(config_map())
    async with watched(controller_process, "1h"):
        await world.create(workflow("w", write(1, "new"), executionStrategy={"rollbackStrategy": strategy}))
        await world.until(WORKFLOW, "w", lambda w: phase(w) == "monitoring")
        await world.annotate("w", "kubernaut.ai/cancel", "wrong cluster")
        found = await world.ended("w")
    assert (phase(found), found["status"]["failureReason"]) == (end, "cancelled"), told(found)
    assert (await world.read(*CONFIG))["data"]["key"] == ("old" if end == "rolled_back" else "new")
