"""The thing that is measured: a control plane of its own, one controller on it, and what every part does to them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.counters import api_requests, cpu_seconds, opa_questions
from controller.cluster.client import Cluster, connect
from controller.cluster.errors import NotFoundError
from controller.cluster.kinds import CONFIG_MAP, kind_of
from controller.local import plane as local
from controller.local.api import Api
from controller.local.folder import Folder
from controller.local.programs import provide
from controller.settings import SETTINGS_CONFIG_MAP, SYSTEM_NAMESPACE, Settings

Figures = dict[str, Any]

# What differs from the defaults: no limiter, no minute of stability, and no approval for 500 steps.
_SETTINGS = {"kubernetes-qps": "0", "monitoring-stability": "0s", "complexity-approval-threshold": "500"}
_PATIENCE = 120.0
_STILL = 1.5


@dataclass(frozen=True, slots=True)
class Cost:
    """What was used up to a moment; the difference of two is what was used between them."""

    requests: int
    writes: int
    questions: int
    cpu: float

    def __sub__(self, before: Cost) -> Cost:
        """What was used since."""
        return Cost(self.requests - before.requests, self.writes - before.writes, self.questions - before.questions, self.cpu - before.cpu)


class Rig:
    """The control plane, the controller under test and a client for the load."""

    def __init__(self, plane: local.Plane, cluster: Cluster, api: Api, process: subprocess.Popen[bytes]) -> None:
        self.cluster = cluster
        self.api = api
        self.opa = Api(plane.opa)
        self.metrics = Api(f"http://{plane.metrics}")
        self.pid = process.pid
        self._process = process
        self.opa_pid = plane.pids["opa"]
        self._namespaces = 0

    def expect_controller(self) -> None:
        """Raise RuntimeError if the controller has ended."""
        if (code := self._process.poll()) is not None:
            raise RuntimeError(f"the controller has ended with {code}")

    async def namespace(self, purpose: str) -> str:
        """A new namespace, once the controller-manager has done with it: what it writes there would be counted."""
        self._namespaces += 1
        name = f"{purpose}-{self._namespaces}"
        kind = kind_of("v1", "Namespace")
        assert kind is not None
        await self.cluster.create(kind, None, {"metadata": {"name": name}})

        async def is_filled() -> bool:
            try:
                await self.cluster.get(CONFIG_MAP, name, "kube-root-ca.crt")
            except NotFoundError:
                return False
            return True

        deadline = time.monotonic() + _PATIENCE
        while not await is_filled():
            _expect_before(deadline, f"namespace {name} gets its kube-root-ca.crt")
            await asyncio.sleep(0.05)
        return name

    def cost(self) -> Cost:
        """What the controller has used so far, facts left out."""
        requests = api_requests(self.api)
        return Cost(requests.without_facts, requests.writes, opa_questions(self.opa), cpu_seconds(self.pid))

    def revision(self) -> str:
        """The policy set by which OPA decides at this moment; asking is a question to a gate."""
        answer = self.opa.post("/v1/data/kubernaut/gates/planning/verdict?provenance=true", {"input": {}}).document
        return str(answer["provenance"]["bundles"]["kubernaut"]["revision"])

    async def settled(self) -> None:
        """Wait until nothing is asked of the API server any more: the controller tells every policy ConfigMap once that it is active."""
        deadline, before = time.monotonic() + _PATIENCE, -1
        while (now := api_requests(self.api, events=True).total) != before:
            _expect_before(deadline, "the controller comes to rest")
            before = now
            await asyncio.sleep(_STILL)

    async def configure(self, **settings: str) -> None:
        """Write settings (underscores for dashes) and wait until they are in force."""
        wanted = {key.replace("_", "-"): value for key, value in settings.items()}
        await _write_settings(self.cluster, wanted)

        def is_in_force() -> bool:
            found = self.opa.post("/v1/data/kubernaut/settings", {}).document.get("result", {})
            return all(str(found.get(key)) == value for key, value in wanted.items())

        # The client's limiter follows the set that is served, which is before OPA has it.
        await eventually(is_in_force, f"the settings {wanted} are in force")
        await self.settled()


async def eventually(holds: Callable[[], bool], what: str) -> None:
    """Look until it holds.

    Raises:
        RuntimeError: it did not in two minutes.
    """
    deadline = time.monotonic() + _PATIENCE
    while not holds():
        _expect_before(deadline, what)
        await asyncio.sleep(0.05)


def _expect_before(deadline: float, what: str) -> None:
    if time.monotonic() > deadline:
        raise RuntimeError(f"waited in vain for {_PATIENCE:g} s until {what}")


async def _write_settings(cluster: Cluster, settings: Mapping[str, str]) -> None:
    await cluster.patch(CONFIG_MAP, SYSTEM_NAMESPACE, SETTINGS_CONFIG_MAP, {"data": dict(settings)})


@contextlib.asynccontextmanager
async def rig(log: Path) -> AsyncIterator[Rig]:
    """A control plane with one controller, both ended at the end; ``log`` is where the controller's lines go."""
    with tempfile.TemporaryDirectory(prefix="phasegate-bench-") as name:
        state = Path(name) / "state"
        try:
            plane = local.up(state, controller=False)
            folder = Folder(plane.state)
            record = folder.read()
            assert record is not None
            async with await connect(plane.kubeconfig) as cluster:
                await _write_settings(cluster, _SETTINGS)
                with _controller(plane, folder.audit, log) as process:
                    yield Rig(plane, cluster, Api(plane.server, record.tokens["admin"], folder.authority), process)
        finally:
            local.down(state, purge=True)


@contextlib.contextmanager
def _controller(plane: local.Plane, audit: Path, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "controller", "run", f"--kubeconfig={plane.controller_kubeconfig}", f"--opa={plane.opa}"]
    command += [f"--opa-binary={provide('opa')['opa']}", f"--bundle-addr={plane.bundle}", f"--health-addr={plane.health}"]
    command += [f"--metrics-addr={plane.metrics}", "--metrics-open", f"--audit-dir={audit}"]
    # A setting in the environment would win over ours.
    environment = {name: value for name, value in os.environ.items() if name.lower() not in Settings.model_fields}
    with log.open("wb") as lines:
        process = subprocess.Popen(command, stdout=lines, stderr=lines, env=environment)
    try:
        deadline = time.monotonic() + _PATIENCE
        while Api(f"http://{plane.health}").get("/readyz").status != 200:
            _expect_before(deadline, f"the controller is ready; see {log}")
            if process.poll() is not None:
                raise RuntimeError(f"the controller ended instead of starting; see {log}")
            time.sleep(0.05)
        yield process
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
