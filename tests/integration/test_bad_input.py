"""Bad input: refused before anything is touched, with what is wrong, where, and the way out."""

from __future__ import annotations

from typing import Any

import pytest
from support.workflows import (
    CONFIG,
    DEPLOYMENT,
    NAMESPACE,
    SYSTEM,
    World,
    chain,
    codes,
    config_map,
    delete,
    deployment,
    phase,
    states,
    step,
    tell,
    told,
    workflow,
    write,
)

from controller.cluster.errors import ForbiddenError, InvalidError
from controller.cluster.kinds import EXECUTION, WORKFLOW

Document = dict[str, Any]
SCALE = {"deployment": "web", "replicas": 2}


async def refused(world: World, document: Document, reason: str) -> Document:
    """Run a workflow that must fail before anything of it starts; answers its status."""
    found = await world.run(document)
    assert (phase(found), found["status"]["failureReason"]) == ("failed", reason), told(found)
    assert not await world.attempts(document["metadata"]["name"])
    assert await world.told(document["metadata"]["name"], "WorkflowExecutionFailed")
    status: Document = found["status"]
    return status


# What planning refuses.


async def test_an_action_that_the_catalogue_does_not_have(world: World) -> None:
    strange = step(1, "make-coffee", {})
    strange["parameters"] = {"custom": {"actionType": "make-coffee"}}
    status = await refused(world, workflow("w", strange), "planning_error")
    assert status["message"] == "action_unknown: step 1: the catalogue has no action make_coffee"
    assert status["remedy"].startswith("use one of: cordon_node, notify_only, ")
    assert status["errorType"] == "validation_error"


async def test_the_parameters_of_another_action(world: World) -> None:
    mixed = {**step(1, "scale-deployment", SCALE), "parameters": {"restartDeployment": {"deployment": "web"}}}
    status = await refused(world, workflow("w", mixed), "planning_error")
    assert status["message"] == "parameters_mismatch: step 1: its parameters are not those of scale_deployment"
    assert status["remedy"] == "write them below parameters.scaleDeployment, and nothing beside it"


async def test_a_circle_of_dependencies_is_spelt_out(world: World) -> None:
    steps = [{**tell(1, dependsOn=["b"]), "name": "a"}, {**tell(2, dependsOn=["a"]), "name": "b"}, {**tell(3, dependsOn=[2]), "name": "c"}]
    status = await refused(world, workflow("w", *steps), "dependency_resolution_failed")
    assert "a → b → a" in status["message"]
    assert "remove one of these dependencies" in status["message"]
    assert "c" not in status["message"].split(":")[1].split(";")[0].split(" → ")


async def test_a_step_that_depends_on_itself(world: World) -> None:
    status = await refused(world, workflow("w", tell(1, dependsOn=[1])), "dependency_resolution_failed")
    assert "s1 → s1" in status["message"]


@pytest.mark.parametrize("unknown", [7, "nobody"])
async def test_a_dependency_on_a_step_that_is_not_there(world: World, unknown: object) -> None:
    status = await refused(world, workflow("w", tell(1), tell(2, dependsOn=[unknown])), "dependency_resolution_failed")
    assert status["message"] == f"step 's2' depends on '{unknown}', which is no step; steps are: s1, s2"


async def test_dependencies_by_map_are_checked_as_well(world: World) -> None:
    document = workflow("w", tell(1), tell(2))
    document["spec"]["workflowDefinition"]["dependencies"] = {"s1": ["s2"], "s2": ["s1"]}
    status = await refused(world, document, "dependency_resolution_failed")
    assert "s1 → s2 → s1" in status["message"] or "s2 → s1 → s2" in status["message"]


async def test_another_cluster(world: World) -> None:
    status = await refused(world, workflow("w", tell(1, targetCluster="elsewhere")), "planning_error")
    assert status["message"].startswith("target_cluster_unknown: step 1:")
    assert "cluster-name" in status["remedy"]


async def test_a_condition_that_the_action_does_not_have(world: World) -> None:
    strange = step(1, "scale-deployment", SCALE, preConditions=[{"type": "moon_is_full"}])
    status = await refused(world, workflow("w", strange), "planning_error")
    assert status["message"].startswith("condition_unknown: ")
    assert "moon_is_full" in status["message"]
    assert "deployment_exists" in status["remedy"]


async def test_terms_that_are_looser_than_the_catalogues(world: World) -> None:
    loose = {"scale-deployment": {"preconditions": {"deployment_exists": {"required": False}}}}
    status = await refused(world, workflow("w", step(1, "scale-deployment", SCALE), conditionOverrides=loose), "planning_error")
    assert codes_of(status) == ["override_not_allowed"]


def codes_of(status: Document) -> list[str]:
    return codes({"status": status}, "planning")


# What the API server refuses.


def several(count: int) -> Document:
    return workflow("w", *(tell(n) for n in range(1, count + 1)))


REFUSED = {
    "two steps of one number": (workflow("w", tell(1), {**tell(1), "name": "other"}), "Duplicate value"),
    "two steps of one name": (workflow("w", tell(1), {**tell(2), "name": "s1"}), "name"),
    "501 steps": (several(501), "must have at most 500 items"),
    "no step": (several(0), "should have at least 1 items"),
    "two sets of parameters": (
        workflow("w", {**tell(1), "parameters": {"notifyOnly": {"message": "x"}, "cordonNode": {"nodeName": "n"}}}),
        "must have at most 1",
    ),
    "a field that nobody knows": (workflow("w", {**tell(1), "dependson": [2]}), "unknown field"),
    "a name that leaves no room for those of its attempts": (workflow("w" * 47, tell(1)), "at most 46 characters"),
    "a duration that is none": (workflow("w", tell(1, timeout="soon")), "timeout"),
    "more replicas than anybody has": (workflow("w", step(1, "scale-deployment", {**SCALE, "replicas": 10001})), "10000"),
}


@pytest.mark.parametrize("what", REFUSED)
async def test_the_api_server_refuses(world: World, what: str) -> None:
    document, words = REFUSED[what]
    with pytest.raises(InvalidError) as caught:
        await world.create(document)
    assert words in str(caught.value)


async def test_the_steps_of_a_workflow_cannot_be_edited_afterwards(world: World) -> None:
    await world.run(workflow("w", tell(1)))
    with pytest.raises(InvalidError) as caught:
        await world.patch(WORKFLOW, "w", {"spec": {"workflowDefinition": {"steps": [tell(2)]}}})
    assert "workflowDefinition cannot be changed after creation" in str(caught.value)


async def test_the_phase_of_an_ended_workflow_cannot_be_changed_by_anybody(world: World) -> None:
    await world.run(workflow("w", tell(1)))
    with pytest.raises(InvalidError) as caught:
        await world.cluster.patch(WORKFLOW, world.namespace, "w", {"status": {"phase": "executing"}}, subresource="status")
    assert "this workflow has ended" in str(caught.value)


async def test_an_attempt_that_somebody_makes_by_hand_is_refused(world: World) -> None:
    await world.create(workflow("w", tell(1), suspend=True))
    owner = await world.read(WORKFLOW, "w")
    body = {
        "apiVersion": EXECUTION.api_version,
        "kind": EXECUTION.kind,
        "metadata": {"name": "w-step-1"},
        "spec": {
            "workflowExecutionRef": {"name": "w", "uid": owner["metadata"]["uid"]},
            "stepNumber": 1,
            "action": "cordon_node",
            "parameters": {"cordonNode": {"nodeName": "node-0"}},
        },
    }
    with pytest.raises((ForbiddenError, InvalidError)) as caught:
        await world.create(body)
    assert "execution-creators" in str(caught.value)


# What validating refuses.


@pytest.mark.parametrize("dry_run", [True, False])
async def test_a_deployment_that_does_not_exist(world: World, *, dry_run: bool) -> None:
    document = workflow("w", step(1, "scale-deployment", SCALE), executionStrategy={"dryRunFirst": dry_run})
    status = await refused(world, document, "resource_not_found")
    assert f"target_not_found: there is no Deployment/{world.namespace}/web" in status["message"]
    assert status["remedy"]


async def test_a_namespace_that_does_not_exist_seen_from_a_trusted_one(world: World) -> None:
    system, name = world.within(SYSTEM), f"nowhere-{world.namespace}"
    try:
        found = await system.run(workflow(name, step(1, "scale-deployment", {**SCALE, "namespace": "nowhere"})))
    finally:
        await delete(system, WORKFLOW, name)
    assert (phase(found), found["status"]["failureReason"]) == ("failed", "resource_not_found"), told(found)
    assert "namespace_not_found: there is no namespace nowhere" in found["status"]["message"]


async def test_a_target_in_another_namespace_is_denied_while_validating(world: World) -> None:
    target = {"namespace": "kube-system", "name": "kube-root-ca.crt", "dataUpdates": {"key": "new"}}
    status = await refused(world, workflow("w", step(1, "update-configmap", target)), "policy_denied")
    assert "target_outside_namespace: step 1: the workflow may act in its own namespace only, not in kube-system" in status["message"]
    assert "trusted-namespaces" in status["remedy"]


async def test_a_target_in_another_namespace_is_denied_by_the_attempt_even_without_a_dry_run(world: World) -> None:
    other = f"{world.namespace}-other"
    await world.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": other}})
    neighbour = world.within(other)
    await neighbour.create(config_map())
    target = {"namespace": other, "name": "settings", "dataUpdates": {"key": "new"}}
    document = workflow("w", step(1, "update-configmap", target), executionStrategy={"dryRunFirst": False})
    found = await world.run(document)
    assert (phase(found), states(found)) == ("blocked", ["blocked"]), told(found)
    assert found["status"]["failureReason"] == "policy_denied"
    assert "target_outside_namespace" in found["status"]["message"]
    assert (await neighbour.read(*CONFIG))["data"]["key"] == "old"
    await delete(world, NAMESPACE, other)


async def test_a_node_is_for_workflows_of_trusted_namespaces_only(world: World) -> None:
    status = await refused(world, workflow("w", step(1, "cordon-node", {"nodeName": "node-0"})), "policy_denied")
    assert "target_cluster_scoped" in status["message"]


async def test_a_patch_that_the_api_server_would_refuse(world: World) -> None:
    await world.roll_out(deployment())
    patch = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "patch": {"spec": {"replicas": "many"}}}
    status = await refused(world, workflow("w", step(1, "patch-resource", patch)), "dry_run_failed")
    assert "patch_accepted" in status["message"]


async def test_a_patch_of_a_kind_that_the_action_does_not_patch(world: World) -> None:
    patch = {"apiVersion": "v1", "kind": "Secret", "name": "keys", "patch": {"data": {"a": "Yg=="}}}
    status = await refused(world, workflow("w", step(1, "patch-resource", patch)), "policy_denied")
    assert "parameters_invalid" in status["message"]


# What turns out while executing.


async def test_a_deployment_that_goes_missing_before_its_turn_blocks_the_workflow_and_keeps_what_was_done(world: World) -> None:
    await world.roll_out(deployment())
    await world.create(config_map())
    gone = {"preconditions": {"deployment_exists": {"timeout": "200ms"}}}
    steps = chain(write(1, "new"), step(2, "scale-deployment", SCALE))
    document = workflow("w", *steps, conditionOverrides={"scale-deployment": gone}, suspend=True)
    await world.create(document)
    await world.until(WORKFLOW, "w", lambda w: "suspended" in (w.get("status") or {}).get("waitingFor", ""))
    await delete(world, DEPLOYMENT, "web")
    await world.gone(DEPLOYMENT, "web")
    await world.patch(WORKFLOW, "w", {"spec": {"suspend": False}})
    found = await world.ended("w")
    assert (phase(found), states(found)) == ("blocked", ["completed", "blocked"]), told(found)
    assert found["status"]["failureReason"] == "resource_not_found"
    assert "deployment_exists: the Deployment to scale must exist" in found["status"]["message"]
    assert (await world.read(*CONFIG))["data"]["key"] == "new"
