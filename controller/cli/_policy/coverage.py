"""Which lines of some policies their tests reach."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from controller.cli._exits import CommandError, Exit
from controller.cli._policy.paths import Given
from controller.cli._policy.report import on_disk
from controller.policy.check import Checker
from controller.policy.process import OverLimitError
from controller.policy.sources import Module, PolicySet
from controller.policy.suite import Coverage

# Reaches nothing, so that every line is counted.
_IDLE = Module("phasegate", "idle_test.rego", "package kubernaut.idle_test\n\ntest_idle if true\n")


@dataclass(frozen=True, slots=True)
class Run:
    """Tests that pass, and the set that they pass under."""

    policy_set: PolicySet
    tests: tuple[Module, ...]


@dataclass(frozen=True, slots=True)
class Measured:
    """File on disk → rows of the module in it."""

    modules: Mapping[str, Coverage]

    @property
    def percent(self) -> float:
        """Of all lines that can be reached; 100 where there are none."""
        return _share(self.modules.values())

    def lines(self) -> Iterator[str]:
        """For people: what is not reached, file by file, and the sum."""
        for file, one in self.modules.items():
            if one.unreached:
                yield f"  {file}: {_share([one]):.0f} % reached; not reached: {_ranges(sorted(one.unreached))}"
        yield f"coverage {self.percent:.1f} %"

    def document(self) -> dict[str, Any]:
        """For programs."""
        modules = [
            {"file": file, "percent": round(_share([one]), 1), "unreached": sorted(one.unreached)} for file, one in self.modules.items()
        ]
        return {"percent": round(self.percent, 1), "modules": modules}


async def measure(checker: Checker, given: Given, policy_set: PolicySet, runs: Sequence[Run]) -> Measured:
    """What these runs reach of the sources' own modules.

    Raises:
        CommandError: measuring takes more than it may.
        CheckUnavailableError: it could not be measured.
    """
    found: dict[str, Coverage] = {}
    try:
        for run in [Run(policy_set, (_IDLE,)), *runs]:
            for path, one in (await checker.coverage(run.policy_set, run.tests)).items():
                before = found.get(path, one)
                unreached = before.unreached & one.unreached
                found[path] = Coverage((before.reached | one.reached | before.unreached | one.unreached) - unreached, unreached)
    except OverLimitError as exc:
        raise CommandError(f"everything passes, but the coverage cannot be measured: {exc}", Exit.UNREACHABLE) from exc
    modules: dict[str, Coverage] = {}
    for module in (module for source in given.sources.values() for module in source.modules):
        file, one = _on_disk(given, module, found.get(module.path, Coverage()))
        before = modules.get(file, Coverage())
        modules[file] = Coverage(before.reached | one.reached, before.unreached | one.unreached)
    return Measured(modules)


def _on_disk(given: Given, module: Module, one: Coverage) -> tuple[str, Coverage]:
    """File and rows as they are on disk; a module that is quoted in a manifest keeps its own rows."""
    file, _ = on_disk(given, module.path, 1)
    if not given.places[module.source, module.key].exact:
        return f"{file} ({module.key})", one
    reached, unreached = (frozenset(on_disk(given, module.path, row)[1] for row in rows) for rows in (one.reached, one.unreached))
    return file, Coverage(reached, unreached)


def _share(parts: Iterable[Coverage]) -> float:
    counts = [(len(one.reached), len(one.unreached)) for one in parts]
    reached, unreached = sum(count for count, _ in counts), sum(count for _, count in counts)
    return 100.0 * reached / (reached + unreached) if reached + unreached else 100.0


def _ranges(rows: Iterable[int]) -> str:
    """3, 4, 5, 9 as "3-5, 9"."""
    runs = [[row for _, row in group] for _, group in groupby(enumerate(rows), lambda pair: pair[1] - pair[0])]
    return ", ".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)
