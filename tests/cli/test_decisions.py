"""`phasegate approve` and `phasegate reject`: a decision in one's own name, about a plan that is waiting for it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from support.commands import Phasegate
from support.workflows import SYSTEM, World, config_map, delete, is_waiting, phase, tell, told, waiting, workflow

from controller.cluster.kinds import APPROVAL, CONFIG_MAP, WORKFLOW
from controller.local.plane import Plane

Document = dict[str, Any]


async def ask_for_approval(world: World) -> Document:
    await world.create(workflow("w", tell(), executionStrategy={"approvalRequired": True}))
    return await world.until(WORKFLOW, "w", lambda w: "approval_required" in is_waiting(w))


@asynccontextmanager
async def asking_for(world: World, approval: Document) -> AsyncIterator[None]:
    """A team's rule for this namespace, from when it decides until it is taken away."""
    name = f"asks-{world.namespace}"
    package = name.replace("-", "_")
    rule = f'require_approval contains {json.dumps(approval)} if input.workflow.metadata.namespace == "{world.namespace}"'
    module = f"package kubernaut.rules.approval.{package}\n\n{rule}\n"
    system = world.within(SYSTEM)
    await system.create(
        {**config_map(name, **{f"{package}.rego": module}), "metadata": {"name": name, "labels": {"kubernaut.ai/policy": "rego"}}}
    )
    await system.until(
        CONFIG_MAP, name, lambda c: '"active"' in (c["metadata"].get("annotations") or {}).get("kubernaut.ai/policy-status", "")
    )
    try:
        yield
    finally:
        await delete(system, CONFIG_MAP, name)


async def decisions(world: World) -> list[Document]:
    return [a["spec"] for a in (await world.cluster.list(APPROVAL, world.namespace)).items]


async def test_approving_speaks_for_the_plan_in_the_name_that_the_api_server_knows_and_the_workflow_goes_on(
    world: World, phasegate: Phasegate
) -> None:
    found = await ask_for_approval(world)
    said = await phasegate("approve", "w", "-n", world.namespace, "--comment", "looks right", user="approver")
    assert (said.code, said.err) == (0, ""), said
    plan = found["status"]["executionPlan"]["planHash"]
    assert f"plan {plan} approved by approver" in said.out
    assert await decisions(world) == [
        {
            "workflowRef": {"name": "w", "uid": found["metadata"]["uid"]},
            "decision": "Approved",
            "planHash": plan,
            "approver": "approver",
            "approverGroups": ["on-call"],
            "comment": "looks right",
        }
    ]
    end = await world.ended("w")
    assert phase(end) == "completed", told(end)


async def test_a_decision_goes_with_the_workflow_that_it_is_about(world: World, phasegate: Phasegate) -> None:
    found = await ask_for_approval(world)
    said = await phasegate("approve", "w", "-n", world.namespace, user="approver")
    assert said.code == 0, said
    await world.ended("w")
    (decision,) = (await world.cluster.list(APPROVAL, world.namespace)).items
    (owner,) = decision["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["name"], owner["uid"]) == (WORKFLOW.kind, "w", found["metadata"]["uid"])
    await delete(world, WORKFLOW, "w")
    await world.gone(APPROVAL, decision["metadata"]["name"])


async def test_rejecting_ends_the_workflow_before_anything_is_touched(world: World, phasegate: Phasegate) -> None:
    await ask_for_approval(world)
    said = await phasegate("reject", "w", "-n", world.namespace, "--comment", "not on a Friday", "--output", "json", user="approver")
    assert (said.code, said.err) == (0, ""), said
    answer = json.loads(said.out)
    assert (answer["decision"], answer["approver"], answer["new"]) == ("Rejected", "approver", True)
    end = await world.ended("w")
    assert (phase(end), end["status"]["failureReason"]) == ("failed", "approval_rejected"), told(end)
    assert "executionStartTime" not in end["status"]


async def test_approving_twice_is_one_decision_and_the_second_time_is_told_so(world: World, phasegate: Phasegate) -> None:
    async with asking_for(world, {"reason": "two agree", "count": 2}):
        await world.create(workflow("w", tell()))
        await world.until(WORKFLOW, "w", lambda w: "approval_required" in is_waiting(w))
        first = await phasegate("approve", "w", "-n", world.namespace, user="approver")
        second = await phasegate("approve", "w", "-n", world.namespace, user="approver")
        assert (first.code, second.code) == (0, 0), (first, second)
        assert "approved by approver already" in second.out
        assert len(await decisions(world)) == 1
        changed = await phasegate("reject", "w", "-n", world.namespace, user="approver")
        assert changed.code == 0, changed
        assert (await world.ended("w"))["status"]["failureReason"] == "approval_rejected"


async def test_a_rule_that_wants_somebody_elses_yes_knows_who_applied_the_workflow(world: World, phasegate: Phasegate) -> None:
    async with asking_for(world, {"reason": "four eyes", "not_requester": True}):
        applied = await phasegate("apply", "-", "-n", world.namespace, user="admin", stdin=json.dumps(workflow("w", tell())))
        assert applied.code == 0, applied
        await world.until(WORKFLOW, "w", lambda w: "approval_required" in is_waiting(w))
        own = await phasegate("approve", "w", "-n", world.namespace, user="admin")
        assert own.code == 0, own
        await world.until(WORKFLOW, "w", lambda w: bool(w["status"]["approval"]["decisions"]))
        assert "approval_required" in is_waiting(await world.read(WORKFLOW, "w"))
        another = await phasegate("approve", "w", "-n", world.namespace, user="approver")
        assert another.code == 0, another
        end = await world.ended("w")
        assert phase(end) == "completed", told(end)


async def test_who_may_not_approve_is_told_what_the_api_server_says_and_which_role_it_takes(world: World, phasegate: Phasegate) -> None:
    await ask_for_approval(world)
    said = await phasegate("approve", "w", "-n", world.namespace, user="author")
    assert (said.code, said.out) == (1, ""), said
    assert f"you may not approve workflow {world.namespace}/w" in said.err
    assert 'User "author" cannot create resource "workflowapprovals"' in said.err
    assert f"ask for the role workflow-approver in namespace {world.namespace}" in said.err
    assert await decisions(world) == []


async def test_a_workflow_that_nobody_was_asked_about_cannot_be_approved(world: World, phasegate: Phasegate) -> None:
    await world.create(workflow("w", waiting(1, timeout="1m")))
    await world.until(WORKFLOW, "w", lambda w: phase(w) == "executing")
    said = await phasegate("approve", "w", "-n", world.namespace, user="approver")
    assert said.code == 1, said
    assert f"cannot approve workflow {world.namespace}/w: it is not waiting for approval yet: executing" in said.err
    assert f"`phasegate watch w -n {world.namespace}` tells when it does" in said.err


async def test_a_workflow_that_has_ended_can_be_neither_approved_nor_rejected(world: World, phasegate: Phasegate) -> None:
    await world.run(workflow("w", tell()))
    for verb in ("approve", "reject"):
        said = await phasegate(verb, "w", "-n", world.namespace, user="approver")
        assert said.code == 1, said
        assert f"cannot {verb} workflow {world.namespace}/w: it has ended: completed" in said.err


async def test_a_name_that_no_workflow_has_is_wrong_input(world: World, phasegate: Phasegate) -> None:
    said = await phasegate("approve", "nobody", "-n", world.namespace, user="approver")
    assert said.code == 2, said
    assert f"cannot find workflow {world.namespace}/nobody" in said.err
    assert f"`kubectl get wfe -n {world.namespace}` lists those that there are" in said.err


async def test_an_api_server_that_does_not_answer_is_its_own_exit_code(plane: Plane, phasegate: Phasegate, tmp_path: Path) -> None:
    document = json.loads(plane.users["approver"].read_text())
    document["clusters"][0]["cluster"]["server"] = "https://127.0.0.1:1"
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(json.dumps(document))
    said = await phasegate("approve", "w", "-n", "default", kubeconfig=kubeconfig)
    assert said.code == 3, said
    assert "no answer" in said.err
