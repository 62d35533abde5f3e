"""The write protocol's proof: the controller killed at every request of a three-step run, and nothing is done twice or lost.

A proxy before the API server ends the controller at the n-th request, once before the request is forwarded and once after it is
committed but unanswered. It is started again, and end state, creations and the history of every object are compared with those of a
run that nobody disturbed. The first two steps write A → B and B → A into the same key: whoever repeats an old operation is seen.
"""

from __future__ import annotations

import asyncio
import itertools
import re
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from support.faults import FaultProxy, Moment
from support.forking import ForkServer
from support.history import watched
from support.patience import until
from support.planes import kubeconfig

from controller.cluster.client import Cluster, connect
from controller.cluster.kinds import CONFIG_MAP, EXECUTION, WORKFLOW, Kind, kind_of
from controller.local.plane import Plane

Document = dict[str, Any]
NAMESPACE = kind_of("v1", "Namespace")
assert NAMESPACE is not None


def update(number: int, name: str, value: str) -> Document:
    return {
        "stepNumber": number,
        "name": f"step-{number}",
        "action": "update-configmap",
        "parameters": {"updateConfigmap": {"name": name, "dataUpdates": {"key": value}}},
        "dependsOn": [number - 1] if number > 1 else [],
    }


WORKFLOW_OBJECT: Document = {
    "apiVersion": WORKFLOW.api_version,
    "kind": WORKFLOW.kind,
    "metadata": {"name": "w"},
    "spec": {
        "workflowDefinition": {"steps": [update(1, "settings-x", "b"), update(2, "settings-x", "a"), update(3, "settings-y", "b")]},
        "executionStrategy": {"dryRunFirst": False},
    },
}


@dataclass(slots=True)
class History:
    """What happened to the objects of one run, in order, by object."""

    created: list[str] = field(default_factory=list)
    values: dict[str, list[str]] = field(default_factory=dict)
    phase: str = ""
    attempts: list[int] = field(default_factory=list)

    def take(self, kind: Kind, what: str, obj: Document) -> None:
        name = obj["metadata"]["name"]
        if kind is CONFIG_MAP and name.startswith("settings-"):
            self.values.setdefault(name, []).append(obj["data"]["key"])
        elif kind is EXECUTION and what == "ADDED":
            self.created.append(name)
        elif kind is WORKFLOW:
            status = obj.get("status") or {}
            self.phase = status.get("phase", "")
            self.attempts = [e["attempts"] for e in status.get("stepStatuses") or []]

    def ended(self) -> bool:
        return self.phase in {"completed", "failed", "blocked", "rolled_back", "degraded"}


@asynccontextmanager
async def proxied(plane: Plane, folder: Path) -> AsyncIterator[tuple[FaultProxy, Path]]:
    """A proxy before the API server, and the controller's kubeconfig that leads through it."""
    async with FaultProxy(plane.server, re.compile(r"/namespaces/crash-[0-9a-f]+/(?!events)")) as proxy:
        yield proxy, kubeconfig(plane.controller_kubeconfig, folder / "proxied.yaml", server=proxy.url)


@dataclass(frozen=True, slots=True)
class Bench:
    """What every run needs."""

    cluster: Cluster
    forks: ForkServer
    proxy: FaultProxy
    kubeconfig: Path


async def one_run(bench: Bench, at: int, moment: Moment) -> tuple[History, int]:
    """Run the workflow in a namespace of its own, with one crash if there are so many requests; answers its history and their number."""
    cluster, forks, proxy, kubeconfig = bench.cluster, bench.forks, bench.proxy, bench.kubeconfig
    namespace = f"crash-{secrets.token_hex(4)}"
    await cluster.create(NAMESPACE, None, {"metadata": {"name": namespace}})
    for name in ("settings-x", "settings-y"):
        await cluster.create(CONFIG_MAP, namespace, {"metadata": {"name": name}, "data": {"key": "a"}})
    pids: list[int] = []
    proxy.arm(at, moment, lambda: forks.kill(pids.pop()))
    await cluster.create(WORKFLOW, namespace, WORKFLOW_OBJECT)
    history = History()
    async with watched(cluster, namespace, (WORKFLOW, EXECUTION, CONFIG_MAP), history.take) as caught_up:
        pids.append(forks.start(kubeconfig))
        try:
            await until(lambda: proxy.struck or history.ended(), 30, f"request {at} of a run, or its end")
            if proxy.struck:
                pids.append(forks.start(kubeconfig))
            await until(history.ended, 30, "the workflow's end")
            count = len(proxy.seen)
            # What a second controller would still do, it does now.
            await asyncio.sleep(0.05)
            await caught_up()
        finally:
            # A request that a killed controller has left on its way must not kill it a second time.
            proxy.disarm()
            while pids:
                forks.kill(pids.pop())
    await cluster.delete(NAMESPACE, None, namespace)
    return history, count


@pytest.mark.timeout(600)
async def test_a_controller_killed_at_any_request_does_nothing_twice_and_loses_nothing(
    plane: Plane, forks: ForkServer, tmp_path: Path
) -> None:
    cluster = await connect(plane.kubeconfig)
    async with cluster, proxied(plane, tmp_path) as (proxy, kubeconfig):
        bench = Bench(cluster, forks, proxy, kubeconfig)
        undisturbed, requests = await one_run(bench, -1, Moment.BEFORE)
        assert undisturbed.phase == "completed"
        assert undisturbed.values == {"settings-x": ["a", "b", "a"], "settings-y": ["a", "b"]}
        assert undisturbed.created == ["w-step-1", "w-step-2", "w-step-3"]
        assert requests >= 15, "five writes carry a step; fewer means that the proxy does not see them"
        different: list[str] = []
        # How many requests a run takes varies a little: all of them are had when no run comes so far any more.
        for at in itertools.count():
            struck = 0
            for moment in Moment:
                history, _ = await one_run(bench, at, moment)
                struck += proxy.struck
                if history != undisturbed:
                    killed = f"killed at {proxy.seen[at]}, {moment}" if proxy.struck else "not killed"
                    different.append(f"request {at}, {killed}: {history}")
            if not struck:
                break
        assert at > requests / 2, "the controller was not killed any more long before its last request"
    assert not different, "\n".join(different)
