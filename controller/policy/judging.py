"""What is wrong with a mixture of sources, whoever asks: the loader for the cluster, `phasegate policy` for a laptop."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from controller.policy.bundle import Bundle, build_bundle
from controller.policy.check import Checker
from controller.policy.sources import Module, PolicyProblem, PolicySet, Source, combine, needed_by, replaced_packages, tests_replaced
from controller.settings import Settings

Version = tuple[str, str]
"""Name and digest of a source."""


class Judging:
    """Judges mixtures of sources: readable, no package claimed twice, conventions kept, compiles, tests pass.

    What belongs to one source alone is judged once for each version of it.
    """

    def __init__(self, shipped: Source, checker: Checker) -> None:
        self.settings: Mapping[str, Any] = {}
        self.unreadable: dict[Version, list[PolicyProblem]] = {}
        self._shipped = shipped
        self._checker = checker
        self._conventions: dict[Version, list[PolicyProblem]] = {}
        self._bundle: tuple[PolicySet, Bundle] | None = None

    async def __call__(self, sources: Mapping[str, Source], changed: Collection[str]) -> list[PolicyProblem]:
        """What is wrong with this mixture, of which ``changed`` are new; nothing, if it may decide.

        Raises:
            CheckUnavailableError: it could not be found out.
        """
        known = [problem for source in sources.values() for problem in self._known(source)]
        if known:
            return known
        policy_set, problems = combine(self._shipped, sources.values(), self.settings)
        if problems:
            return problems
        new = [sources[name] for name in changed if name in sources]
        bundle = await self.bundle(policy_set)
        compiled, _ = await asyncio.gather(
            self._checker.compile(policy_set, bundle), asyncio.gather(*(self._convene(source) for source in new))
        )
        found = [problem for source in new for problem in self._known(source)]
        # A syntax error is found by both.
        return list(dict.fromkeys([*found, *compiled])) or await self._test(sources, new)

    async def bundle(self, policy_set: PolicySet) -> Bundle:
        """The bundle of a set; the very one that was judged, if it was the last one."""
        if self._bundle is None or self._bundle[0] != policy_set:
            self._bundle = (policy_set, await asyncio.to_thread(build_bundle, policy_set))
        return self._bundle[1]

    def warnings(self, sources: Collection[Source]) -> dict[str, list[PolicyProblem]]:
        """Source name → what its author should know, though it keeps nothing from counting; of those that were judged here."""
        judged = [source for source in sources if version(source) in self._conventions]
        return {source.name: [problem for problem in self._conventions[version(source)] if problem.warning] for source in judged}

    def forget_all_but(self, sources: Iterable[Source]) -> None:
        """Keep what is known of these versions only."""
        kept = {version(source) for source in sources}
        for known in (self.unreadable, self._conventions):
            for one in known.keys() - kept:
                del known[one]

    def _known(self, source: Source) -> list[PolicyProblem]:
        problems = (*self.unreadable.get(version(source), ()), *self._conventions.get(version(source), ()))
        return [problem for problem in problems if not problem.warning]

    async def _convene(self, source: Source) -> None:
        if version(source) not in self._conventions:
            self._conventions[version(source)] = await self._checker.conventions(source)

    async def _test(self, sources: Mapping[str, Source], new: Collection[Source]) -> list[PolicyProblem]:
        """Run what each changed source brings, against the shipped set, itself, and those whom it needs.

        Replacements of shipped modules belong together, as they do in an upgrade: their shipped tests run once.
        """
        problems: list[PolicyProblem] = []
        for source in new:
            problems += await self._test_together(sources, [source], source.tests)
        replacing = [source for source in new if replaced_packages(self._shipped, source)]
        tests = dict.fromkeys(test for source in replacing for test in tests_replaced(self._shipped, source))
        failed = await self._test_together(sources, replacing, tuple(tests))
        return problems + [blamed for problem in failed for blamed in self._blame(problem, replacing)]

    async def _test_together(self, sources: Mapping[str, Source], new: list[Source], tests: tuple[Module, ...]) -> list[PolicyProblem]:
        if not tests:
            return []
        involved = {source.name: source for source in new}
        for source in new:
            involved |= needed_by(source, sources)
        # By the defaults, whatever this cluster's settings are: a test says the same everywhere.
        policy_set, _ = combine(self._shipped, involved.values(), Settings().document())
        return await self._checker.test(policy_set, tests)

    def _blame(self, problem: PolicyProblem, replacing: Collection[Source]) -> list[PolicyProblem]:
        """A failed shipped test, as a problem of whoever replaced what it tests; of everybody, if it tests no module of theirs."""
        package = next((test.package for test in self._shipped.tests if test.key == problem.key), "").removesuffix("_test")
        owners = [source.name for source in replacing if package in replaced_packages(self._shipped, source)]
        message = f"shipped test {problem.key}:{problem.line}: {problem.message}"
        return [PolicyProblem(name, "", 0, 0, message, problem.remedy) for name in owners or [source.name for source in replacing]]


def version(source: Source) -> Version:
    """What tells one version of a source from every other."""
    return source.name, source.digest
