"""A namespace and a controller for each test, on the control plane that they share."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
from support.controller import ControllerProcess
from support.team import Team
from support.workflows import FAST, World

from controller.local.plane import Plane


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
async def team(world: World) -> AsyncIterator[Team]:
    """A team whose action and rights go with the test."""
    team = Team(world)
    yield team
    await team.leave()
