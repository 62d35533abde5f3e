"""An action that a team adds by a ConfigMap and some YAML, while the controller runs; what it sends is bounded all the same."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.controller import ControllerProcess
from support.faults import between
from support.team import ANNOTATION, EXAMPLE, KINDS, NAME, RBAC, Team, annotate, rego
from support.workflows import (
    DEPLOYMENT,
    NAMESPACE,
    SYSTEM,
    WEB,
    World,
    chain,
    delete,
    deployment,
    doomed,
    phase,
    states,
    told,
    workflow,
)

from controller.cluster.kinds import CONFIG_MAP, WORKFLOW
from controller.local import programs
from controller.local.plane import Plane
from controller.policy.history import read_history

Document = dict[str, Any]

ACTION = "annotate_deployment"


async def value(world: World) -> str | None:
    """The annotation of `web`."""
    found: str | None = ((await world.read(*WEB))["metadata"].get("annotations") or {}).get(ANNOTATION)
    return found


async def degraded(world: World) -> None:
    """A workflow `w` that annotated `web`, failed, and waits for people."""
    steps = chain(annotate(1, "ann"), doomed(2))
    found = await world.run(workflow("w", *steps, executionStrategy={"rollbackStrategy": "manual"}))
    assert phase(found) == "degraded", told(found)


async def taken_back(world: World) -> Document:
    """The same workflow, once a person has had it taken back."""
    await world.annotate("w", "kubernaut.ai/rollback", "take it back")
    return await world.until(WORKFLOW, "w", lambda w: phase(w) in {"rolled_back", "failed"})


# The action at work.


async def test_an_action_that_is_added_as_its_readme_says_while_the_controller_runs_does_what_it_says(
    world: World, plane: Plane, controller: ControllerProcess, tmp_path: Path
) -> None:
    before, shop = controller.pid, world.within("shop")
    await world.cluster.create(NAMESPACE, None, {"metadata": {"name": "shop"}})
    try:
        await shop.roll_out(deployment())
        await asyncio.to_thread(follow_the_readme, plane, tmp_path)
        found = await shop.ended("name-the-on-call")
        assert (phase(found), states(found)) == ("completed", ["completed"]), told(found)
        assert await value(shop) == "ann"
        (attempt,) = await shop.attempts("name-the-on-call")
        assert (attempt["spec"]["action"], attempt["status"]["serviceAccount"]) == (ACTION, "annotate-deployment-sa")
        result = attempt["status"]["executionResults"]["result"]["updateResult"]
        assert result["newValue"] == '{"/metadata/annotations/example.com~1on-call":"ann"}'
        assert controller.pid == before
    finally:
        for document in [*yaml.safe_load_all((EXAMPLE / "rbac.yaml").read_text()), {"kind": "ConfigMap", "metadata": {"name": NAME}}]:
            kind = KINDS.get(document["kind"], CONFIG_MAP)
            await delete(world.within(document["metadata"].get("namespace", SYSTEM)), kind, document["metadata"]["name"])
        await delete(world, NAMESPACE, "shop")


def follow_the_readme(plane: Plane, programs_folder: Path) -> None:
    """Run its commands, as a person in that folder would."""
    for name, program in programs.provide("opa", "kubectl").items():
        (programs_folder / name).symlink_to(program)
    commands = (EXAMPLE / "README.md").read_text().split("```sh\n")[1].split("```")[0]
    path = f"{programs_folder}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "KUBECONFIG": str(plane.kubeconfig)}
    done = subprocess.run(
        ["/bin/bash", "-euo", "pipefail", "-c", commands],
        cwd=EXAMPLE,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


async def test_what_it_did_is_taken_back_when_a_later_step_fails(world: World, team: Team) -> None:
    await world.roll_out(deployment())
    await team.grant()
    await team.add()
    before = await world.snapshot(WEB)
    found = await world.run(workflow("w", *chain(annotate(1, "ann"), annotate(2, "bob"), doomed(3))))
    assert (phase(found), states(found)) == ("rolled_back", ["rolled_back", "rolled_back", "failed"]), told(found)
    assert await world.snapshot(WEB) == before


async def test_a_later_change_by_others_is_not_overwritten_on_the_way_back(world: World, team: Team) -> None:
    await world.roll_out(deployment())
    await team.grant()
    await team.add()
    await degraded(world)
    await world.patch(DEPLOYMENT, "web", {"metadata": {"annotations": {ANNOTATION: "carol"}}})
    found = await taken_back(world)
    assert states(found) == ["rollback_failed", "failed"], told(found)
    assert "changed_since" in told(found)
    assert await value(world) == "carol"


async def test_its_parameters_are_judged_by_its_own_rule(world: World, team: Team) -> None:
    await world.roll_out(deployment())
    await team.grant()
    await team.add()
    step = annotate()
    step["parameters"]["custom"]["config"] |= {"annotation": "deployment.kubernetes.io/revision", "value": "7"}
    found = await world.run(workflow("w", step))
    assert (phase(found), found["status"]["failureReason"]) == ("failed", "policy_denied"), told(found)
    assert "parameters_invalid: step 1: the parameters are not what this action needs" in found["status"]["message"]


# The action taken away.


def newest_change(kept: Document) -> Document:
    """Source → digest, or None where it is gone, of the newest revision in the history, which is written once OPA has it."""
    return dict(next(iter(read_history(kept.get("data") or {})), {"changed": {}})["changed"])


async def removed(world: World) -> None:
    """Wait until policy decides without the action."""
    system = world.within(SYSTEM)
    await system.until(CONFIG_MAP, "kubernaut-policy-set", lambda kept: newest_change(kept).get(NAME, "") is None, seconds=60)


async def test_a_workflow_with_an_action_that_was_deleted_fails_in_planning(world: World, team: Team) -> None:
    await world.roll_out(deployment())
    await team.grant()
    await team.add()
    found = await world.run(workflow("before", annotate()))
    assert phase(found) == "completed", told(found)
    await team.remove()
    await removed(world)
    found = await world.run(workflow("after", annotate()))
    assert found["status"]["failureReason"] == "planning_error", told(found)
    assert found["status"]["message"] == f"action_unknown: step 1: the catalogue has no action {ACTION}"
    assert found["status"]["remedy"].startswith("use one of: cordon_node, ")
    assert not await world.attempts(found["metadata"]["name"])


async def test_what_was_done_before_the_action_was_deleted_is_left_for_a_person(world: World, team: Team) -> None:
    await world.roll_out(deployment())
    await team.grant()
    await team.add()
    await degraded(world)
    await team.remove()
    await removed(world)
    found = await taken_back(world)
    assert states(found) == ["rollback_failed", "failed"], told(found)
    assert "action_unknown: the catalogue has no such action" in told(found)
    assert await value(world) == "ann"


# Rights that are missing.


@pytest.mark.parametrize("dry_run_first", [True, False])
async def test_without_its_role_it_may_do_nothing_and_the_missing_right_is_named(world: World, team: Team, *, dry_run_first: bool) -> None:
    await world.roll_out(deployment())
    await team.grant(without=f"RoleBinding/{NAME}")
    await team.add()
    found = await world.run(workflow("w", annotate(), executionStrategy={"dryRunFirst": dry_run_first}))
    assert (phase(found), found["status"]["failureReason"]) == ("failed", "rbac_validation_failed"), told(found)
    assert f"annotate-deployment-sa may not get deployments in namespace {world.namespace}" in found["status"]["message"]
    assert "bind the action's ClusterRole to its ServiceAccount" in found["status"]["remedy"]
    assert await value(world) is None


@pytest.mark.parametrize("dry_run_first", [True, False])
async def test_without_leave_to_impersonate_it_may_do_nothing_and_that_is_said(world: World, team: Team, *, dry_run_first: bool) -> None:
    await world.roll_out(deployment())
    await team.grant(without=f"RoleBinding/{NAME}-impersonation")
    await team.add()
    found = await world.run(workflow("w", annotate(), executionStrategy={"dryRunFirst": dry_run_first}))
    assert phase(found) == "failed", told(found)
    assert 'cannot impersonate resource "serviceaccounts"' in told(found)
    assert "annotate-deployment-sa" in told(found)
    assert await value(world) is None


# What no action may do.


def evil(namespace: str) -> dict[str, tuple[Document, str]]:
    """Requests that operations of an action might be, and what is said of them; the action's account is an administrator here."""
    pod = {"apiVersion": "v1", "kind": "Pod", "namespace": namespace, "name": "web"}
    secret = {"apiVersion": "v1", "kind": "Secret", "namespace": namespace, "name": "loot"}
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "namespace": namespace, "name": "default"}
    own_map = {"apiVersion": "v1", "kind": "ConfigMap", "namespace": namespace}
    role = {"apiVersion": RBAC, "kind": "ClusterRole", "name": "view"}
    labelled = {"verb": "patch", "patchType": "merge", "body": {"metadata": {"labels": {"evil": "yes"}}}}
    kinds, parts = "is not among the kinds that operations may touch", "is not among those that operations may touch"
    return {
        "cluster-role": (role | labelled, "target_cluster_scoped"),
        "cluster-role-in-disguise": (role | labelled | {"namespace": namespace}, f"kind {RBAC} ClusterRole {kinds}"),
        "approval": (
            {**own_map, "apiVersion": WORKFLOW.api_version, "kind": "WorkflowApproval", "name": "me", "verb": "create", "body": {}},
            f"WorkflowApproval {kinds}",
        ),
        "other-namespace": (
            {**own_map, "namespace": SYSTEM, "name": NAME} | labelled,
            "the workflow may act in its own namespace only, not in kubernaut-system",
        ),
        "climb-to-namespace": ({**own_map, "name": ".."} | labelled, "must be names that objects can have"),
        "whole-collection": ({**own_map, "name": ".", "verb": "delete", "uid": "any"}, "must be names that objects can have"),
        "exec": ({**pod, "verb": "create", "subresource": "exec", "body": {"metadata": {"name": "web"}}}, f"subresource 'exec' {parts}"),
        "secret-token": ({**secret, "verb": "create", "subresource": "token", "body": {}}, f"subresource 'token' {parts}"),
        "account-token": ({**account, "verb": "create", "subresource": "token", "body": {}}, f"kind v1 ServiceAccount {kinds}"),
        "token-secret": (
            {
                **secret,
                "verb": "create",
                "body": {
                    "metadata": {"name": "loot", "annotations": {"kubernetes.io/service-account.name": "default"}},
                    "type": "kubernetes.io/service-account-token",
                },
            },
            "would hold a token of a ServiceAccount",
        ),
        "under-another-name": (
            {**own_map, "name": "a", "verb": "create", "body": {"metadata": {"name": "b"}}},
            "a creation needs the object that it names as body",
        ),
    }


def is_of_an_action(method: str, path: str) -> bool:
    """Tell whether a request is none of those that the controller makes for itself."""
    own = r"\.kubernaut\.ai/|/events|/namespaces/kubernaut-system/configmaps|/leases|^/apis/auth"
    return method not in {"GET", "HEAD"} and not re.search(own, path)


async def test_what_its_operations_may_touch_is_bounded_whatever_it_says_and_whatever_its_account_may(
    world: World, team: Team, controller: ControllerProcess
) -> None:
    await world.roll_out(deployment())
    table = evil(world.namespace)
    good = {"apiVersion": "apps/v1", "kind": "Deployment", "namespace": world.namespace, "name": "web", "verb": "patch"}
    good |= {"patchType": "merge", "body": {"metadata": {"annotations": {ANNOTATION: "good"}}}}
    requests = {name: request for name, (request, _) in table.items()} | {"good": good}
    text = rego()[f"{ACTION}.rego"]
    honest = text[text.index("operations := [") : text.index("result := ")]
    module = text.replace(honest, f'operations := [{{"do": {json.dumps(requests)}[_wanted.value], "undo": null}}]\n\n')
    await team.grant()
    subject = {"kind": "ServiceAccount", "name": f"{NAME}-sa", "namespace": SYSTEM}
    everything = {"apiGroup": RBAC.partition("/")[0], "kind": "ClusterRole", "name": "cluster-admin"}
    await team.grant([{"kind": "ClusterRoleBinding", "metadata": {"name": f"{NAME}-evil"}, "roleRef": everything, "subjects": [subject]}])
    async with between(controller, "") as proxy:
        await team.add({f"{ACTION}.rego": module})
        wanted = {(name, dry): f"{name}-{str(dry).lower()}" for name in table for dry in (True, False)}
        runs = [
            world.run(workflow(title, annotate(1, name), executionStrategy={"dryRunFirst": dry}), seconds=60)
            for (name, dry), title in wanted.items()
        ]
        ended = await asyncio.gather(*runs)
        assert [f"{seen.method} {seen.path}" for seen in proxy.seen if is_of_an_action(seen.method, seen.path)] == []
        # The same module, the same account, a request within bounds: it is heard of.
        found = await world.run(workflow("good", annotate(1, "good")))
        assert phase(found) == "completed", told(found)
        sent = [seen.path for seen in proxy.seen if is_of_an_action(seen.method, seen.path) and not seen.dry_run]
        assert sent == [DEPLOYMENT.path(world.namespace, "web")]
    for (name, dry), found in zip(wanted, ended, strict=True):
        assert phase(found) in {"failed", "blocked"}, (name, told(found))
        assert table[name][1] in told(found), (name, dry, told(found))
