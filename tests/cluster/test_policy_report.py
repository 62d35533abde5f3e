"""What becomes of a policy ConfigMap is said on it, in the real cluster."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from controller import paths
from controller.cluster.client import Cluster
from controller.cluster.events import EventRecorder
from controller.cluster.informer import Informer
from controller.cluster.kinds import CONFIG_MAP, EVENT
from controller.policy.check import Checker
from controller.policy.loader import PolicyLoader
from controller.policy.report import PolicyReporter
from controller.policy.serve import BundleServer
from controller.policy.sources import read_shipped

SYSTEM = "kubernaut-system"
GOOD = "package kubernaut.rules.dispatch.team_a\n\nlimit contains 1\n"
BAD = "package kubernaut.rules.dispatch.team_a\n\nlimit contains x\n"


def config_map(text: str) -> dict[str, Any]:
    return {"metadata": {"name": "team-a", "labels": {"kubernaut.ai/policy": "rego"}}, "data": {"limit.rego": text}}


async def status_of(cluster: Cluster, state: str) -> dict[str, Any]:
    async with asyncio.timeout(15):
        while True:
            annotations = (await cluster.get(CONFIG_MAP, SYSTEM, "team-a"))["metadata"].get("annotations", {})
            status: dict[str, Any] = json.loads(annotations.get("kubernaut.ai/policy-status", "{}"))
            if status.get("state") == state:
                return status
            await asyncio.sleep(0.02)


async def test_a_policy_is_annotated_accepted_then_active_then_rejected_and_told_by_events_once(as_admin: Cluster, opa: Path) -> None:
    informer = Informer(as_admin, CONFIG_MAP, [SYSTEM])
    recorder = EventRecorder(as_admin, "workflow-controller")
    reporter = PolicyReporter(as_admin, informer, recorder)
    server = BundleServer()
    loader = PolicyLoader(read_shipped(paths.POLICIES), informer, Checker(opa), server, environ={}, reporter=reporter)
    tasks = [asyncio.create_task(work) for work in (informer.run(), recorder.run(), loader.run())]

    await as_admin.create(CONFIG_MAP, SYSTEM, config_map(GOOD))
    # Nobody is told "active" before OPA has said that it decides by it.
    await status_of(as_admin, "accepted")
    assert server.observer is not None
    server.observer(loader.revision or "", [])
    active = await status_of(as_admin, "active")
    assert active["revision"] == loader.revision
    assert active["errors"] == []

    await as_admin.patch(CONFIG_MAP, SYSTEM, "team-a", config_map(BAD))
    rejected = await status_of(as_admin, "rejected")
    assert rejected["errors"] == [
        {"file": "limit.rego", "line": 3, "column": 16, "message": "var x is unsafe", "remedy": ""},
    ]
    assert loader.revision == active["revision"]

    before = (await as_admin.get(CONFIG_MAP, SYSTEM, "team-a"))["metadata"]["resourceVersion"]
    await loader.load()  # nothing new: nothing is written
    assert (await as_admin.get(CONFIG_MAP, SYSTEM, "team-a"))["metadata"]["resourceVersion"] == before
    await recorder.drain(5)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    told = await as_admin.list(EVENT, SYSTEM, field_selector="involvedObject.name=team-a")
    assert sorted((event["reason"], event["count"]) for event in told.items) == [("PolicyActivated", 1), ("PolicyRejected", 1)]
