"""`phasegate` as people run it: a process of its own, its output in pipes."""

from __future__ import annotations

import asyncio
import os
import sys
from asyncio.subprocess import Process
from dataclasses import dataclass
from pathlib import Path

from controller.local.plane import Plane

_PATIENCE = 30.0


@dataclass(frozen=True, slots=True)
class Said:
    """What a command printed, and its exit code."""

    code: int
    out: str
    err: str


@dataclass(frozen=True, slots=True)
class Phasegate:
    """``await phasegate("approve", "w", "-n", namespace, user="approver")``."""

    plane: Plane

    async def __call__(self, *words: str, user: str = "author", kubeconfig: Path | None = None, stdin: str = "") -> Said:
        """Run one command as a user of the plane, and answer what it said."""
        return await ended(await self.begin(*words, user=user, kubeconfig=kubeconfig), stdin)

    async def begin(self, *words: str, user: str = "author", kubeconfig: Path | None = None) -> Process:
        """Start one command."""
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "controller",
            *words,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, "KUBECONFIG": str(kubeconfig or self.plane.users[user])},
        )


async def ended(process: Process, stdin: str = "") -> Said:
    """Wait for a command, and answer what it said (since somebody read it last)."""
    try:
        async with asyncio.timeout(_PATIENCE):
            out, err = await process.communicate(stdin.encode())
    except TimeoutError:
        process.kill()
        await process.wait()
        raise
    assert process.returncode is not None
    return Said(process.returncode, out.decode(), err.decode())
