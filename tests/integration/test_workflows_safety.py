"""Safety: the four checks and their terms, rights that are asked for once, and the dry-run of every step."""

from __future__ import annotations

from typing import Any

import pytest
from support.controller import ControllerProcess
from support.metrics import total
from support.team import Team, annotate
from support.workflows import (
    CONFIG,
    DEPLOYMENT,
    NAMESPACE,
    SYSTEM,
    WEB,
    World,
    chain,
    config_map,
    delete,
    deployment,
    is_waiting,
    phase,
    states,
    step,
    told,
    workflow,
    write,
)

from controller.cluster.kinds import CONFIG_MAP, WORKFLOW

Document = dict[str, Any]

CHECKS = ("rbac", "capacity", "health", "network")


def terms(*checks: Document, dry_run: bool = True) -> Document:
    """What a workflow wants of the checks."""
    return {"executionStrategy": {"safetyChecks": list(checks), "dryRunFirst": dry_run, "rollbackStrategy": "none"}}


def check(found: Document, kind: str) -> tuple[bool, bool]:
    """Whether a check counted, and whether it passed."""
    checks = {c["type"]: c for c in found["status"]["validationResults"]["checks"]}
    assert tuple(checks) == CHECKS, "all four are made, whatever the workflow wants of them"
    return checks[kind]["required"], checks[kind]["passed"]


def validated(found: Document) -> bool:
    """Whether a workflow got so far that steps could start."""
    return "executionStartTime" in found["status"]


def refused(found: Document, reason: str) -> None:
    """It failed while validating for this reason, and touched nothing."""
    assert (phase(found), found["status"]["failureReason"]) == ("failed", reason), told(found)
    assert not validated(found)


# Capacity.


@pytest.mark.parametrize(
    ("wanted", "required"),
    [
        ({}, True),
        ({"type": "capacity"}, True),
        ({"type": "resource-availability"}, True),
        ({"type": "capacity", "required": False}, False),
        ({"type": "resource-availability", "required": False}, False),
        ({"type": "resource-availability", "enabled": False}, False),
    ],
)
async def test_what_no_node_can_hold_counts_as_the_author_says(world: World, wanted: Document, *, required: bool) -> None:
    huge = deployment(replicas=0)
    huge["spec"]["template"]["spec"]["containers"][0]["resources"]["requests"]["cpu"] = "1000000"
    await world.create(huge)
    # The attempt judges the same once more, and has the last word; it need not wait for long.
    soon = {"scale_deployment": {"preconditions": {"cluster_capacity_available": {"timeout": "100ms"}}}}
    scale = step(1, "scale-deployment", {"deployment": "web", "replicas": 1})
    found = await world.run(workflow("w", scale, conditionOverrides=soon, **terms(*([wanted] if wanted else []))))
    assert check(found, "capacity") == (required, False)
    if required:
        refused(found, "safety_validation_failed")
        assert "check_failed_capacity" in found["status"]["message"]
        assert "add nodes" in found["status"]["remedy"]
    else:
        assert validated(found)
        assert (phase(found), states(found)) == ("blocked", ["blocked"]), told(found)
    assert (await world.read(*WEB))["spec"]["replicas"] == 0


# Health.


@pytest.mark.parametrize(
    ("wanted", "required"),
    [
        ({}, False),
        ({"type": "health"}, True),
        ({"type": "health", "required": False}, False),
        ({"type": "health", "enabled": False}, False),
    ],
)
async def test_a_target_that_is_unavailable_counts_only_where_it_is_asked_for(world: World, wanted: Document, *, required: bool) -> None:
    await world.create(deployment(image="registry.example/web:never-ready"))
    await world.until(DEPLOYMENT, "web", lambda d: {"Available": "False"}.items() <= conditions(d).items())
    mend = step(1, "update-image", {"deployment": "web", "container": "app", "newImage": "registry.example/web:2"})
    found = await world.run(workflow("w", mend, **terms(*([wanted] if wanted else []))))
    assert check(found, "health") == (required, False)
    if required:
        refused(found, "safety_validation_failed")
        assert f"check_failed_health: Deployment/{world.namespace}/web is not available" in found["status"]["message"]
    else:
        assert phase(found) == "completed", told(found)


def conditions(found: Document) -> dict[str, str]:
    return {c["type"]: c["status"] for c in (found.get("status") or {}).get("conditions") or []}


# Network.


@pytest.mark.parametrize(("wanted", "required"), [({}, True), ({"type": "network", "required": False}, False)])
async def test_a_namespace_on_its_way_out_is_not_worked_in(world: World, wanted: Document, *, required: bool) -> None:
    held = config_map()
    held["metadata"]["finalizers"] = ["example.com/held"]
    await world.create(held)
    await world.cluster.delete(NAMESPACE, None, world.namespace)
    await world.until(NAMESPACE, world.namespace, lambda n: n["status"]["phase"] == "Terminating")
    # In a namespace that is being deleted nothing can be created; only a trusted workflow can reach into one.
    system, name = world.within(SYSTEM), f"late-{world.namespace}"
    parameters = {"namespace": world.namespace, "name": "settings", "dataUpdates": {"key": "new"}}
    try:
        found = await system.run(workflow(name, step(1, "update-configmap", parameters), **terms(*([wanted] if wanted else []))))
        assert check(found, "network") == (required, False)
        if required:
            refused(found, "safety_validation_failed")
            assert f"check_failed_network: namespace {world.namespace} is being deleted" in found["status"]["message"]
        else:
            assert phase(found) == "completed", told(found)
        assert (await world.read(*CONFIG))["data"]["key"] == ("old" if required else "new")
    finally:
        await delete(system, WORKFLOW, name)
        await world.patch(*CONFIG, {"metadata": {"finalizers": None}})


# Rights.


BINDING = "RoleBinding/annotate-deployment"


@pytest.mark.parametrize("wanted", [{}, {"type": "rbac"}, {"type": "rbac-check"}, {"type": "rbac", "enabled": False}])
async def test_a_missing_right_is_not_passed_over_by_leaving_the_check_out(world: World, team: Team, wanted: Document) -> None:
    await world.roll_out(deployment())
    await team.grant(without=BINDING)
    await team.add()
    found = await world.run(workflow("w", annotate(), **terms(*([wanted] if wanted else []), dry_run=False)))
    refused(found, "rbac_validation_failed")
    assert check(found, "rbac") == (True, False)
    assert f"annotate-deployment-sa may not patch deployments in namespace {world.namespace}" in found["status"]["message"]


@pytest.mark.parametrize("dry_run", [True, False])
async def test_a_right_that_is_called_not_required_is_still_the_servers_to_refuse(world: World, team: Team, *, dry_run: bool) -> None:
    await world.roll_out(deployment())
    await team.grant(without=BINDING)
    await team.add()
    found = await world.run(workflow("w", annotate(), **terms({"type": "rbac-check", "required": False}, dry_run=dry_run)))
    assert check(found, "rbac") == (False, False)
    if dry_run:
        refused(found, "rbac_validation_failed")
    else:
        assert validated(found)
        assert (phase(found), found["status"]["errorType"]) == ("failed", "insufficient_permissions"), told(found)


async def test_a_right_that_comes_a_moment_later_costs_a_moment(world: World, team: Team) -> None:
    await world.roll_out(deployment())
    await team.grant(without=BINDING)
    await team.add()
    await world.create(workflow("w", annotate()))
    found = await world.until(WORKFLOW, "w", lambda w: "may not patch deployments" in is_waiting(w))
    assert phase(found) == "validating"
    await team.grant(only=BINDING)
    found = await world.ended("w")
    assert phase(found) == "completed", told(found)


async def test_a_right_is_asked_for_once_for_any_number_of_equal_steps(world: World, controller: ControllerProcess) -> None:
    await world.create(config_map())
    controller.stop()
    controller.start("--metrics-open", "--no-leader-elect", f"--namespaces={world.namespace}")
    found = await world.run(workflow("w", *(write(n, "new") for n in range(1, 21)), simulate=True))
    assert found["status"]["validationResults"]["dryRunResults"]["stepsSimulated"] == 20, told(found)
    # It needs two rights, to read the ConfigMap and to patch it, each time that it is judged.
    reviews = total(controller.plane, "kubernaut_facts_latency_seconds_count", verb="access")
    judged = total(controller.plane, "kubernaut_gate_decisions_total", gate="safety")
    assert 2 <= reviews <= 2 * judged


# The dry-run.


async def test_every_step_is_tried_on_the_server_and_reported_before_and_after(world: World) -> None:
    await world.create(config_map())
    await world.roll_out(deployment())
    steps = chain(write(1, "new"), step(2, "scale-deployment", {"deployment": "web", "replicas": 2}))
    found = await world.run(workflow("w", *steps))
    assert phase(found) == "completed", told(found)
    report = found["status"]["validationResults"]["dryRunResults"]
    assert (report["overallSuccess"], report["stepsSimulated"]) == (True, 2)
    assert [(r["stepNumber"], r["wouldSucceed"]) for r in report["stepResults"]] == [(1, True), (2, True)]
    changes = [(c["resourceType"], c["resourceName"], c["beforeState"], c["afterState"]) for c in report["resourceChanges"]]
    assert changes == [
        ("ConfigMap", "settings", {"/data/key": "old"}, {"/data/key": "new"}),
        ("Deployment", "web", {"/spec/replicas": "1"}, {"/spec/replicas": "2"}),
    ]


def replace_made(**more: Any) -> Document:
    """A step 2 that changes a key of `settings` which is there only after a step 1 that makes it."""
    patch = [{"op": "test", "path": "/data/made", "value": "once"}, {"op": "replace", "path": "/data/made", "value": "twice"}]
    parameters = {"apiVersion": "v1", "kind": "ConfigMap", "name": "settings", "patchType": "json", "patch": patch}
    return step(2, "patch-resource", parameters, **more)


def make() -> Document:
    return step(1, "update-configmap", {"name": "settings", "dataUpdates": {"made": "once"}})


async def test_what_another_step_brings_about_first_may_be_missing_in_the_dry_run(world: World) -> None:
    await world.create(config_map())
    found = await world.run(workflow("w", make(), replace_made(dependsOn=[1])))
    assert (phase(found), states(found)) == ("completed", ["completed", "completed"]), told(found)
    report = found["status"]["validationResults"]["dryRunResults"]
    assert report["overallSuccess"] is False
    assert [r["wouldSucceed"] for r in report["stepResults"]] == [True, False]
    assert report["stepResults"][1]["validationErrors"]
    assert (await world.read(*CONFIG))["data"]["made"] == "twice"


async def test_what_the_server_would_refuse_now_of_a_step_that_waits_for_nobody_fails_the_workflow(world: World) -> None:
    await world.create(config_map())
    found = await world.run(workflow("w", make(), replace_made()))
    refused(found, "dry_run_failed")
    assert "step 2" in found["status"]["message"]
    assert "made" not in (await world.read(CONFIG_MAP, "settings"))["data"]
