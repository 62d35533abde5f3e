"""`phasegate simulate`: what a workflow would do, told from its report, and against the real control plane."""

from __future__ import annotations

import json
import re
import signal
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.commands import Phasegate, ended
from support.controller import ControllerProcess
from support.faults import FaultProxy, Seen
from support.planes import kubeconfig
from support.workflows import (
    CONFIG,
    WEB,
    World,
    chain,
    config_map,
    delete,
    deployment,
    is_waiting,
    phase,
    seen_by,
    step,
    tell,
    workflow,
    write,
)

from controller.cli import main, simulate
from controller.cli._exits import Exit
from controller.cli.simulate import Report, simulation_of
from controller.cluster.kinds import WORKFLOW
from controller.local.plane import Plane

Document = dict[str, Any]


def asked(*steps: Document, name: str = "w", **spec: Any) -> Document:
    document = workflow(name, *(steps or (tell(),)), **spec)
    document["metadata"]["namespace"] = "shop"
    return document


# the report


def report(kept: bool = False, **status: Any) -> Report:  # noqa: FBT002 - a case
    simulated = {"metadata": {"name": "w-simulation-abcd", "namespace": "shop"}, "status": status}
    return Report(asked(tell(1), tell(2)), simulated, kept)


DRY_RUN = {
    "overallSuccess": False,
    "executionTime": "1.5s",
    "stepsSimulated": 3,
    "stepResults": [
        {"stepNumber": 1, "action": "scale_deployment", "wouldSucceed": True, "simulatedDuration": "10s"},
        {"stepNumber": 2, "action": "notify_only", "wouldSucceed": False, "validationErrors": ["no\x1b right"]},
    ],
    "resourceChanges": [
        {
            "resourceType": "Deployment",
            "resourceName": "web",
            "namespace": "shop",
            "changeType": "scale",
            "beforeState": {"replicas": "1", "same": "x", "old": "y"},
            "afterState": {"replicas": "3", "same": "x", "new": "z"},
        },
        {"resourceType": "Node", "resourceName": "n1", "changeType": "update"},
    ],
    "omittedChanges": 7,
    "potentialIssues": [{"severity": "high", "stepNumber": 2, "description": "it may fail", "recommendation": "look"}],
}
CHECKS = [{"type": "rbac", "required": True, "passed": True}, {"type": "health", "required": False, "passed": False, "message": "unwell"}]


def test_the_report_tells_steps_changes_checks_approval_and_what_to_look_at_first() -> None:
    approval = {
        "required": True,
        "count": 2,
        "groups": ["on-call"],
        "notRequester": True,
        "reasons": [{"code": "four_eyes", "message": "two"}],
    }
    told = report(
        kept=True,
        phase="completed",
        executionPlan={"strategy": "parallel", "estimatedDuration": "1m", "planHash": "ab"},
        validationResults={"dryRunResults": DRY_RUN, "checks": CHECKS},
        approval=approval,
    )
    assert list(told.lines()) == [
        "workflow shop/w, simulated: it would not succeed; nothing was changed",
        "plan ab, parallel, estimated to take 1m; simulating took 1.5s",
        "",
        "steps",
        "  ✔   1 s1 (scale_deployment): would succeed, tried in 10s",
        "  ✘   2 s2 (notify_only): would fail",
        "        no? right",
        "  … and 1 more",
        "",
        "changes",
        "  scale Deployment shop/web",
        "      + new: z",
        "      - old: y",
        "      replicas: 1 → 3",
        "  update Node n1",
        "  … and 7 more",
        "",
        "safety checks",
        "  ✔ rbac",
        "  ✘ health (not required): unwell",
        "",
        "approval",
        "  needed: of 2 people in one of the groups on-call, not of who asks for it",
        "      four_eyes: two",
        "",
        "look at first",
        "  high: step 2: it may fail",
        "      → look",
        "",
        "kept as shop/w-simulation-abcd",
    ]


@pytest.mark.parametrize(
    ("status", "succeeds"),
    [
        ({"phase": "completed", "validationResults": {"dryRunResults": {"overallSuccess": True}}}, True),
        ({"phase": "completed", "validationResults": {"dryRunResults": {"overallSuccess": False}}}, False),
        ({"phase": "failed", "validationResults": {"dryRunResults": {"overallSuccess": True}}}, False),
        ({"phase": "validating", "approval": {"requestedAt": "t"}, "validationResults": {"dryRunResults": {"overallSuccess": True}}}, True),
        ({"phase": "failed"}, False),
        ({}, False),
    ],
)
def test_it_would_succeed_if_every_step_would_and_every_gate_let_it_through(status: Document, *, succeeds: bool) -> None:
    assert report(**status).would_succeed is succeeds
    assert report(**status).document()["wouldSucceed"] is succeeds
    assert list(report(**status).lines())


def test_what_ended_before_the_dry_run_says_why() -> None:
    lines = list(report(phase="failed", message="a → b → a", remedy="mend it").lines())
    assert lines[1:] == ["it would be failed (a → b → a)", "→ mend it"]


@pytest.mark.parametrize("name", ["w", "a" * 46, "a" * 29 + "-" + "b" * 16])
def test_a_simulation_has_a_name_of_its_own_that_fits_and_serves_nobody(name: str) -> None:
    document = asked(name=name, remediationRequestRef={"name": "r"}, suspend=True)
    document["metadata"] |= {
        "labels": {"team": "shop"},
        "annotations": {"kubernaut.ai/approved-by": "eve", "kubernaut.ai/cancel": "x", "note": "ours"},
        "finalizers": ["x/y"],
        "ownerReferences": [{}],
        "uid": "u",
    }
    document["status"] = {"phase": "completed"}
    made = simulation_of(document, "abcd", keep=False)
    assert len(made["metadata"]["name"]) <= 46
    assert made["metadata"]["name"].endswith("-simulation-abcd")
    assert "--" not in made["metadata"]["name"]
    assert made["metadata"].keys() == {"name", "namespace", "labels", "annotations"}
    assert made["metadata"]["annotations"] == {"note": "ours"}
    assert made["spec"] == {"workflowDefinition": document["spec"]["workflowDefinition"], "simulate": True, "ttlSecondsAfterFinished": 600}
    assert "status" not in made


# the real thing


def text(*documents: Document) -> str:
    return yaml.safe_dump_all(documents)


def scaling(replicas: int = 3) -> Document:
    return step(1, "scale-deployment", {"deployment": "web", "replicas": replicas})


async def left(world: World) -> list[str]:
    """The workflows that are not on their way out."""
    page = await world.cluster.list(WORKFLOW, world.namespace)
    return [w["metadata"]["name"] for w in page.items if "deletionTimestamp" not in w["metadata"]]


async def test_a_workflow_that_would_succeed_changes_nothing_and_leaves_nothing(world: World, phasegate: Phasegate) -> None:
    await world.roll_out(deployment())
    await world.create(config_map())
    before = [await world.read(*WEB), await world.read(*CONFIG)]
    document = workflow("w", *chain(scaling(), write(2, "new")))
    said = await phasegate("simulate", "-", "-n", world.namespace, stdin=text(document))
    assert (said.code, said.err) == (0, ""), said
    assert f"workflow {world.namespace}/w, simulated: every step would succeed; nothing was changed" in said.out
    assert "✔   1 s1 (scale_deployment): would succeed" in said.out
    assert f" Deployment {world.namespace}/web" in said.out
    assert f" ConfigMap {world.namespace}/settings" in said.out
    after = [await world.read(*WEB), await world.read(*CONFIG)]
    assert [o["spec"] if "spec" in o else o["data"] for o in after] == [o["spec"] if "spec" in o else o["data"] for o in before]
    assert after[1]["metadata"]["resourceVersion"] == before[1]["metadata"]["resourceVersion"]
    assert await left(world) == []


async def test_a_step_that_would_fail_says_why_and_ends_with_one(world: World, phasegate: Phasegate) -> None:
    said = await phasegate("simulate", "-", "-n", world.namespace, "-o", "json", stdin=text(workflow("w", scaling())))
    assert (said.code, said.err) == (1, ""), said
    answer = json.loads(said.out)
    assert (answer["wouldSucceed"], answer["phase"], answer["workflow"]) == (False, "failed", "w")
    assert answer["dryRunResults"]["stepResults"][0]["wouldSucceed"] is False
    assert await left(world) == []


async def test_steps_in_a_circle_are_told_without_a_dry_run(world: World, phasegate: Phasegate) -> None:
    circle = workflow("w", tell(1, dependsOn=[2]), tell(2, dependsOn=[1]))
    said = await phasegate("simulate", "-", "-n", world.namespace, stdin=text(circle))
    assert said.code == 1, said
    assert "the steps depend on each other in a circle" in said.out


async def test_a_person_is_not_asked_but_it_is_told_that_one_would_be(world: World, phasegate: Phasegate) -> None:
    document = workflow("w", tell(), executionStrategy={"approvalRequired": True})
    said = await phasegate("simulate", "-", "-n", world.namespace, stdin=text(document))
    assert said.code == 0, said
    assert "needed: of a person" in said.out
    assert await left(world) == []


async def test_what_is_to_be_kept_is_kept_and_named(world: World, phasegate: Phasegate) -> None:
    said = await phasegate("simulate", "-", "-n", world.namespace, "--keep", "-o", "json", stdin=text(workflow("w", tell())))
    assert said.code == 0, said
    answer = json.loads(said.out)
    assert await left(world) == [answer["simulatedAs"]]
    kept = await world.read(WORKFLOW, answer["simulatedAs"])
    assert (phase(kept), kept["spec"]["simulate"], kept["spec"]["ttlSecondsAfterFinished"]) == ("completed", True, 86400)


async def test_a_simulation_that_cannot_be_deleted_is_named_with_the_way_out(
    world: World, plane: Plane, capsys: pytest.CaptureFixture[str]
) -> None:
    made = await world.run(workflow("w-simulation-abcd", tell(), simulate=True))
    async with seen_by(plane.users["viewer"], world.namespace) as viewer:
        await simulate._delete(viewer.cluster, made)
    said = capsys.readouterr()
    assert said.out == ""
    assert f"the simulation {world.namespace}/w-simulation-abcd could not be deleted" in said.err
    assert f"kubectl delete wfe w-simulation-abcd -n {world.namespace}" in said.err
    await delete(world, WORKFLOW, "w-simulation-abcd")
    await simulate._delete(world.cluster, made)
    assert capsys.readouterr().err == ""


async def test_without_a_controller_it_gives_up_and_takes_the_simulation_with_it(
    world: World, controller: ControllerProcess, phasegate: Phasegate
) -> None:
    controller.kill()
    try:
        said = await phasegate("simulate", "-", "-n", world.namespace, "--timeout", "500ms", stdin=text(workflow("w", tell())))
    finally:
        controller.restart()
    assert said.code == 1, said
    assert "has not ended within 0.5 s: not looked at yet" in said.err
    assert await left(world) == []


async def test_ctrl_c_takes_the_simulation_with_it(world: World, plane: Plane, phasegate: Phasegate, tmp_path: Path) -> None:
    file = tmp_path / "w.yaml"
    file.write_text(text(workflow("w", tell())))
    plane.stop("opa")
    try:
        running = await phasegate.begin("simulate", str(file), "-n", world.namespace)
        while not (names := await left(world)):
            assert running.returncode is None
        await world.until(WORKFLOW, names[0], is_waiting)
        running.send_signal(signal.SIGINT)
        said = await ended(running)
        assert (said.code, said.out) == (130, ""), said
        assert await left(world) == []
    finally:
        plane.start("opa")


async def test_who_may_only_look_is_told_which_role_it_takes_to_simulate(world: World, phasegate: Phasegate) -> None:
    said = await phasegate("simulate", "-", "-n", world.namespace, user="viewer", stdin=text(workflow("w", tell())))
    assert (said.code, said.out) == (1, ""), said
    assert f"ask for the role workflow-author in namespace {world.namespace}" in said.err


async def test_who_may_simulate_but_not_watch_is_told_which_role_it_takes(world: World, phasegate: Phasegate, tmp_path: Path) -> None:
    async def refuse(_: Seen) -> int:
        return 403

    async with FaultProxy(phasegate.plane.server, re.compile(r"^GET .*/workflowexecutions$"), meddler=refuse) as proxy:
        through = kubeconfig(phasegate.plane.users["author"], tmp_path / "kubeconfig", server=proxy.url)
        said = await phasegate("simulate", "-", "-n", world.namespace, kubeconfig=through, stdin=text(workflow("w", tell())))
    assert (said.code, said.out) == (1, ""), said
    assert f"you may not watch the simulation {world.namespace}/w-simulation-" in said.err
    assert f"ask for the role workflow-viewer in namespace {world.namespace}" in said.err


async def test_a_workflow_that_the_api_server_does_not_take_is_wrong_input(world: World, phasegate: Phasegate) -> None:
    said = await phasegate("simulate", "-", "-n", world.namespace, stdin=text({**workflow("w", tell()), "spec": {}}))
    assert (said.code, said.out) == (2, ""), said
    assert f"workflow {world.namespace}/w is not valid" in said.err


async def test_a_namespace_that_is_not_there_is_wrong_input(phasegate: Phasegate) -> None:
    said = await phasegate("simulate", "-", "-n", "nowhere", user="admin", stdin=text(workflow("w", tell())))
    assert (said.code, said.out) == (2, ""), said
    assert 'namespaces "nowhere" not found' in said.err


async def test_an_api_server_that_does_not_answer_is_its_own_exit_code(plane: Plane, phasegate: Phasegate, tmp_path: Path) -> None:
    elsewhere = kubeconfig(plane.users["author"], tmp_path / "kubeconfig", server="https://127.0.0.1:1")
    said = await phasegate("simulate", "-", "-n", "default", kubeconfig=elsewhere, stdin=text(workflow("w", tell())))
    assert (said.code, "no answer" in said.err) == (3, True), said


@pytest.mark.parametrize(
    ("written", "message"),
    [
        (text(asked(name="a"), asked(name="b")), "holds 2 workflows; simulate takes one at a time"),
        ("kind: Namespace\napiVersion: v1\n", "is no workflowexecution.kubernaut.ai/v1alpha1"),
        ("{", "cannot read"),
    ],
)
def test_a_file_that_holds_no_workflow_or_more_than_one_is_wrong_input(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], written: str, message: str
) -> None:
    file = tmp_path / "w.yaml"
    file.write_text(written)
    assert main(["simulate", str(file)]) == Exit.USAGE
    said = capsys.readouterr()
    assert (said.out, message in said.err) == ("", True), said.err
