"""Ports for state folders: free when they are handed out, and never the same for two folders.

They are taken below the range from which the kernel takes the ports of outgoing connections, which would come and go. What each
folder holds is noted in one file of the user's cache, because a folder that is down holds its ports for its next `up`.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import random
import socket
from collections.abc import Iterable, Mapping
from pathlib import Path

from controller.local.errors import LocalError
from controller.local.programs import cache_folder

_RANGE = range(20_000, 30_000)
_TRIES = 1_000


def claim(state: Path, names: Iterable[str], held: Mapping[str, int]) -> dict[str, int]:
    """A port for each name: the one it holds already, else a free one that no other state folder holds."""
    register = cache_folder() / "ports.json"
    register.parent.mkdir(parents=True, exist_ok=True)
    with register.with_suffix(".lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        claims = _others(register, state)
        taken = {port for ports in claims.values() for port in ports} | set(held.values())
        ports = dict(held)
        for name in names:
            if name not in ports:
                ports[name] = _free_port(taken)
                taken.add(ports[name])
        _write(register, {**claims, str(state): sorted(ports.values())})
    return ports


def is_free(port: int) -> bool:
    """Whether a server could listen there now."""
    with socket.socket() as probe:
        # As servers do, so that connections of the last server that are still winding down do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _free_port(taken: set[int]) -> int:
    for _ in range(_TRIES):
        port = random.choice(_RANGE)  # noqa: S311 - to spread, not to hide
        if port not in taken and is_free(port):
            return port
    raise LocalError(f"found no free port on 127.0.0.1 between {_RANGE.start} and {_RANGE.stop}; end some servers")


def _others(register: Path, state: Path) -> dict[str, list[int]]:
    """What the other state folders hold; a folder that is gone holds nothing."""
    claims: dict[str, list[int]] = {}
    with contextlib.suppress(OSError, ValueError):
        claims = json.loads(register.read_text())
    return {folder: ports for folder, ports in claims.items() if folder != str(state) and Path(folder).is_dir()}


def _write(register: Path, claims: Mapping[str, list[int]]) -> None:
    part = register.with_suffix(".part")
    part.write_text(json.dumps(claims, indent=1))
    part.replace(register)
