"""Every shipped action in a real workflow: it does what it says, and what it did is taken back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from support.workflows import (
    CONFIG,
    DEPLOYMENT,
    NODE,
    SYSTEM,
    WEB,
    World,
    chain,
    config_map,
    delete,
    deployment,
    doomed,
    has_rolled_out,
    phase,
    states,
    step,
    tell,
    told,
    workflow,
)

from controller.cluster.kinds import EXECUTION, WORKFLOW
from controller.core.names import canonical_action

Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Case:
    """An action on the Deployment `web` or the ConfigMap `settings`, and how its effect is recognised."""

    action: str
    parameters: Document
    done: Callable[[Document], object]
    on_config: bool = False


def container(found: Document) -> Document:
    first: Document = found["spec"]["template"]["spec"]["containers"][0]
    return first


def patch_web(**parameters: Any) -> Document:
    return {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", **parameters}


LIMIT = {"spec": {"template": {"spec": {"containers": [{"name": "app", "resources": {"limits": {"memory": "64Mi"}}}]}}}}
CASES = {
    "scale-deployment": Case("scale-deployment", {"deployment": "web", "replicas": 3}, lambda d: d["spec"]["replicas"] == 3),
    "restart-deployment": Case(
        "RestartDeployment", {"deployment": "web"}, lambda d: any("restart" in k for k in d["spec"]["template"]["metadata"]["annotations"])
    ),
    "rollback-deployment": Case("rollback_deployment", {"deployment": "web"}, lambda d: container(d)["image"] == "registry.example/web:1"),
    "update-image": Case(
        "update-image",
        {"deployment": "web", "container": "app", "newImage": "registry.example/web:3"},
        lambda d: container(d)["image"] == "registry.example/web:3",
    ),
    "a strategic patch": Case(
        "patch-resource",
        patch_web(patch=LIMIT),
        lambda d: (container(d)["resources"]["limits"], container(d)["resources"]["requests"]["cpu"]) == ({"memory": "64Mi"}, "10m"),
    ),
    "a merge patch": Case(
        "patch-resource",
        patch_web(patchType="merge", patch={"metadata": {"labels": {"app": "web", "tier": "front"}, "annotations": {"note": None}}}),
        lambda d: d["metadata"]["labels"]["tier"] == "front" and "note" not in d["metadata"]["annotations"],
    ),
    "a JSON patch": Case(
        "patch-resource",
        patch_web(
            patchType="json",
            patch=[
                {"op": "add", "path": "/spec/minReadySeconds", "value": 0},
                {"op": "replace", "path": "/metadata/labels/app", "value": "web-2"},
            ],
        ),
        lambda d: d["metadata"]["labels"]["app"] == "web-2",
    ),
    "update-configmap": Case(
        "update-configmap",
        {"name": "settings", "dataUpdates": {"key": "new", "more": "of it"}},
        lambda c: c["data"] == {"key": "new", "more": "of it", "other": "same"},
        on_config=True,
    ),
}


async def prepare(world: World, case: Case) -> None:
    """The ConfigMap, or the Deployment in its second revision."""
    if case.on_config:
        await world.create(config_map())
        return
    await world.roll_out(deployment())
    if case.action == "rollback_deployment":
        second = [{"name": "app", "image": "registry.example/web:2"}]
        await world.cluster.patch(
            DEPLOYMENT, world.namespace, "web", {"spec": {"template": {"spec": {"containers": second}}}}, patch_type="strategic"
        )
        await world.until(DEPLOYMENT, "web", lambda d: container(d)["image"].endswith(":2") and has_rolled_out(d))


@pytest.mark.parametrize("name", CASES)
async def test_an_action_does_what_it_says_and_reports_it(world: World, name: str) -> None:
    case = CASES[name]
    await prepare(world, case)
    found = await world.run(workflow("w", step(1, case.action, case.parameters)))
    assert (phase(found), states(found)) == ("completed", ["completed"]), told(found)
    assert found["status"]["workflowResult"]["outcome"] == "success"
    assert found["status"]["progress"] == 100
    kind, target = CONFIG if case.on_config else WEB
    assert case.done(await world.read(kind, target))
    (attempt,) = await world.attempts("w")
    assert attempt["spec"]["action"] == canonical_action(case.action)
    results = attempt["status"]["executionResults"]
    assert results["success"]
    assert results["result"]["success"]
    assert [(r["resourceType"], r["name"]) for r in results["resourcesAffected"]] == [(kind.kind, target)]


@pytest.mark.parametrize("name", CASES)
async def test_an_action_is_taken_back_when_a_later_step_fails(world: World, name: str) -> None:
    case = CASES[name]
    await prepare(world, case)
    target = CONFIG if case.on_config else WEB
    before = await world.snapshot(target)
    found = await world.run(workflow("w", *chain(step(1, case.action, case.parameters), doomed(2))))
    assert (phase(found), states(found)) == ("rolled_back", ["rolled_back", "failed"]), told(found)
    assert await world.snapshot(target) == before
    assert (found["status"]["failedStep"], found["status"]["failureReason"]) == (2, "postcondition_failed")
    (undo,) = await world.attempts("w", rollback=True)
    assert undo["spec"]["undoOf"] == "w-step-1"


async def test_restart_pod_replaces_the_pod_and_its_loss_is_named_as_irreversible(world: World) -> None:
    await world.roll_out(deployment())
    (before,) = await world.pods("web")
    wanted = step(1, "restart-pod", {"selector": "app=web"})
    found = await world.run(workflow("w", *chain(wanted, doomed(2))))
    (after,) = await world.pods("web")
    assert before["metadata"]["uid"] != after["metadata"]["uid"]
    assert states(found) == ["completed", "failed"]
    assert (await world.attempts("w"))[0]["status"]["executionResults"]["result"]["restartResult"]["podsRestarted"] == 1
    # Nothing can be undone: automatic with nothing to undo is failed, without rolling back.
    assert phase(found) == "failed"
    assert "rollbackStartTime" not in found["status"]


async def test_a_workflow_of_the_system_namespace_cordons_a_node_and_another_uncordons_it(world: World) -> None:
    system, page = world.within(SYSTEM), await world.cluster.list(NODE)
    node = page.items[0]["metadata"]["name"]
    names = [f"cordon-{world.namespace}", f"undone-{world.namespace}", f"uncordon-{world.namespace}"]
    try:
        found = await system.run(workflow(names[0], step(1, "cordon-node", {"nodeName": node})))
        assert phase(found) == "completed", told(found)
        assert (await world.read(NODE, node))["spec"]["unschedulable"] is True
        found = await system.run(workflow(names[1], *chain(step(1, "uncordon-node", {"nodeName": node}), doomed(2))))
        assert phase(found) == "rolled_back", told(found)
        assert (await world.read(NODE, node))["spec"]["unschedulable"] is True
        found = await system.run(workflow(names[2], step(1, "uncordon-node", {"nodeName": node})))
        assert phase(found) == "completed", told(found)
        assert "unschedulable" not in (await world.read(NODE, node))["spec"]
    finally:
        await world.patch(NODE, node, {"spec": {"unschedulable": None}})
        for name in names:
            await delete(system, WORKFLOW, name)


async def test_verify_health_wait_for_condition_and_notify_only_change_nothing(world: World) -> None:
    await world.roll_out(deployment())
    before = (await world.read(*WEB))["metadata"]["resourceVersion"]
    steps = [
        step(1, "verify-health", {"kind": "Deployment", "name": "web", "healthCheckEndpoint": "/health"}),
        step(
            2,
            "wait-for-condition",
            {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "condition": "Available", "timeout": "5s"},
        ),
        tell(3),
    ]
    found = await world.run(workflow("w", *steps))
    assert (phase(found), states(found)) == ("completed", ["completed"] * 3), told(found)
    assert (await world.read(*WEB))["metadata"]["resourceVersion"] == before
    outputs = [a["status"]["executionResults"]["result"]["customResult"]["output"] for a in await world.attempts("w")]
    assert [sorted(o) for o in outputs] == [["pods", "target", "unreadyPods"], ["condition", "status", "target"], ["message", "severity"]]
    assert not any(a["status"]["executionResults"].get("operations") for a in await world.attempts("w"))


async def test_wait_for_condition_goes_on_when_the_condition_comes(world: World) -> None:
    await world.create(deployment(image="registry.example/web:never-ready"))
    wanted = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "condition": "Available", "timeout": "20s"}
    await world.create(workflow("w", step(1, "wait-for-condition", wanted)))
    await world.until(EXECUTION, "w-step-1", lambda a: phase(a) == "verifying")
    await world.cluster.patch(
        DEPLOYMENT,
        world.namespace,
        "web",
        {"spec": {"template": {"spec": {"containers": [{"name": "app", "image": "registry.example/web:1"}]}}}},
        patch_type="strategic",
    )
    assert phase(await world.ended("w")) == "completed"
