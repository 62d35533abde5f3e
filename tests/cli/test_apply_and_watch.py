"""`phasegate apply` and `phasegate watch`: from a file to the end of a workflow, in a pipe."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml
from support.commands import Phasegate, Said, ended
from support.faults import FaultProxy, Seen
from support.planes import kubeconfig
from support.workflows import World, chain, doomed, phase, tell, waiting, workflow

from controller.cli import main
from controller.cli._exits import Exit
from controller.cluster.kinds import WORKFLOW


async def test_a_file_becomes_a_workflow_and_watching_it_tells_every_change_on_a_line_of_its_own(
    world: World, phasegate: Phasegate, tmp_path: Path
) -> None:
    file = tmp_path / "w.yaml"
    file.write_text(yaml.safe_dump(workflow("w", *chain(tell(1), tell(2)))))
    applied = await phasegate("apply", str(file), "-n", world.namespace)
    assert (applied.code, applied.out) == (
        0,
        f"workflow {world.namespace}/w created; follow it: phasegate watch w -n {world.namespace}\n",
    )
    watched = await phasegate("watch", "w", "-n", world.namespace, user="viewer")
    assert (watched.code, watched.err) == (0, ""), watched
    lines = watched.out.splitlines()
    assert any(line.endswith("◆ completed") for line in lines)
    assert [line.split()[-1] for line in lines if " s2 " in line][-1] == "completed"
    assert lines[-1].endswith("2 of 2 steps completed, outcome success")


async def test_watching_a_workflow_that_fails_says_why_and_ends_with_one(world: World, phasegate: Phasegate) -> None:
    await world.create(workflow("w", tell(1), doomed(2), executionStrategy={"rollbackStrategy": "none"}))
    said = await phasegate("watch", "w", "-n", world.namespace, "--output", "json")
    assert said.code == 1, said
    told = [json.loads(line) for line in said.out.splitlines()]
    assert {"failed", "reason: postcondition_failed"} <= {line["text"] for line in told}
    assert any(line["step"] == 2 for line in told)


async def test_watching_ends_when_the_workflow_is_deleted(world: World, phasegate: Phasegate) -> None:
    await world.create(workflow("w", waiting(1, timeout="1m")))
    await world.until(WORKFLOW, "w", lambda w: phase(w) == "executing")
    watching = await phasegate.begin("watch", "w", "-n", world.namespace)
    assert watching.stdout is not None
    assert "executing" in (await watching.stdout.readline()).decode()
    await world.cluster.delete(WORKFLOW, world.namespace, "w")
    said = await ended(watching)
    assert (said.code, said.err) == (1, f"phasegate: workflow {world.namespace}/w was deleted\n"), said


async def watched(world: World, phasegate: Phasegate, folder: Path, *answers: int) -> Said:
    """What `phasegate watch` says if, once it has found the workflow, the API server answers like that before it answers as it should."""
    await world.create(workflow("w", tell()))
    left = iter(answers)

    async def stumble(_: Seen) -> int | None:
        return next(left, None)

    async with FaultProxy(phasegate.plane.server, re.compile(r"^GET .*/workflowexecutions$"), meddler=stumble) as proxy:
        through = kubeconfig(phasegate.plane.users["viewer"], folder / "kubeconfig", server=proxy.url)
        return await phasegate("watch", "w", "-n", world.namespace, kubeconfig=through)


async def test_an_api_server_that_goes_away_at_once_and_refuses_everything_as_it_comes_back_is_waited_for(
    world: World, phasegate: Phasegate, tmp_path: Path
) -> None:
    said = await watched(world, phasegate, tmp_path, 503, 403, 403)
    assert (said.code, said.err) == (0, ""), said


async def test_who_may_not_watch_is_told_so_at_once(world: World, phasegate: Phasegate, tmp_path: Path) -> None:
    said = await watched(world, phasegate, tmp_path, 403)
    assert said.code == 1, said
    assert said.err.startswith(f"phasegate: you may not watch workflow {world.namespace}/w: the API server says: ")
    assert said.err.endswith(f"ask for the role workflow-viewer in namespace {world.namespace}\n")


async def test_watching_gives_up_when_it_is_told_to(world: World, phasegate: Phasegate) -> None:
    await world.create(workflow("w", waiting(1, timeout="1m")))
    said = await phasegate("watch", "w", "-n", world.namespace, "--timeout", "500ms")
    assert said.code == 1, said
    assert "has not ended within" in said.err


async def test_applying_the_same_again_reports_how_far_it_is_and_changes_nothing(world: World, phasegate: Phasegate) -> None:
    text = yaml.safe_dump(workflow("w", tell()))
    await phasegate("apply", "-", "-n", world.namespace, stdin=text)
    before = await world.ended("w")
    said = await phasegate("apply", "-", "-n", world.namespace, "-o", "json", stdin=text)
    assert said.code == 0, said
    (answer,) = json.loads(said.out)
    assert (answer["result"], answer["phase"]) == ("unchanged", "completed")
    assert await world.read(WORKFLOW, "w") == before


async def test_another_spec_under_the_same_name_is_refused_with_the_sentence_of_the_api_server(world: World, phasegate: Phasegate) -> None:
    await phasegate("apply", "-", "-n", world.namespace, stdin=yaml.safe_dump(workflow("w", tell())))
    said = await phasegate("apply", "-", "-n", world.namespace, stdin=yaml.safe_dump(workflow("w", tell(), doomed(2))))
    assert said.code == 1, said
    assert f"cannot apply workflow {world.namespace}/w: the API server says:" in said.err


async def test_who_may_only_look_is_told_which_role_it_takes_to_apply(world: World, phasegate: Phasegate) -> None:
    said = await phasegate("apply", "-", "-n", world.namespace, user="viewer", stdin=yaml.safe_dump(workflow("w", tell())))
    assert said.code == 1, said
    assert f"ask for the role workflow-author in namespace {world.namespace}" in said.err


@pytest.mark.parametrize("output", ["text", "json"])
async def test_what_was_applied_before_a_refusal_is_told(world: World, phasegate: Phasegate, output: str) -> None:
    text = yaml.safe_dump_all([workflow("first", tell()), {**workflow("second", tell()), "spec": {}}, workflow("third", tell())])
    said = await phasegate("apply", "-", "-n", world.namespace, "-o", output, stdin=text)
    assert said.code == 2, said
    assert f"workflow {world.namespace}/second is not valid" in said.err
    if output == "json":
        assert [(answer["workflow"], answer["result"]) for answer in json.loads(said.out)] == [("first", "created")]
    else:
        assert said.out == f"workflow {world.namespace}/first created; follow it: phasegate watch first -n {world.namespace}\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no object"),
        ("{", "cannot read"),
        ("kind: Namespace\napiVersion: v1\nmetadata: {name: x}\n", "v1 Namespace is no workflowexecution.kubernaut.ai/v1alpha1"),
        ("- a list\n", "list is no workflowexecution.kubernaut.ai/v1alpha1"),
        (yaml.safe_dump(workflow("w", tell())), "names no namespace; give one with -n"),
    ],
)
def test_a_file_that_holds_no_workflow_is_wrong_input(tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, message: str) -> None:
    file = tmp_path / "w.yaml"
    file.write_text(text)
    assert main(["apply", str(file)]) == Exit.USAGE
    said = capsys.readouterr()
    assert (said.out, message in said.err) == ("", True), said.err


def test_a_file_that_is_not_there_is_wrong_input(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["apply", "nowhere.yaml", "-n", "default"]) == Exit.USAGE
    assert "cannot read nowhere.yaml" in capsys.readouterr().err


@pytest.mark.parametrize(("more", "message"), [({"spec": {}}, "is not valid: the API server says"), ({"spek": 1}, 'unknown field "spek"')])
async def test_a_workflow_that_the_api_server_does_not_take_is_wrong_input(
    phasegate: Phasegate, more: dict[str, object], message: str
) -> None:
    said = await phasegate("apply", "-", "-n", "default", stdin=yaml.safe_dump({**workflow("w", tell()), **more}))
    assert (said.code, said.out) == (2, ""), said
    assert message in said.err
