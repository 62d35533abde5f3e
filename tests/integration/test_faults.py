"""Faults around a running workflow: OPA, the API server and rights that go away, and come back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from support.controller import ControllerProcess
from support.faults import Seen, between
from support.workflows import (
    CONFIG,
    DEPLOYMENT,
    WEB,
    World,
    chain,
    condition,
    config_map,
    deployment,
    has_rolled_out,
    is_waiting,
    phase,
    states,
    step,
    tell,
    told,
    waiting,
    workflow,
    write,
)

from controller.cluster.kinds import ACCESS_REVIEW, EXECUTION, WORKFLOW, Kind
from controller.core.names import service_account_user
from controller.local.plane import Plane

Document = dict[str, Any]
BINDING = Kind("rbac.authorization.k8s.io/v1", "ClusterRoleBinding", "clusterrolebindings", namespaced=False)
ARGUMENTS = "/spec/template/spec/containers/0/args"


def append(number: int, word: str, **more: Any) -> Document:
    """A step that is seen when it is done twice: it appends a word to the arguments of `web`."""
    patch = [{"op": "add", "path": f"{ARGUMENTS}/-", "value": word}]
    parameters = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "patchType": "json", "patch": patch}
    return step(number, "patch-resource", parameters, **more)


async def arguments(world: World) -> list[str]:
    found: list[str] = (await world.read(*WEB))["spec"]["template"]["spec"]["containers"][0]["args"]
    return found


async def start_appending(world: World, **spec: Any) -> None:
    """A workflow that appends, waits for a while, and appends again; answers when it is created."""
    document = deployment()
    document["spec"]["template"]["spec"]["containers"][0]["args"] = ["serve"]
    await world.roll_out(document)
    steps = (*chain(append(1, "first"), waiting(2, timeout="2s", criticalStep=False)), append(3, "second", dependsOn=[1]))
    await world.create(workflow("w", *steps, **spec))


async def finished(world: World) -> None:
    """Both words were appended, once each, by one attempt each."""
    found = await world.ended("w")
    assert (phase(found), states(found)) == ("completed", ["completed", "failed", "completed"]), told(found)
    assert await arguments(world) == ["serve", "first", "second"]
    assert [a["metadata"]["name"] for a in await world.attempts("w")] == ["w-step-1", "w-step-2", "w-step-3"]
    assert [e["attempts"] for e in found["status"]["stepStatuses"]] == [1, 1, 1]


# OPA.


async def test_a_controller_that_starts_without_opa_waits_says_so_and_goes_on_by_itself(
    world: World, plane: Plane, controller: ControllerProcess
) -> None:
    controller.kill()
    plane.stop("opa")
    try:
        controller.start(wait=False)
        await world.create(workflow("w", tell(1)))
        found = await world.until(WORKFLOW, "w", is_waiting)
        assert phase(found) == "planning"
        assert is_waiting(found).startswith("a policy decision: gate planning gave no decision")
        assert found["status"]["remedy"]
        ready = condition(found, "PolicyReady")
        assert (ready["status"], ready["reason"]) == ("False", "NoDecision")
        assert "planning gave no decision" in ready["message"]
        # It says so once, however often it asks.
        assert not await world.changes(WORKFLOW, "w", 1.0)
    finally:
        plane.start("opa")
    found = await world.ended("w")
    assert phase(found) == "completed", told(found)
    assert condition(found, "PolicyReady")["status"] == "True"


async def test_nothing_is_done_without_a_verdict_and_a_killed_opa_costs_nothing_but_time(world: World, plane: Plane) -> None:
    await start_appending(world, suspend=True)
    await world.until(WORKFLOW, "w", lambda w: "suspended" in is_waiting(w))
    plane.stop("opa")
    try:
        await world.patch(WORKFLOW, "w", {"spec": {"suspend": False}})
        await world.changes(WORKFLOW, "w", 1.5)
        assert not await world.attempts("w")
        assert await arguments(world) == ["serve"]
        # It came to nothing because it was asked for, not because nobody looked.
        assert condition(await world.read(WORKFLOW, "w"), "PolicyReady")["status"] == "False"
    finally:
        plane.start("opa")
    await finished(world)


async def test_an_outage_of_opa_is_told_in_a_workflow_that_was_running(world: World, plane: Plane) -> None:
    await world.create(config_map())
    await world.create(workflow("w", write(1, "new"), suspend=True))
    await world.until(WORKFLOW, "w", lambda w: "suspended" in is_waiting(w))
    plane.stop("opa")
    try:
        await world.patch(WORKFLOW, "w", {"spec": {"suspend": False}})
        found = await world.until(WORKFLOW, "w", lambda w: condition(w, "PolicyReady").get("status") == "False")
        assert (phase(found), states(found)) == ("executing", ["pending"])
        assert (await world.read(*CONFIG))["data"]["key"] == "old"
    finally:
        plane.start("opa")
    found = await world.ended("w")
    assert phase(found) == "completed", told(found)


# The API server.


@pytest.mark.parametrize("moment", ["at the start", "in the middle"])
async def test_a_killed_api_server_is_connected_to_again_and_nothing_is_done_twice(world: World, plane: Plane, moment: str) -> None:
    await start_appending(world)
    if moment == "in the middle":
        await world.until(EXECUTION, "w-step-2", lambda a: phase(a) == "verifying")
    plane.stop("kube-apiserver")
    plane.start("kube-apiserver")
    await finished(world)
    await world.until(DEPLOYMENT, "web", has_rolled_out)


# Rights.


async def becomes(question: Callable[[], Awaitable[bool]], *, wanted: bool) -> None:
    """Ask until the answer is the wanted one; what RBAC allows cannot be watched."""
    for _ in range(500):
        if await question() is wanted:
            return
        await asyncio.sleep(0.02)
    raise TimeoutError(f"it did not become {wanted}")


@asynccontextmanager
async def without_rights(world: World, action: str, verb: str, group: str, resource: str) -> AsyncIterator[None]:
    """Take the rights of an action's ServiceAccount away for a while; the API server has noticed when the body begins, and after it."""
    binding = await world.cluster.get(BINDING, None, action)
    kept = {**binding, "metadata": {"name": action, "labels": binding["metadata"].get("labels") or {}}}
    attributes = {"verb": verb, "group": group, "resource": resource, "namespace": world.namespace}
    review = {"spec": {"user": service_account_user(f"{action}-sa"), "resourceAttributes": attributes}}
    body = {"apiVersion": ACCESS_REVIEW.api_version, "kind": ACCESS_REVIEW.kind, **review}

    async def is_allowed() -> bool:
        return bool((await world.cluster.create(ACCESS_REVIEW, None, body))["status"]["allowed"])

    await world.cluster.delete(BINDING, None, action)
    try:
        await becomes(is_allowed, wanted=False)
        yield
    finally:
        await world.cluster.create(BINDING, None, kept)
        await becomes(is_allowed, wanted=True)


@pytest.mark.parametrize("dry_run", [True, False])
async def test_an_object_that_the_actions_account_may_not_touch_is_refused_with_the_servers_words(world: World, *, dry_run: bool) -> None:
    await world.create(config_map())
    async with without_rights(world, "update-configmap", "patch", "", "configmaps"):
        found = await world.run(workflow("w", write(1, "new"), executionStrategy={"dryRunFirst": dry_run}))
    assert (phase(found), found["status"]["failureReason"]) == ("failed", "rbac_validation_failed"), told(found)
    message = found["status"]["message"]
    assert f"update-configmap-sa may not patch configmaps in namespace {world.namespace}" in message
    if dry_run:
        assert 'User "system:serviceaccount:kubernaut-system:update-configmap-sa" cannot get resource "configmaps"' in message
    assert "ClusterRole" in found["status"]["remedy"]
    assert not await world.attempts("w")
    assert (await world.read(*CONFIG))["data"]["key"] == "old"


async def test_a_right_that_is_taken_away_later_fails_the_step_with_insufficient_permissions(world: World) -> None:
    await world.create(config_map(), config_map("others"))
    before = await world.snapshot(CONFIG)
    parameters = {"apiVersion": "v1", "kind": "ConfigMap", "name": "others", "patch": {"data": {"key": "new"}}}
    steps = chain(write(1, "new"), step(2, "patch-resource", parameters, maxRetries=3))
    await world.create(workflow("w", *steps, suspend=True))
    await world.until(WORKFLOW, "w", lambda w: "suspended" in is_waiting(w))
    async with without_rights(world, "patch-resource", "patch", "", "configmaps"):
        await world.patch(WORKFLOW, "w", {"spec": {"suspend": False}})
        found = await world.ended("w")
    assert phase(found) == "rolled_back", told(found)
    assert (found["status"]["failedStep"], found["status"]["errorType"]) == (2, "insufficient_permissions")
    entry = found["status"]["stepStatuses"][1]
    assert (entry["attempts"], entry["errorType"]) == (1, "insufficient_permissions")
    assert 'cannot get resource "configmaps"' in entry["errorMessage"]
    assert "ServiceAccount" in entry["remedy"]
    assert await world.snapshot(CONFIG) == before
    assert (await world.read(CONFIG[0], "others"))["data"]["key"] == "old"


async def test_a_right_that_is_missing_for_a_moment_only_costs_a_moment(world: World) -> None:
    await world.create(config_map())
    await world.create(workflow("w", write(1, "new"), suspend=True))
    await world.until(WORKFLOW, "w", lambda w: "suspended" in is_waiting(w))
    async with without_rights(world, "update-configmap", "patch", "", "configmaps"):
        await world.patch(WORKFLOW, "w", {"spec": {"suspend": False}})
        await world.until(EXECUTION, "w-step-1", lambda a: "forbidden" in str(a.get("status")))
    found = await world.ended("w")
    assert (phase(found), found["status"]["stepStatuses"][0]["attempts"]) == ("completed", 1), told(found)


async def test_a_status_that_the_api_server_refuses_is_told_and_tried_again(world: World, controller: ControllerProcess) -> None:
    left = [2]

    async def refuse(_: Seen) -> int | None:
        left[0] -= 1
        return 422 if left[0] >= 0 else None

    ours = f"^PUT .*/namespaces/{world.namespace}/workflowexecutions/w/status$"
    async with between(controller, ours, "--no-leader-elect", meddler=refuse):
        found = await world.run(workflow("w", tell()))
        said = await world.told("w", "StatusRefused")
    assert (phase(found), states(found)) == ("completed", ["completed"]), told(found)
    assert said.startswith(f"update WorkflowExecution/status {world.namespace}/w: 422 Invalid: meddled with; it is tried again"), said
