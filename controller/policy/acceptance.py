"""Which version of each source counts. Pure bookkeeping: judging a mixture of sources is the caller's.

All changes are tried together. If that fails, they are tried in parts, the blameless first, down to single ones, again and again until
none is accepted (one may need another): what is left stays at its last accepted version, a deletion included.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from controller.policy.sources import SET, PolicyProblem, Source

Judge = Callable[[Mapping[str, Source], Collection[str]], Awaitable[list[PolicyProblem]]]
"""Says what is wrong with a mixture, given which of its sources (or deletions) are new in it; nothing, if it may decide."""


@dataclass(frozen=True, slots=True)
class Acceptance:
    """Which version of each source counts, and why the newest version of some does not."""

    accepted: Mapping[str, Source] = field(default_factory=dict)
    rejected: Mapping[str, list[PolicyProblem]] = field(default_factory=dict)


async def accept(last: Mapping[str, Source], found: Mapping[str, Source], judge: Judge) -> Acceptance:
    """The best mixture of the last accepted sources and the ones found now."""
    changed = [name for name in last.keys() | found.keys() if _digest(last.get(name)) != _digest(found.get(name))]
    waiting = sorted(changed, key=lambda name: _order(found.get(name) or last[name]))
    trial = _Trial(dict(last), found, judge)
    # What was refused is worth another try once something else was accepted since.
    while waiting := [name for name in waiting if trial.refused_at.get(name, -1) < trial.acceptances and name not in trial.taken]:
        await trial.take(waiting)
    return Acceptance(trial.accepted, trial.rejected)


@dataclass(slots=True)
class _Trial:
    accepted: dict[str, Source]
    found: Mapping[str, Source]
    judge: Judge
    rejected: dict[str, list[PolicyProblem]] = field(default_factory=dict)
    taken: set[str] = field(default_factory=set)
    refused_at: dict[str, int] = field(default_factory=dict)
    acceptances: int = 0

    async def take(self, names: Sequence[str]) -> None:
        """Accept these changes together, or those parts of them that pass."""
        mixture = {name: source for name, source in self.accepted.items() if name not in names}
        mixture |= {name: self.found[name] for name in names if name in self.found}
        problems = await self.judge(mixture, names)
        if not problems:
            self.accepted = mixture
            self.acceptances += 1
            self.taken.update(names)
            for name in names:
                self.rejected.pop(name, None)
        elif len(names) == 1:
            self.rejected[names[0]] = _attributed(names[0], problems)
            self.refused_at[names[0]] = self.acceptances
        else:
            for part in _parts(names, {problem.source for problem in problems}):
                await self.take(part)


def _parts(names: Sequence[str], blamed: Collection[str]) -> tuple[Sequence[str], Sequence[str]]:
    """Two parts of at least one each, in their order: who is not blamed and who is; halves, if that tells nobody apart."""
    others = [name for name in names if name not in blamed]
    if others and len(others) < len(names):
        return others, [name for name in names if name in blamed]
    middle = len(names) // 2
    return names[:middle], names[middle:]


def _attributed(name: str, problems: list[PolicyProblem]) -> list[PolicyProblem]:
    """What is wrong, beginning with the source whose change it is, even if it shows at the place of another."""
    if any(problem.source == name for problem in problems):
        return sorted(problems, key=lambda problem: problem.source != name)
    if all(problem.source == SET for problem in problems):
        return [replace(problem, source=name) for problem in problems]
    first = problems[0]
    return [PolicyProblem(name, "", 0, 0, f"with this change the set fails elsewhere: {first.message}", first.remedy), *problems]


def _digest(source: Source | None) -> str | None:
    return source.digest if source is not None else None


def _order(source: Source) -> tuple[str, str]:
    return source.created, source.name
