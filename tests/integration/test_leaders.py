"""Two controllers on one control plane: one works, the other takes over, and whatever both believe, nothing is done twice."""

from __future__ import annotations

import asyncio
import json
import re
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from http import HTTPStatus
from itertools import pairwise
from os import kill
from pathlib import Path
from typing import Any

import pytest
from support.controller import ControllerProcess
from support.faults import FaultProxy, Seen
from support.history import watched
from support.metrics import total
from support.opa import Opa, free_port
from support.patience import until
from support.planes import kubeconfig
from support.workflows import FAST, SYSTEM, World, chain, config_map, phase, states, tell, told, workflow, write

from controller.cluster.client import Cluster
from controller.cluster.errors import NotFoundError
from controller.cluster.kinds import CONFIG_MAP, EXECUTION, LEASE, Kind
from controller.leadership import LEASES
from controller.local.api import Api
from controller.local.plane import Plane

Document = dict[str, Any]

ROLE = Kind("rbac.authorization.k8s.io/v1", "Role", "roles", namespaced=True)
QUICK = "--leader-elect-lease-duration=4"
BATCH = 12


@dataclass
class Pair:
    """Two controllers, each with an OPA of its own; none runs at first."""

    first: ControllerProcess
    second: ControllerProcess
    admin: Api

    @property
    def both(self) -> tuple[ControllerProcess, ControllerProcess]:
        return self.first, self.second

    def value(self, controller: ControllerProcess, metric: str) -> float:
        """The sum of all series of a metric."""
        return total(controller.plane, f"kubernaut_{metric}", token=self.admin.token)

    def leads(self, controller: ControllerProcess) -> bool:
        """Whether it says so."""
        return controller.is_running and self.value(controller, "leader") == 1

    async def start(self, *flags: str) -> None:
        """Start both, the first one first, so that it leads everything."""
        await asyncio.to_thread(self.first.start, *flags)
        await until(lambda: self.leads(self.first))
        await asyncio.to_thread(self.second.start, *flags)

    async def takes_over(self, controller: ControllerProcess, seconds: float = 20.0) -> None:
        await until(lambda: self.leads(controller), seconds, "the other one to lead")


@pytest.fixture
async def pair(plane: Plane, controller_process: ControllerProcess, opa: Path, tmp_path: Path, admin: Api) -> AsyncIterator[Pair]:
    controller_process.kill()
    bundle = free_port()
    sidecar = Opa(opa, tmp_path, bundle)
    ports = {"bundle": f"127.0.0.1:{bundle}", "health": f"127.0.0.1:{free_port()}", "metrics": f"127.0.0.1:{free_port()}"}
    beside = replace(plane, opa=f"http://127.0.0.1:{sidecar.port}", **ports)
    await sidecar.start()
    pair = Pair(ControllerProcess(plane, tmp_path / "first.log", FAST), ControllerProcess(beside, tmp_path / "second.log", FAST), admin)
    yield pair
    for controller in pair.both:
        controller.kill()
    await sidecar.kill()


@pytest.fixture
def world(as_admin: Cluster, namespace: str) -> World:
    return World(as_admin, namespace)


async def holder(cluster: Cluster, controller: str) -> str:
    return str((await cluster.get(LEASE, SYSTEM, LEASES[controller]))["spec"]["holderIdentity"])


@dataclass
class Batch:
    """Many workflows at once, and every creation of an attempt that was ever seen."""

    world: World
    created: list[str]

    async def begin(self) -> None:
        for n in range(BATCH):
            await self.world.create(config_map(f"settings-{n}"))
            steps = chain(tell(1), write(2, "new", name=f"settings-{n}"), tell(3))
            await self.world.create(workflow(f"w{n}", *steps))

    async def done_once(self) -> None:
        for n in range(BATCH):
            found = await self.world.ended(f"w{n}", seconds=60)
            assert (phase(found), states(found)) == ("completed", ["completed"] * 3), told(found)
            assert [entry["attempts"] for entry in found["status"]["stepStatuses"]] == [1, 1, 1]
        assert sorted(self.created) == sorted(f"w{n}-step-{m}" for n in range(BATCH) for m in (1, 2, 3))


@asynccontextmanager
async def batch(world: World) -> AsyncIterator[Batch]:
    created: list[str] = []

    def take(_: Kind, what: str, obj: Document) -> None:
        if what == "ADDED":
            created.append(obj["metadata"]["name"])

    async with watched(world.cluster, world.namespace, (EXECUTION,), take):
        yield Batch(world, created)


async def test_a_follower_is_ready_and_judges_nothing_and_takes_over_at_once_when_the_leader_leaves(pair: Pair, world: World) -> None:
    await pair.start()
    assert (pair.leads(pair.first), pair.leads(pair.second)) == (True, False)
    assert Api(f"http://{pair.second.plane.health}").get("/readyz").status == HTTPStatus.OK
    found = await world.run(workflow("w", tell(1)))
    assert phase(found) == "completed", told(found)
    assert pair.value(pair.first, "gate_decisions_total") > 0
    assert pair.value(pair.second, "gate_decisions_total") == 0

    assert await asyncio.to_thread(pair.first.stop) == 0
    assert pair.first.log.read_text().count('"lease_released"') == len(LEASES)
    # A Lease that is not given back lasts 15 seconds.
    await pair.takes_over(pair.second, 8)
    assert phase(await world.run(workflow("v", tell(1)))) == "completed"


async def test_a_leader_killed_in_the_middle_is_replaced_and_what_it_had_begun_is_finished_once(pair: Pair, world: World) -> None:
    await pair.start(QUICK)
    async with batch(world) as running:
        await running.begin()
        await until(lambda: len(running.created) > BATCH)
        pair.first.kill()
        await pair.takes_over(pair.second)
        await running.done_once()


async def test_a_leader_that_was_stopped_for_too_long_wakes_up_as_a_follower(pair: Pair, world: World) -> None:
    await pair.start(QUICK)
    assert pair.first.pid is not None
    async with batch(world) as running:
        await running.begin()
        await until(lambda: len(running.created) > BATCH)
        first = await holder(world.cluster, "workflow")
        kill(pair.first.pid, signal.SIGSTOP)
        try:
            # It lives, so its Leases are waited for to their end; one that is left would be its own again when it wakes up.
            for lease in LEASES.values():
                await world.within(SYSTEM).until(LEASE, lease, lambda found: found["spec"]["holderIdentity"] != first)
        finally:
            kill(pair.first.pid, signal.SIGCONT)
        await running.done_once()
    await until(lambda: not pair.leads(pair.first))
    assert pair.leads(pair.second)
    pair.first.wait_until_ready()


async def test_two_that_both_believe_they_lead_do_nothing_twice(pair: Pair, world: World) -> None:
    await pair.start("--no-leader-elect")
    assert pair.leads(pair.first)
    assert pair.leads(pair.second)
    async with batch(world) as running:
        await running.begin()
        await running.done_once()
    assert all(pair.value(controller, "gate_decisions_total") > 0 for controller in pair.both)


async def test_controllers_can_be_run_apart_each_with_its_lease(pair: Pair, world: World) -> None:
    await asyncio.to_thread(pair.first.start, QUICK, "--controllers=workflow")
    await asyncio.to_thread(pair.second.start, QUICK, "--controllers=execution,policy")
    await until(lambda: pair.leads(pair.first) and pair.leads(pair.second))
    async with batch(world) as running:
        await running.begin()
        await running.done_once()
    workflows, executions, policy = [await holder(world.cluster, name) for name in ("workflow", "execution", "policy")]
    assert workflows != executions == policy


async def test_a_leader_cut_off_from_the_api_server_is_replaced_and_follows_when_it_is_back(
    pair: Pair, world: World, tmp_path: Path
) -> None:
    away = False

    async def meddle(_: Seen) -> int | None:
        return 503 if away else None

    async with FaultProxy(pair.first.plane.server, re.compile(""), meddler=meddle) as proxy:
        through = kubeconfig(pair.first.plane.controller_kubeconfig, tmp_path / "through.yaml", server=proxy.url)
        await asyncio.to_thread(lambda: pair.first.start(QUICK, kubeconfig=through))
        await until(lambda: '"leading"' in pair.first.log.read_text())
        await asyncio.to_thread(pair.second.start, QUICK)
        async with batch(world) as running:
            await running.begin()
            await until(lambda: len(running.created) > BATCH)
            away = True
            await pair.takes_over(pair.second)
            await running.done_once()
        assert '"it was not renewed in time"' in pair.first.log.read_text()
        away = False
        await asyncio.to_thread(pair.first.wait_until_ready)
        # It is a candidate again: with the other one gone it leads.
        await asyncio.to_thread(pair.second.stop)
        assert phase(await world.run(workflow("v", tell(1)))) == "completed"


async def test_leases_that_are_deleted_change_nothing(pair: Pair, world: World) -> None:
    await pair.start(QUICK)
    async with batch(world) as running:
        await running.begin()
        for name in LEASES.values():
            await world.cluster.delete(LEASE, SYSTEM, name)
        await running.done_once()
    await until(lambda: pair.leads(pair.first) or pair.leads(pair.second))


async def test_without_the_right_to_leases_it_says_so_and_works_as_soon_as_it_has_it(
    controller_process: ControllerProcess, world: World
) -> None:
    role = await world.cluster.get(ROLE, SYSTEM, "workflow-controller")
    others = [rule for rule in role["rules"] if "leases" not in rule["resources"]]
    controller_process.kill()
    await world.cluster.patch(ROLE, SYSTEM, "workflow-controller", {"rules": others})
    health = Api(f"http://{controller_process.plane.health}")
    try:
        controller_process.start(wait=False)
        await until(lambda: not health.get("/readyz").document.get("checks", {}).get("leases", {}).get("ok", True))
        check = health.get("/readyz").document["checks"]["leases"]
        assert f"Lease {SYSTEM}/{LEASES['workflow']}: 403 Forbidden" in check["why"]
        assert "deploy/base" in check["remedy"]
        await until(lambda: health.get("/readyz").document["checks"]["policy"]["ok"], 60, "a policy set")
        assert health.get("/readyz").status == HTTPStatus.SERVICE_UNAVAILABLE
        assert '"lease_not_to_be_had"' in controller_process.log_tail()
    finally:
        await world.cluster.patch(ROLE, SYSTEM, "workflow-controller", {"rules": role["rules"]})
    await asyncio.to_thread(controller_process.wait_until_ready)
    assert phase(await world.run(workflow("w", tell(1)))) == "completed"


async def test_only_the_leader_writes_what_became_of_policies_and_the_next_one_repeats_nothing(pair: Pair, world: World) -> None:
    source = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "team-leaders", "namespace": SYSTEM, "labels": {"kubernaut.ai/policy": "rego"}},
        "data": {"rule.rego": 'package kubernaut.rules.dispatch.leaders\n\nwarn contains {"code": "seen", "message": "seen"} if false\n'},
    }
    system = world.within(SYSTEM)

    def state(found: Document) -> str:
        return str(json.loads((found["metadata"].get("annotations") or {}).get("kubernaut.ai/policy-status", "{}")).get("state", ""))

    await pair.start(QUICK)
    await system.create(source)
    try:
        told = await system.until(CONFIG_MAP, "team-leaders", lambda found: state(found) in {"active", "rejected"})
        assert state(told) == "active", told["metadata"]["annotations"]
        await asyncio.to_thread(pair.first.stop)
        await pair.takes_over(pair.second)
        await system.cluster.delete(CONFIG_MAP, SYSTEM, "team-leaders")
        history = await system.until(CONFIG_MAP, "kubernaut-policy-set", lambda found: "team-leaders" not in found["data"]["sources.json"])
        revisions = [entry["revision"] for entry in json.loads(history["data"]["history.json"])]
        assert all(one != other for one, other in pairwise(revisions))
        changes = [entry["changed"] for entry in json.loads(history["data"]["history.json"]) if "team-leaders" in entry["changed"]]
        assert len(changes) == 2, "it came, it went"
    finally:
        with suppress(NotFoundError):
            await system.cluster.delete(CONFIG_MAP, SYSTEM, "team-leaders")
