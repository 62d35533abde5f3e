"""A namespace and a controller for each test, on the control plane that they share."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Iterator
from http import HTTPStatus

import pytest
from support.controller import ControllerProcess
from support.workflows import FAST, World, seen_by

from controller.local.api import Api
from controller.local.plane import Plane


@pytest.fixture
def namespace(admin: Api) -> Iterator[str]:
    """A fresh namespace; what is in it goes with it, in the background."""
    name = f"test-{secrets.token_hex(4)}"
    answer = admin.post("/api/v1/namespaces", {"metadata": {"name": name}})
    assert answer.status == HTTPStatus.CREATED, answer.body
    yield name
    admin.delete(f"/api/v1/namespaces/{name}")


@pytest.fixture(scope="session")
def controller_process(plane: Plane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControllerProcess]:
    """The one controller of the session; ask for ``controller`` instead."""
    process = ControllerProcess(plane, tmp_path_factory.mktemp("controller") / "controller.log", FAST)
    yield process
    process.kill()


@pytest.fixture
def no_controller(controller_process: ControllerProcess) -> None:
    """For tests that write attempts by hand: a controller would judge them."""
    if controller_process.is_running:
        controller_process.kill()


@pytest.fixture
def controller(controller_process: ControllerProcess) -> ControllerProcess:
    """A running, ready controller with fast settings and no special flags, which the test may kill() and start() again as it likes.

    It goes on running for the next test, because starting one costs a second.
    """
    if controller_process.is_running and controller_process.flags:
        controller_process.kill()
    if not controller_process.is_running:
        controller_process.start()
    controller_process.wait_until_ready()
    return controller_process


@pytest.fixture
async def world(plane: Plane, controller: ControllerProcess, namespace: str) -> AsyncIterator[World]:
    """The test's namespace as the administrator sees it, with a controller at work."""
    assert controller.is_running
    async with seen_by(plane.kubeconfig, namespace) as world:
        yield world
