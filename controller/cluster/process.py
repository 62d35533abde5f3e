"""Which process this is, and whether another one of the same machine still runs.

The holder of a Lease that was killed cannot say so. One that starts on the same machine can see it, and need not wait.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

_PROC = Path("/proc")
_STATE, _STARTED = 0, 19  # in what follows the name in /proc/<pid>/stat
_DEAD = frozenset({"Z", "X"})


def this_process() -> str:
    """Machine since its start and process namespace (hashed), process id, and when it started; empty where that cannot be told."""
    place, started = _place(), _state_and_start(os.getpid())
    return f"{place}/{os.getpid()}/{started[1]}" if place and started else ""


def is_gone(mark: str) -> bool:
    """Whether the process of ``this_process() == mark`` has certainly ended; never certain of those elsewhere."""
    place, _, rest = mark.partition("/")
    pid, _, started = rest.partition("/")
    if not place or place != _place() or not (_is_number(pid) and _is_number(started)):
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except (PermissionError, OverflowError):
        return False
    found = _state_and_start(int(pid))
    return found is not None and (found[0] in _DEAD or found[1] != started)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal()


def _place() -> str:
    try:
        boot = (_PROC / "sys/kernel/random/boot_id").read_text().strip()
        namespace = (_PROC / "self/ns/pid").readlink()
    except OSError:
        return ""
    return hashlib.sha256(f"{boot} {namespace}".encode()).hexdigest()[:16]


def _state_and_start(pid: int) -> tuple[str, str] | None:
    try:
        # The name is in parentheses and may itself hold some, and spaces.
        fields = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return fields[_STATE], fields[_STARTED]
