"""What others do between two requests of a step, and what the API server refuses in the middle: nothing of theirs is taken for ours."""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from support.faults import FaultProxy, Seen
from support.forking import ForkServer
from support.planes import kubeconfig
from support.workflows import CONFIG, NAMESPACE, World, chain, config_map, doomed, phase, states, told, workflow, write

from controller.cluster.client import Cluster
from controller.cluster.kinds import EXECUTION
from controller.local.plane import Plane

Document = dict[str, Any]
ONCE = {"dryRunFirst": False}


@dataclass(slots=True)
class Stage:
    """A namespace with a controller at work behind a proxy."""

    world: World
    proxy: FaultProxy
    done: list[str] = field(default_factory=list)

    async def settings(self) -> Document:
        found: Document = (await self.world.read(*CONFIG))["data"]
        return found

    async def attempt(self, name: str) -> Document:
        found: Document = (await self.world.read(EXECUTION, name))["status"]
        return found


@pytest.fixture
async def stage(plane: Plane, forks: ForkServer, as_admin: Cluster, tmp_path: Path) -> AsyncIterator[Stage]:
    namespace = f"meddle-{secrets.token_hex(4)}"
    await as_admin.create(NAMESPACE, None, {"metadata": {"name": namespace}})
    async with FaultProxy(plane.server, re.compile(rf"/namespaces/{namespace}/(?!events)")) as proxy:
        pid = forks.start(kubeconfig(plane.controller_kubeconfig, tmp_path / "proxied.yaml", server=proxy.url))
        try:
            yield Stage(World(as_admin, namespace), proxy)
        finally:
            await asyncio.to_thread(forks.kill, pid)
    await as_admin.delete(NAMESPACE, None, namespace)


def is_sent(seen: Seen, *, dry: bool = False) -> bool:
    return (seen.method, seen.path.rpartition("/")[2], seen.dry_run) == ("PATCH", "settings", dry)


async def test_what_somebody_else_did_just_before_is_not_taken_for_ours_and_never_undone(stage: Stage) -> None:
    async def meddle(seen: Seen) -> None:
        if is_sent(seen) and not stage.done:
            stage.done.append(seen.path)
            await stage.world.patch(*CONFIG, {"data": {"key": "new"}})

    stage.proxy.meddler = meddle
    await stage.world.create(config_map())
    found = await stage.world.run(workflow("w", *chain(write(1, "new"), doomed(2)), executionStrategy=ONCE))
    assert stage.done
    assert phase(found) == "rolled_back", told(found)
    assert (await stage.settings())["key"] == "new"


async def test_a_step_that_was_refused_every_time_leaves_nothing_to_take_back(stage: Stage) -> None:
    async def meddle(seen: Seen) -> None:
        if is_sent(seen):
            stage.done.append(seen.path)
            await stage.world.patch(*CONFIG, {"data": {"other": str(len(stage.done))}})

    stage.proxy.meddler = meddle
    await stage.world.create(config_map(), config_map("first"))
    found = await stage.world.run(workflow("w", *chain(write(1, "new", name="first"), write(2, "new")), executionStrategy=ONCE))
    assert (phase(found), states(found)) == ("rolled_back", ["rolled_back", "failed"]), told(found)
    assert found["status"]["errorType"] == "resource_conflict"
    assert len(stage.done) == 3
    results = (await stage.attempt("w-step-2"))["executionResults"]
    assert "operations" not in results
    assert await stage.settings() == {"key": "old", "other": "3"}


async def test_a_target_that_is_already_as_wanted_when_it_is_rehearsed_is_no_fault(stage: Stage) -> None:
    async def meddle(seen: Seen) -> None:
        if is_sent(seen, dry=True) and not stage.done:
            stage.done.append(seen.path)
            await stage.world.patch(*CONFIG, {"data": {"key": "new"}})

    stage.proxy.meddler = meddle
    await stage.world.create(config_map())
    found = await stage.world.run(workflow("w", write(1, "new"), executionStrategy=ONCE))
    assert stage.done
    assert phase(found) == "completed", told(found)


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_an_api_server_that_stumbles_while_validating_fails_no_workflow(stage: Stage, status: int) -> None:
    async def meddle(seen: Seen) -> int | None:
        if is_sent(seen, dry=True) and not stage.done:
            stage.done.append(seen.path)
            return status
        return None

    stage.proxy.meddler = meddle
    await stage.world.create(config_map())
    found = await stage.world.run(workflow("w", write(1, "new")))
    assert stage.done
    assert phase(found) == "completed", told(found)


@pytest.mark.parametrize("cancelled", [False, True])
async def test_an_attempt_whose_time_is_over_or_that_is_cancelled_sends_nothing_any_more(stage: Stage, *, cancelled: bool) -> None:
    async def meddle(seen: Seen) -> int | None:
        return 500 if is_sent(seen) else None

    stage.proxy.meddler = meddle
    await stage.world.create(config_map())
    limit = {} if cancelled else {"timeout": "1s"}
    await stage.world.create(workflow("w", write(1, "new", **limit), executionStrategy=ONCE))
    if cancelled:
        await stage.world.until(EXECUTION, "w-step-1", lambda found: phase(found) == "executing")
        await stage.world.patch(EXECUTION, "w-step-1", {"metadata": {"annotations": {"kubernaut.ai/cancel": "enough"}}})
    ended = await stage.world.until(EXECUTION, "w-step-1", lambda found: phase(found).lower() == "failed", seconds=15)
    stage.proxy.meddler = None
    assert ended["status"]["executionResults"]["failureReason"] == ("cancelled" if cancelled else "timeout")
    await stage.world.ended("w")
    assert (await stage.settings())["key"] == "old"


async def test_an_attempt_that_the_api_server_never_accepts_is_put_to_the_failure_gate(stage: Stage) -> None:
    async def meddle(seen: Seen) -> int | None:
        if (seen.method, seen.path.rpartition("/")[2]) != ("POST", "kubernetesexecutions"):
            return None
        stage.done.append(seen.path)
        return 422 if len(stage.done) == 2 else None

    stage.proxy.meddler = meddle
    await stage.world.create(config_map())
    found = await stage.world.run(workflow("w", *chain(write(1, "new"), write(2, "newer")), executionStrategy=ONCE))
    assert (phase(found), states(found)) == ("rolled_back", ["rolled_back", "failed"]), told(found)
    assert (found["status"]["failureReason"], found["status"]["failedStep"]) == ("step_creation_failed", 2)
    assert (await stage.settings())["key"] == "old"
    assert await stage.world.told("w", "StepFailed")
