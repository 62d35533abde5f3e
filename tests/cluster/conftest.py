"""A real etcd and kube-apiserver for these tests, and a small proxy that can go wrong on purpose."""

from __future__ import annotations

import asyncio
import base64
import os
import socket
import ssl
import subprocess
import time
import urllib.request
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml

from controller.cluster.client import Cluster, connect
from controller.local.identity import new_signing_key

BINARIES = Path(os.environ.get("PHASEGATE_CACHE", Path.home() / ".cache" / "phasegate")) / "bin"


def binary(name: str) -> Path:
    """The cached program of that name, whatever its version."""
    return max(BINARIES.glob(f"{name}-v*"))


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@dataclass
class ControlPlane:
    """etcd and kube-apiserver; the API server can be stopped and started again."""

    folder: Path
    etcd_port: int = field(default_factory=free_port)
    etcd_peer_port: int = field(default_factory=free_port)
    api_port: int = field(default_factory=free_port)
    etcd: subprocess.Popen[bytes] | None = None
    api: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        etcd_url = f"http://127.0.0.1:{self.etcd_port}"
        peer_url = f"http://127.0.0.1:{self.etcd_peer_port}"
        self.etcd = self._run(
            "etcd",
            *("--data-dir", str(self.folder / "etcd"), "--unsafe-no-fsync", "--log-level", "error"),
            *("--listen-client-urls", etcd_url, "--advertise-client-urls", etcd_url),
            *("--listen-peer-urls", peer_url, "--initial-advertise-peer-urls", peer_url),
            *("--initial-cluster", f"default={peer_url}"),
        )
        key = self.folder / "sa.key"
        key.write_text(new_signing_key())
        (self.folder / "tokens.csv").write_text('admin-token,admin,admin,"system:masters"\nnobody-token,nobody,nobody\n')
        self.start_api()

    def start_api(self) -> None:
        key = str(self.folder / "sa.key")
        self.api = self._run(
            "kube-apiserver",
            f"--etcd-servers=http://127.0.0.1:{self.etcd_port}",
            f"--secure-port={self.api_port}",
            "--bind-address=127.0.0.1",
            f"--cert-dir={self.folder / 'certs'}",
            f"--token-auth-file={self.folder / 'tokens.csv'}",
            "--authorization-mode=RBAC",
            f"--service-account-key-file={key}",
            f"--service-account-signing-key-file={key}",
            "--service-account-issuer=https://kubernetes.default.svc",
            "--endpoint-reconciler-type=none",
            "--service-cluster-ip-range=10.0.0.0/24",
            # An expired resourceVersion within the patience of a test.
            "--watch-cache=true",
        )
        self._wait_until_ready()

    def stop_api(self) -> None:
        assert self.api is not None
        self.api.kill()
        self.api.wait()

    def stop(self) -> None:
        self.stop_api()
        assert self.etcd is not None
        self.etcd.kill()
        self.etcd.wait()

    def kubeconfig(self, port: int | None = None, token: str = "admin-token") -> Path:  # noqa: S107 - of a test user
        path = self.folder / f"kubeconfig-{port or self.api_port}-{token}"
        # The certificate does not name a proxy's port, only the host: it holds for both.
        authority = base64.b64encode((self.folder / "certs" / "apiserver.crt").read_bytes()).decode()
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "test",
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
            "users": [{"name": "test", "user": {"token": token}}],
            "clusters": [
                {
                    "name": "test",
                    "cluster": {"server": f"https://127.0.0.1:{port or self.api_port}", "certificate-authority-data": authority},
                }
            ],
        }
        path.write_text(yaml.safe_dump(document))
        return path

    def _run(self, name: str, *arguments: str) -> subprocess.Popen[bytes]:
        with (self.folder / f"{name}.log").open("ab") as log:
            return subprocess.Popen([binary(name), *arguments], stdout=log, stderr=log)

    def _wait_until_ready(self) -> None:
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        url = f"https://127.0.0.1:{self.api_port}/readyz"
        request = urllib.request.Request(url, headers={"Authorization": "Bearer admin-token"})
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                with urllib.request.urlopen(request, context=context, timeout=2):  # noqa: S310 - loopback
                    return
            except OSError:
                time.sleep(0.1)
        raise AssertionError((self.folder / "kube-apiserver.log").read_text()[-3000:])


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
def control_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    plane = ControlPlane(tmp_path_factory.mktemp("control-plane"))
    plane.start()
    yield plane
    plane.stop()


@pytest.fixture(scope="session")
def opa() -> Path:
    return binary("opa")


@pytest.fixture
async def cluster(control_plane: ControlPlane) -> AsyncIterator[Cluster]:
    async with await connect(control_plane.kubeconfig()) as client:
        yield client


@pytest.fixture
async def proxy(control_plane: ControlPlane) -> AsyncIterator[Proxy]:
    """A healthy proxy before the API server."""
    between = Proxy(control_plane.api_port)
    await between.start()
    yield between
    await between.stop()


@pytest.fixture
async def proxied(control_plane: ControlPlane, proxy: Proxy) -> AsyncIterator[Cluster]:
    """A client that goes through the proxy."""
    async with await connect(control_plane.kubeconfig(proxy.port)) as client:
        yield client
