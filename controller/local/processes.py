"""The background processes of a state folder: started in sessions of their own, found again in /proc, ended.

/proc is the record, not a file of ours: every child carries its state folder and its name in its environment, so whoever was killed
between starting a process and noting it down has lost nothing.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from controller.local.errors import LocalError

_STATE = "PHASEGATE_LOCAL_STATE"
_NAME = "PHASEGATE_LOCAL_NAME"
_PROC = Path("/proc")
_LOOK_EVERY = 0.02
_LONGEST_BIRTH = 1.0
_NOT_RUNNING = frozenset("ZXx")


@dataclass(frozen=True, slots=True)
class Process:
    """One running process; ``started`` (clock ticks since boot) tells it from a later one with the same id."""

    name: str
    pid: int
    started: int

    @property
    def is_running(self) -> bool:
        """Whether this very process still runs (a zombie does not)."""
        return _running_since(self.pid) == self.started

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to it and to what it started; nothing happens if it is gone."""
        if self.is_running:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, number)


def running(state: Path) -> dict[str, Process]:
    """The processes of this state folder, by name."""
    if not _PROC.is_dir():
        raise LocalError("the local control plane finds its processes in /proc, which this system lacks; run it on Linux")
    marker = f"{_STATE}={state}".encode()
    found = (_process_of(int(entry.name), marker) for entry in _PROC.iterdir() if entry.name.isdecimal())
    return {process.name: process for process in found if process is not None}


def start(state: Path, name: str, command: list[str], log: Path, environment: Mapping[str, str] | None = None) -> None:
    """Start a process in a session of its own, with its output appended to the log."""
    own = {**os.environ, **(environment or {}), _STATE: str(state), _NAME: name}
    write = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    # posix_spawn, because the child shall outlive this Python and its bookkeeping of children.
    pid = os.posix_spawn(
        command[0],
        command,
        own,
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(log), write, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        setsid=True,
    )
    # The kernel lets the parent go on a moment before the new environment can be read, by which everybody finds the child.
    deadline = time.monotonic() + _LONGEST_BIRTH
    while _process_of(pid, f"{_STATE}={state}".encode()) is None and _running_since(pid) is not None and time.monotonic() < deadline:
        time.sleep(0.001)


def end(processes: Iterable[Process], *, grace: float) -> None:
    """SIGTERM to all of them at once, SIGKILL to those that still run after ``grace`` seconds; returns when all are gone."""
    waiting = list(processes)
    if grace > 0:
        for process in waiting:
            process.signal(signal.SIGTERM)
        waiting = _wait(waiting, grace)
    for process in waiting:
        process.signal(signal.SIGKILL)
    if left := _wait(waiting, 10):
        listed = ", ".join(f"{process.name} ({process.pid})" for process in left)
        raise LocalError(f"killed {listed}, but they are still there; look for processes in state D with ps")


def _wait(processes: list[Process], seconds: float) -> list[Process]:
    deadline = time.monotonic() + seconds
    while True:
        for process in processes:
            # When the one who started it lives on (a test), the dead must be collected by it.
            with contextlib.suppress(ChildProcessError):
                os.waitpid(process.pid, os.WNOHANG)
        processes = [process for process in processes if process.is_running]
        if not processes or time.monotonic() > deadline:
            return processes
        time.sleep(_LOOK_EVERY)


def _process_of(pid: int, marker: bytes) -> Process | None:
    """The process, if it is one that ``start`` made: marked, and leader of its session (what it started itself is not)."""
    try:
        environment = (_PROC / str(pid) / "environ").read_bytes().split(b"\0")
        started = _running_since(pid)
        if marker not in environment or started is None or os.getsid(pid) != pid:
            return None
    except OSError:
        return None
    prefix = f"{_NAME}=".encode()
    name = next((entry.removeprefix(prefix).decode() for entry in environment if entry.startswith(prefix)), "")
    return Process(name, pid, started)


def _running_since(pid: int) -> int | None:
    try:
        # The second field is the command in parentheses, which may hold anything: count from the last one.
        fields = (_PROC / str(pid) / "stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in _NOT_RUNNING else int(fields[19])
