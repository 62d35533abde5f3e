"""The throw-away process that looks at policies: `opa`, with little memory, little time, and nothing of ours to see.

It gets an empty environment and a temporary folder. What it may not do is told apart: a program that used more than it may says
something about the policies (`OverLimitError`); one that could not be run says nothing about them (`CheckUnavailableError`).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import resource
import shutil
import signal
from dataclasses import dataclass, replace
from pathlib import Path

from controller.core.errors import PermanentError, RetryableError

_CHUNK = 1 << 16
_BROKEN = re.compile(rb"^(fatal error: |runtime: |panic: |SIG[A-Z]+: |unexpected fault )", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Limits:
    """What one process may use."""

    seconds: float = 60.0
    cpu_seconds: int = 10
    memory_bytes: int = 300 << 20  # two of them fit beside the controller, deploy/base/controller.yaml
    heap_bytes: int = 160 << 20  # garbage is collected only when it comes near
    output_bytes: int = 8 << 20


class OverLimitError(PermanentError):
    """The process used more than it may: what it looked at is too much."""


class CheckUnavailableError(RetryableError):
    """The check could not be carried out, which says nothing about the policies."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How it ended and what it said."""

    code: int
    out: bytes
    err: bytes


class OpaProcess:
    """Runs the given `opa` program, each time in a process of its own."""

    def __init__(self, program: Path, limits: Limits | None = None) -> None:
        # It is started in another folder and without a PATH.
        found = shutil.which(program)
        self._program = Path(found).resolve() if found else program
        self._limits = limits or Limits()

    def within(self, cpu_seconds: int) -> OpaProcess:
        """The same program with another limit of CPU time."""
        return OpaProcess(self._program, replace(self._limits, cpu_seconds=cpu_seconds))

    async def run(self, arguments: list[str], folder: Path) -> Ended:
        """Run it in ``folder`` to its end.

        Raises:
            OverLimitError: it used more CPU, memory or output than it may.
            CheckUnavailableError: it could not be started, or this machine is too busy for it.
        """
        limits = self._limits
        environment = {"HOME": str(folder), "GOMEMLIMIT": str(limits.heap_bytes), "GOGC": "off"}
        try:
            process = await asyncio.create_subprocess_exec(
                self._program,
                *arguments,
                cwd=folder,
                env=environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )
        except OSError as exc:
            message = f"cannot start {self._program} to check the policies: {exc}; name the opa program with --opa-binary"
            raise CheckUnavailableError(message) from exc
        readers = [asyncio.create_task(_read(stream, limits.output_bytes, arguments[0])) for stream in (process.stdout, process.stderr)]
        try:
            _confine(process.pid, limits)
            async with asyncio.timeout(limits.seconds):
                out, err = await asyncio.gather(*readers)
                await process.wait()
        except TimeoutError as exc:
            raise CheckUnavailableError(f"opa {arguments[0]} did not end within {limits.seconds:g} s; is this machine too busy?") from exc
        finally:
            for reader in readers:
                reader.cancel()
            await asyncio.gather(*readers, return_exceptions=True)
            await _end(process)
        return _judged(Ended(process.returncode or 0, out, err), arguments[0], limits)


def _confine(pid: int, limits: Limits) -> None:
    # From outside rather than by preexec_fn: forking this process for it would copy its page tables at every check.
    with contextlib.suppress(ProcessLookupError):
        for limit, value in ((resource.RLIMIT_CPU, limits.cpu_seconds), (resource.RLIMIT_DATA, limits.memory_bytes)):
            resource.prlimit(pid, limit, (value, value))
        # Whoever serves workflows comes first.
        os.setpriority(os.PRIO_PROCESS, pid, 1)


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
    # asyncio waits for the end of its pipes, and does not read on by itself once it holds too much.
    for stream in (process.stdout, process.stderr):
        while stream is not None and await stream.read(_CHUNK):
            pass
    await process.wait()


async def _read(stream: asyncio.StreamReader | None, most: int, what: str) -> bytes:
    parts: list[bytes] = []
    size = 0
    while stream is not None and (part := await stream.read(_CHUNK)):
        size += len(part)
        if size > most:
            raise OverLimitError(f"opa {what} said more than {most >> 20} MiB about these policies")
        parts.append(part)
    return b"".join(parts)


def _judged(ended: Ended, what: str, limits: Limits) -> Ended:
    if ended.code in {-signal.SIGXCPU, -signal.SIGKILL}:
        raise OverLimitError(f"opa {what} needed more than {limits.cpu_seconds} s of CPU for these policies, or more memory than there is")
    if ended.code != 0 and _BROKEN.search(ended.err):
        # Go's runtime does not always say so when it gets no more memory.
        raise OverLimitError(
            f"opa {what} needed more memory than {limits.memory_bytes >> 20} MiB for these policies, or broke down over them"
        )
    return ended
