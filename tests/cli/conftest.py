"""One controller for all commands, a namespace for each test, and the commands themselves."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Iterator
from http import HTTPStatus

import pytest
from support.commands import Phasegate
from support.controller import ControllerProcess
from support.workflows import FAST, World, seen_by

from controller.local.api import Api
from controller.local.plane import Plane


@pytest.fixture(scope="module")
def controller(plane: Plane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControllerProcess]:
    """Ended with its module: other tests of the session start controllers of their own on the same plane."""
    process = ControllerProcess(plane, tmp_path_factory.mktemp("controller") / "controller.log", FAST)
    process.start()
    yield process
    process.kill()


@pytest.fixture
def namespace(admin: Api) -> Iterator[str]:
    name = f"cli-{secrets.token_hex(4)}"
    answer = admin.post("/api/v1/namespaces", {"metadata": {"name": name}})
    assert answer.status == HTTPStatus.CREATED, answer.body
    yield name
    admin.delete(f"/api/v1/namespaces/{name}")


@pytest.fixture
async def world(plane: Plane, controller: ControllerProcess, namespace: str) -> AsyncIterator[World]:
    """The test's namespace as the administrator sees it, with a controller at work."""
    assert controller.is_running
    async with seen_by(plane.kubeconfig, namespace) as world:
        yield world


@pytest.fixture
def phasegate(plane: Plane) -> Phasegate:
    return Phasegate(plane)
