"""Control planes of a test's own, and other ways to the same one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from controller.local import plane as local


@contextmanager
def plane_of_its_own(folder: Path) -> Iterator[local.Plane]:
    """A whole control plane but for the controller. Programs that are missing are built, which takes minutes once."""
    state = folder / "state"
    try:
        yield local.up(state, controller=False)
    finally:
        local.down(state, purge=True)


def port_of(plane: local.Plane, name: str) -> int:
    """Where one of its processes listens."""
    record = local.Folder(plane.state).read()
    assert record is not None
    return record.ports[name]


def kubeconfig(original: Path, copy: Path, *, server: str | None = None, token: str | None = None) -> Path:
    """A copy of a kubeconfig that leads elsewhere, or presents another token; a plain http ``server`` needs no certificate."""
    document: dict[str, Any] = yaml.safe_load(original.read_text())
    if server is not None:
        cluster = document["clusters"][0]["cluster"]
        document["clusters"][0]["cluster"] = {"server": server} if server.startswith("http://") else cluster | {"server": server}
    if token is not None:
        document["users"][0]["user"] = {"token": token}
    copy.write_text(yaml.safe_dump(document))
    return copy
