"""What becomes of a policy ConfigMap is said on it, in the real cluster."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from controller import paths
from controller.cluster.client import Cluster
from controller.cluster.events import EventRecorder
from controller.cluster.informer import Informer
from controller.cluster.kinds import CONFIG_MAP, EVENT
from controller.policy import loader as loading
from controller.policy.check import Checker
from controller.policy.loader import PolicyLoader
from controller.policy.report import PolicyReporter
from controller.policy.serve import BundleServer
from controller.policy.sources import read_shipped

SYSTEM = "kubernaut-system"


def config_map(name: str, limit: str) -> dict[str, Any]:
    text = f"package kubernaut.rules.dispatch.{name.replace('-', '_')}\n\nlimit contains {limit}\n"
    return {"metadata": {"name": name, "labels": {"kubernaut.ai/policy": "rego"}}, "data": {"limit.rego": text}}


@dataclass(frozen=True, slots=True)
class Told:
    """What a loader tells about the ConfigMaps of these names; the test is its OPA."""

    cluster: Cluster
    loader: PolicyLoader
    server: BundleServer
    recorder: EventRecorder
    names: tuple[str, ...]

    def activate(self) -> None:
        assert self.server.observer is not None
        self.server.observer(self.loader.revision or "", [])

    async def until(self, name: str, state: str, *, other_than: str = "") -> dict[str, Any]:
        """Wait for a state, of another digest than this; answers the status."""
        async with asyncio.timeout(15):
            while True:
                annotations = (await self.cluster.get(CONFIG_MAP, SYSTEM, name))["metadata"].get("annotations", {})
                status: dict[str, Any] = json.loads(annotations.get("kubernaut.ai/policy-status", "{}"))
                if status.get("state") == state and status["digest"] != other_than:
                    return status
                await asyncio.sleep(0.02)

    async def version(self, name: str) -> str:
        return str((await self.cluster.get(CONFIG_MAP, SYSTEM, name))["metadata"]["resourceVersion"])

    async def events(self, name: str) -> list[tuple[str, int]]:
        await self.recorder.drain(5)
        told = await self.cluster.list(EVENT, SYSTEM, field_selector=f"involvedObject.name={name}")
        return sorted((event["reason"], event["count"]) for event in told.items)


@asynccontextmanager
async def telling(cluster: Cluster, opa: Path, *names: str) -> AsyncIterator[Told]:
    """A loader that works on ConfigMaps of these names, which all start out good."""
    informer = Informer(cluster, CONFIG_MAP, [SYSTEM])
    recorder = EventRecorder(cluster, "workflow-controller")
    server = BundleServer()
    reporter = PolicyReporter(cluster, informer, recorder)
    loader = PolicyLoader(read_shipped(paths.POLICIES), informer, Checker(opa), server, environ={}, reporter=reporter)
    for name in names:
        await cluster.create(CONFIG_MAP, SYSTEM, config_map(name, "1"))
    tasks = [asyncio.create_task(work) for work in (informer.run(), recorder.run(), loader.run())]
    try:
        yield Told(cluster, loader, server, recorder, names)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for name in names:
            await cluster.delete(CONFIG_MAP, SYSTEM, name)


async def test_a_policy_is_annotated_accepted_then_active_then_rejected_and_told_by_events_once(as_admin: Cluster, opa: Path) -> None:
    async with telling(as_admin, opa, "team-a") as told:
        # Nobody is told "active" before OPA has said that it decides by it.
        await told.until("team-a", "accepted")
        told.activate()
        active = await told.until("team-a", "active")
        assert active["revision"] == told.loader.revision
        assert active["errors"] == []

        await as_admin.patch(CONFIG_MAP, SYSTEM, "team-a", config_map("team-a", "x"))
        rejected = await told.until("team-a", "rejected")
        assert rejected["errors"] == [
            {"file": "limit.rego", "line": 3, "column": 16, "message": "var x is unsafe", "remedy": ""},
        ]
        assert told.loader.revision == active["revision"]

        before = await told.version("team-a")
        await told.loader.load()  # nothing new: nothing is written
        assert await told.version("team-a") == before
        assert await told.events("team-a") == [("PolicyActivated", 1), ("PolicyRejected", 1)]


async def test_while_opa_is_late_nothing_is_said_of_what_did_not_change(
    as_admin: Cluster, opa: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "_ACTIVATION_PATIENCE", 0.2)
    async with telling(as_admin, opa, "team-b", "team-c", "team-d") as told:
        await told.until("team-d", "accepted")
        told.activate()
        first = {name: await told.until(name, "active") for name in told.names}
        before = {name: await told.version(name) for name in told.names}

        await as_admin.patch(CONFIG_MAP, SYSTEM, "team-c", config_map("team-c", "2"))
        await told.until("team-c", "accepted")
        await asyncio.sleep(0.2)  # the report goes on to team-d
        told.activate()
        second = await told.until("team-c", "active", other_than=first["team-c"]["digest"])

        assert second["revision"] == told.loader.revision != first["team-c"]["revision"]
        unchanged = {name: version for name, version in before.items() if name != "team-c"}
        assert {name: await told.version(name) for name in unchanged} == unchanged
        assert [len(await told.events(name)) for name in told.names] == [1, 2, 1]
