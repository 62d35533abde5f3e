"""The control plane that all tests share: started when the first one asks for it, ended with the session."""

from __future__ import annotations

import secrets
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from http import HTTPStatus
from pathlib import Path

import pytest
from support.controller import ControllerProcess
from support.planes import plane_of_its_own
from support.workflows import World, seen_by

from controller.cluster.client import Cluster, connect
from controller.local import programs
from controller.local.api import Api
from controller.local.folder import Folder
from controller.local.plane import Plane

Kubectl = Callable[..., str]


@pytest.fixture(scope="session")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plane]:
    """The control plane of the session, without a controller."""
    with plane_of_its_own(tmp_path_factory.mktemp("plane")) as plane:
        yield plane


@pytest.fixture(scope="session")
def opa() -> Path:
    return programs.provide("opa")["opa"]


@pytest.fixture(scope="session")
def admin(plane: Plane) -> Api:
    """Plain requests to the API server as the administrator."""
    folder = Folder(plane.state)
    record = folder.read()
    assert record is not None
    return Api(plane.server, record.tokens["admin"], folder.authority)


@pytest.fixture(scope="session")
def kubectl(plane: Plane) -> Kubectl:
    """``kubectl("get", "pods", user="viewer")``; fails the test with what kubectl said, or answers its output."""
    program = programs.provide("kubectl")["kubectl"]

    def run(*arguments: str, user: str = "admin", manifest: str | None = None, expect: int = 0) -> str:
        command = [str(program), f"--kubeconfig={plane.users[user]}", f"--cache-dir={plane.state / 'kubectl-cache'}", *arguments]
        done = subprocess.run(command, input=manifest, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == expect, f"kubectl {' '.join(arguments)} as {user}: {done.stdout}{done.stderr}"
        return done.stdout if expect == 0 else done.stdout + done.stderr

    return run


@pytest.fixture
async def as_admin(plane: Plane) -> AsyncIterator[Cluster]:
    """The controller's own client, as the administrator."""
    async with await connect(plane.kubeconfig) as cluster:
        yield cluster


@pytest.fixture
async def as_controller(plane: Plane) -> AsyncIterator[Cluster]:
    """The same with the rights that the controller ships with."""
    async with await connect(plane.controller_kubeconfig) as cluster:
        yield cluster


@pytest.fixture
def namespace(admin: Api) -> Iterator[str]:
    """A fresh namespace; what is in it goes with it, in the background."""
    name = f"test-{secrets.token_hex(4)}"
    answer = admin.post("/api/v1/namespaces", {"metadata": {"name": name}})
    assert answer.status == HTTPStatus.CREATED, answer.body
    yield name
    admin.delete(f"/api/v1/namespaces/{name}")


@pytest.fixture
async def world(plane: Plane, controller: ControllerProcess, namespace: str) -> AsyncIterator[World]:
    """The test's namespace as the administrator sees it, with a controller at work (each folder has its own idea of ``controller``)."""
    assert controller.is_running
    async with seen_by(plane.kubeconfig, namespace) as world:
        yield world
