"""An OPA that follows a bundle server, and ConfigMaps without an API server."""

from __future__ import annotations

import asyncio
import json
import socket
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from controller.cluster.client import Cluster, Configuration
from controller.cluster.informer import Informer
from controller.cluster.kinds import CONFIG_MAP
from controller.policy.serve import BundleServer


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


class Opa:
    """One OPA server that polls a bundle server."""

    def __init__(self, program: Path, folder: Path, bundle_port: int) -> None:
        self.port = free_port()
        self._program = program
        self._config = folder / f"opa-{self.port}.yaml"
        polling = {"min_delay_seconds": 0, "max_delay_seconds": 1, "long_polling_timeout_seconds": 10}
        config = {
            "services": {"phasegate": {"url": f"http://127.0.0.1:{bundle_port}"}},
            "bundles": {"kubernaut": {"service": "phasegate", "resource": "bundles/kubernaut.tar.gz", "polling": polling}},
            "status": {"service": "phasegate"},
        }
        self._config.write_text(json.dumps(config))
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        self._process = await asyncio.create_subprocess_exec(
            *(self._program, "run", "--server", "--addr", f"127.0.0.1:{self.port}", "-c", self._config, "--log-level", "error"),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )

    async def kill(self) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()

    async def verdict(self) -> tuple[str | None, Any]:
        """Revision and verdict of the gate `dispatch`; None while OPA has no set or is not there."""

        def ask() -> tuple[str | None, Any]:
            url = f"http://127.0.0.1:{self.port}/v1/data/kubernaut/gates/dispatch/verdict?provenance=true"
            try:
                with urllib.request.urlopen(url, b"{}", timeout=2) as answer:
                    document = json.load(answer)
            except OSError:
                return None, None
            bundle = document.get("provenance", {}).get("bundles", {}).get("kubernaut", {})
            return bundle.get("revision"), document.get("result")

        return await asyncio.to_thread(ask)

    async def reaches(self, revision: str | None, seconds: float = 15) -> Any:
        async with asyncio.timeout(seconds):
            while True:
                have, verdict = await self.verdict()
                if have == revision and verdict is not None:
                    return verdict
                await asyncio.sleep(0.01)


@asynccontextmanager
async def serving(opa: Path, folder: Path) -> AsyncIterator[tuple[BundleServer, Opa, list[tuple[str, list[str]]]]]:
    told: list[tuple[str, list[str]]] = []
    server = BundleServer(lambda revision, problems: told.append((revision, problems)))
    port = free_port()
    await server.start(f"127.0.0.1:{port}")
    sidecar = Opa(opa, folder, port)
    try:
        yield server, sidecar, told
    finally:
        await sidecar.kill()
        await server.stop()


class Folder:
    """The ConfigMaps of kubernaut-system, in an informer's cache."""

    def __init__(self) -> None:
        self.informer = Informer(Cluster(Configuration(host="http://127.0.0.1:1")), CONFIG_MAP)
        self._version = 0

    def apply(self, name: str, *, policy: bool = True, **data: str) -> None:
        self._version += 1
        metadata = {"name": name, "namespace": "kubernaut-system", "uid": f"uid-{name}-{self._version}"}
        labels = {"kubernaut.ai/policy": "rego"} if policy else {}
        self.informer.put(
            {
                "metadata": {
                    **metadata,
                    "resourceVersion": str(self._version),
                    "creationTimestamp": "2026-01-01T00:00:00Z",
                    "labels": labels,
                },
                "data": {key.replace("__", ".").replace("0", "-"): text for key, text in data.items()},
            }
        )

    def delete(self, name: str) -> None:
        self._version += 1
        obj = self.informer.get("kubernaut-system", name)
        assert obj is not None
        self.informer._cache.remove({"metadata": {**obj["metadata"], "resourceVersion": str(self._version)}})
