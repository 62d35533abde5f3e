"""Whether a policy set compiles: `opa check` in a throw-away process, with little memory, little time and few built-ins.

The process gets nothing of ours: an empty environment and a temporary folder with the modules. What it says comes back as
PolicyProblems that name the source, the key, the line and the column.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import resource
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from controller.core.errors import RetryableError
from controller.policy.sources import Module, PolicyProblem, PolicySet

_FORBIDDEN_PREFIXES = ("http.", "net.", "providers.")
_FORBIDDEN = frozenset(
    {
        "opa.runtime",
        "time.now_ns",
        "rand.intn",
        "uuid.rfc4122",
        # These compare with the wall clock unless told a time, and nothing can oblige the caller to tell it.
        "io.jwt.decode_verify",
        "trace",
    }
)


@dataclass(frozen=True, slots=True)
class CheckLimits:
    """What one check may use."""

    seconds: float = 10.0
    cpu_seconds: int = 10
    memory_bytes: int = 4 << 30  # address space, of which the Go runtime reserves much more than it touches
    heap_bytes: int = 512 << 20


class CheckUnavailableError(RetryableError):
    """The check could not be carried out, which says nothing about the policies."""


class Checker:
    """Checks whole policy sets with the given `opa` program; ``schemas`` types the gates' inputs, where it exists."""

    def __init__(self, opa: Path, schemas: Path | None = None, *, limits: CheckLimits | None = None) -> None:
        self._opa = opa
        self._schemas = schemas if schemas is not None and schemas.is_dir() else None
        self._limits = limits or CheckLimits()
        self._capabilities: str | None = None

    async def check(self, policy_set: PolicySet) -> list[PolicyProblem]:
        """What is wrong with the set; nothing, if it may be served."""
        capabilities = await self._allowed_capabilities()
        with tempfile.TemporaryDirectory(prefix="phasegate-check-") as name:
            folder = Path(name)
            (folder / "capabilities.json").write_text(capabilities, encoding="utf-8")
            _write_modules(folder / "modules", policy_set.modules)
            arguments = ["check", "--strict", "--format", "json", "--max-errors", "20", "--capabilities", "capabilities.json"]
            if self._schemas is not None:
                arguments += ["--schema", str(self._schemas.resolve())]
            code, out, err = await self._opa_says([*arguments, "modules"], folder)
        if code == 0:
            return []
        problems = _problems(out) or _problems(err)
        if not problems:
            raise CheckUnavailableError(f"opa check ended with {code} and no errors: {err.decode(errors='replace')[:500]}")
        return problems

    async def _allowed_capabilities(self) -> str:
        """OPA's own capabilities without what reads a clock, a network, chance or the process."""
        if self._capabilities is None:
            code, out, err = await self._opa_says(["capabilities", "--current"], Path(tempfile.gettempdir()))
            if code != 0:
                raise CheckUnavailableError(f"opa capabilities ended with {code}: {err.decode(errors='replace')[:500]}")
            document: dict[str, Any] = json.loads(out)
            document["builtins"] = [builtin for builtin in document["builtins"] if _is_allowed(builtin["name"])]
            document["allow_net"] = []
            self._capabilities = json.dumps(document)
        return self._capabilities

    async def _opa_says(self, arguments: list[str], folder: Path) -> tuple[int, bytes, bytes]:
        try:
            process = await asyncio.create_subprocess_exec(
                self._opa,
                *arguments,
                cwd=folder,
                env={"HOME": str(folder), "GOMEMLIMIT": str(self._limits.heap_bytes)},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )
        except OSError as exc:
            message = f"cannot start {self._opa} to check the policies: {exc}; name the opa program with --opa-binary"
            raise CheckUnavailableError(message) from exc
        try:
            self._confine(process.pid)
            out, err = await asyncio.wait_for(process.communicate(), self._limits.seconds)
        except TimeoutError as exc:
            raise CheckUnavailableError(f"opa {arguments[0]} took more than {self._limits.seconds:g} s") from exc
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        return process.returncode or 0, out, err

    def _confine(self, pid: int) -> None:
        # From outside rather than by preexec_fn: forking this process for it would copy its page tables at every check.
        with contextlib.suppress(ProcessLookupError):
            for limit, value in (
                (resource.RLIMIT_CPU, self._limits.cpu_seconds),
                (resource.RLIMIT_AS, self._limits.memory_bytes),
            ):
                resource.prlimit(pid, limit, (value, value))


def _is_allowed(builtin: str) -> bool:
    return builtin not in _FORBIDDEN and not builtin.startswith(_FORBIDDEN_PREFIXES)


def _write_modules(folder: Path, modules: Iterable[Module]) -> None:
    for module in modules:
        path = folder / module.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(module.text, encoding="utf-8")


def _problems(said: bytes) -> list[PolicyProblem]:
    try:
        errors = json.loads(said).get("errors", [])
    except (ValueError, AttributeError):
        return []
    return [_problem(error) for error in errors]


def _problem(error: dict[str, Any]) -> PolicyProblem:
    location = error.get("location") or {}
    _, _, place = str(location.get("file", "")).rpartition("modules/")
    source, _, key = place.rpartition("/")
    message = str(error.get("message", "unknown error"))
    name = message.removeprefix("undefined function ").strip()
    remedy = ""
    if name != message and not _is_allowed(name):
        remedy = "policies read no clock, no network and no chance: use input.now and facts"
    return PolicyProblem(source, key, location.get("row", 0), location.get("col", 0), message, remedy)
