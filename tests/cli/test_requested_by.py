"""`phasegate apply` puts on record who asks for a workflow."""

from __future__ import annotations

import json

from support.commands import Phasegate, Said
from support.workflows import World, tell, workflow

from controller.cluster.kinds import WORKFLOW


async def apply(world: World, phasegate: Phasegate, user: str, **spec: str) -> Said:
    return await phasegate("apply", "-", "-n", world.namespace, "-o", "json", user=user, stdin=json.dumps(workflow("w", tell(), **spec)))


async def requester(world: World) -> str:
    name: str = (await world.read(WORKFLOW, "w"))["spec"]["requestedBy"]
    return name


async def test_who_applies_a_workflow_is_its_requester_and_stays_so_whoever_applies_it_again(world: World, phasegate: Phasegate) -> None:
    first = await apply(world, phasegate, "author")
    assert first.code == 0, first
    assert await requester(world) == "author"
    again = await apply(world, phasegate, "admin")
    assert again.code == 0, again
    assert json.loads(again.out)[0]["result"] == "unchanged"
    assert await requester(world) == "author"


async def test_a_file_may_name_who_applies_it_and_nobody_else(world: World, phasegate: Phasegate) -> None:
    said = await apply(world, phasegate, "author", requestedBy="admin")
    assert (said.code, said.out) == (2, ""), said
    assert "spec.requestedBy is admin, but you are author" in said.err
    said = await apply(world, phasegate, "author", requestedBy="author")
    assert said.code == 0, said
    assert await requester(world) == "author"
