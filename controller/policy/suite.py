"""What `opa test` says, in our words: pure."""

from __future__ import annotations

import base64
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from controller.policy import remedies
from controller.policy.sources import PolicyProblem


@dataclass(frozen=True, slots=True)
class Tested:
    """One test as it ended: which of its ``cases`` hold, what it ``printed``, and the ``problem``, if it failed."""

    package: str
    name: str
    path: str
    line: int
    seconds: float
    skipped: bool
    cases: Mapping[str, bool]
    printed: str
    problem: PolicyProblem | None


@dataclass(frozen=True, slots=True)
class TestRun:
    """What became of tests; without ``results`` they could not be run, and the problems say why."""

    __test__ = False  # not for pytest

    results: list[Tested] = field(default_factory=list)
    problems: list[PolicyProblem] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Coverage:
    """The rows of a module that tests reach, and those that they do not, or not to the end."""

    reached: frozenset[int] = frozenset()
    unreached: frozenset[int] = frozenset()


def tested(result: Mapping[str, Any]) -> Tested:
    """One entry of what `opa test --format json` prints."""
    at = result.get("location") or {}
    cases = {name: not case.get("fail") for name, case in (result.get("sub_results") or {}).items()}
    return Tested(
        package=str(result.get("package", "")).removeprefix("data."),
        name=str(result.get("name", "a test")),
        path=str(at.get("file", "")),
        line=at.get("row", 0),
        seconds=result.get("duration", 0) / 1e9,
        skipped=bool(result.get("skip")),
        cases=cases,
        printed=base64.b64decode(result.get("output") or "").decode(errors="replace"),
        problem=_failure(result, [name for name, holds in cases.items() if not holds]),
    )


def _failure(result: Mapping[str, Any], cases: Collection[str]) -> PolicyProblem | None:
    """Why a test failed; one that is skipped (`todo_`) fails nothing."""
    error = result.get("error")
    if not result.get("fail") and not error:
        return None
    at = result.get("location") or {}
    source, _, key = str(at.get("file", "")).rpartition("/")
    why = f": {error.get('message', 'error')}" if error else f" for {', '.join(cases)}" if cases else ""
    remedy = remedies.remedy(error) if error else "`phasegate policy test` runs it on your machine"
    return PolicyProblem(source, key, at.get("row", 0), at.get("col", 0), f"{result.get('name', 'a test')} fails{why}", remedy)


def coverage(found: Mapping[str, Any]) -> Coverage:
    """One file of what `opa test --coverage` prints."""
    reached, unreached = (
        frozenset(row for part in found.get(name) or [] for row in range(part["start"]["row"], part["end"]["row"] + 1))
        for name in ("covered", "not_covered")
    )
    return Coverage(reached - unreached, unreached)
