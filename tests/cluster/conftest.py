"""A control plane whose API server may be stopped, and a small proxy before it that can go wrong on purpose."""

from __future__ import annotations

import asyncio
import json
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from support.planes import kubeconfig, plane_of_its_own, port_of

from controller.cluster.client import Cluster, connect
from controller.local.plane import Plane


@dataclass
class Proxy:
    """A TCP proxy that can refuse, cut, and go silent."""

    target: int
    port: int = 0
    silent: bool = False
    connections: int = 0
    _server: asyncio.Server | None = None
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Refuse new connections and cut the present ones."""
        if self._server is not None:
            self._server.close()
        self.cut()

    def cut(self) -> None:
        """Reset every present connection."""
        for writer in list(self._writers):
            writer.transport.abort()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.transport.abort()
            return
        self._writers |= {writer, up_writer}
        try:
            await asyncio.gather(self._pump(reader, up_writer), self._pump(up_reader, writer, from_server=True))
        finally:
            self._writers -= {writer, up_writer}

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, from_server: bool = False) -> None:
        try:
            while chunk := await reader.read(65536):
                if self.silent and from_server:
                    continue
                writer.write(chunk)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()


@pytest.fixture(scope="session")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plane]:
    """Its API server is restarted and its etcd made to forget, which would disturb others."""
    with plane_of_its_own(tmp_path_factory.mktemp("cluster-plane")) as plane:
        yield plane


@pytest.fixture
async def proxy(plane: Plane) -> AsyncIterator[Proxy]:
    """A healthy proxy before the API server."""
    between = Proxy(port_of(plane, "kube-apiserver"))
    await between.start()
    yield between
    await between.stop()


@pytest.fixture
async def proxied(plane: Plane, proxy: Proxy, tmp_path: Path) -> AsyncIterator[Cluster]:
    """A client that goes through the proxy; the certificate names the host only, so it holds for both."""
    through = kubeconfig(plane.kubeconfig, tmp_path / "proxied.yaml", server=f"https://127.0.0.1:{proxy.port}")
    async with await connect(through) as client:
        yield client


@pytest.fixture
def forget(plane: Plane) -> Callable[[str], Awaitable[None]]:
    """Makes every resourceVersion before the given one too old."""

    async def forget(version: str) -> None:
        # etcd forgets, and a restarted API server has no watch cache that would still know.
        compaction = json.dumps({"revision": version, "physical": True}).encode()
        url = f"http://127.0.0.1:{port_of(plane, 'etcd')}/v3/kv/compaction"
        await asyncio.to_thread(lambda: urllib.request.urlopen(url, compaction, timeout=5).read())
        await asyncio.to_thread(plane.stop, "kube-apiserver")
        await asyncio.to_thread(plane.start, "kube-apiserver")

    return forget
