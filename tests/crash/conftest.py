"""A control plane for the crash tests alone: a controller of other tests would do the work of the ones that are killed here."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from controller.local import plane as local


@pytest.fixture(scope="session")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[local.Plane]:
    """Without a controller; the tests start and kill their own."""
    state = tmp_path_factory.mktemp("crash-plane") / "state"
    try:
        yield local.up(state, controller=False)
    finally:
        local.down(state, purge=True)
