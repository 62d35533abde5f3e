"""A control plane for the crash tests alone: a controller of other tests would do the work of the ones that are killed here."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.forking import ForkServer
from support.planes import plane_of_its_own

from controller.local.plane import Plane


@pytest.fixture(scope="session")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plane]:
    """Without a controller; the tests start and kill their own."""
    with plane_of_its_own(tmp_path_factory.mktemp("crash-plane")) as plane:
        yield plane


@pytest.fixture(scope="module")
def forks(plane: Plane, opa: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ForkServer]:
    """Controllers that start at once."""
    server = ForkServer(plane, opa, tmp_path_factory.mktemp("forks") / "controllers.log")
    yield server
    server.close()
