"""`phasegate policy test`: the check, every test that these policies bring, and which of their lines no test reaches."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from typing_extensions import override

from controller import paths
from controller.cli._exits import CommandError, Exit
from controller.cli._policy.check import source_documents
from controller.cli._policy.coverage import Run, measure
from controller.cli._policy.judge import Judged, add_judging_arguments, add_path_arguments, find_opa, judge, shipped_policies
from controller.cli._policy.paths import Given, read_paths
from controller.cli._policy.report import Case, Finding, Report, add_format_argument, display, findings_of, on_disk, print_report
from controller.policy.check import Checker
from controller.policy.process import CheckUnavailableError
from controller.policy.sources import Module, PolicyProblem, PolicySet, combine
from controller.policy.suite import Tested, TestRun

SUMMARY = "check these policies and run their tests, with coverage: 0 all pass, 1 something does not"
_NO_REGEX = "error parsing regexp: "


def add(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare it."""
    parser = actions.add_parser("test", help=SUMMARY, description=SUMMARY)
    add_path_arguments(parser)
    add_judging_arguments(parser)
    parser.add_argument("-v", "--verbose", action="store_true", help="list every test and every case, not only what fails")
    parser.add_argument("--run", dest="only", default="", metavar="REGEX", help="only tests whose package.name matches; without coverage")
    parser.add_argument("--threshold", type=_percent, metavar="PERCENT", help="fail when fewer lines of these policies are reached")
    add_format_argument(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Test them."""
    if arguments.only and arguments.threshold is not None:
        raise CommandError("--threshold is about all tests, so it does not go with --run", Exit.USAGE)
    given = read_paths(arguments.paths, arguments.name)
    report = asyncio.run(_test(arguments, given))
    print_report(arguments.output, report)
    return Exit.DONE if report.passed else Exit.NO


class _Recorder(Checker):
    """A checker that remembers what became of each test, and may run some of them only."""

    def __init__(self, opa: Path, *, strict: bool, only: str) -> None:
        super().__init__(opa, paths.SCHEMAS, strict=strict)
        self.runs: dict[tuple[str, ...], tuple[Run, TestRun]] = {}
        self._only = only

    @property
    def results(self) -> list[Tested]:
        """Every test that was run, as it ended the last time."""
        return [result for _, outcome in self.runs.values() for result in outcome.results]

    @override
    async def test(self, policy_set: PolicySet, tests: Collection[Module]) -> list[PolicyProblem]:
        try:
            outcome = await self.run_tests(policy_set, tests, only=self._only)
        except CheckUnavailableError as exc:
            # Go has the last word on what a regular expression is.
            if (why := str(exc).partition(_NO_REGEX)[2]) and self._only:
                raise CommandError(f"--run: {self._only!r} is no regular expression: {why.strip()}", Exit.USAGE) from exc
            raise
        self.runs[tuple(test.path for test in tests)] = Run(policy_set, tuple(tests)), outcome
        return outcome.problems


async def _test(arguments: argparse.Namespace, given: Given) -> Report:
    checker = _Recorder(find_opa(arguments), strict=arguments.strict, only=arguments.only)
    shipped = shipped_policies(arguments)
    judged = await judge(given, shipped, checker)
    cases = [*judged.case_of_settings(given), *_cases(given, judged, checker.results)]
    passed = not any(case.failed for case in cases)
    if arguments.only and passed and not checker.results:
        raise CommandError(f"--run: no test matches {arguments.only!r}", Exit.USAGE)
    lines = [*(_told(cases) if arguments.verbose else ()), *_summary(given, checker.results, judged)]
    measured = None
    if not arguments.only and not passed:
        lines.append("coverage is measured once everything passes")
    elif not arguments.only:
        measured = await measure(
            checker,
            given,
            combine(shipped, given.sources.values(), judged.settings.document())[0],
            [run for run, _ in checker.runs.values()],
        )
        lines += measured.lines()
        if arguments.threshold is not None and measured.percent < arguments.threshold:
            message = f"the tests reach {measured.percent:.1f} % of the lines, fewer than --threshold {arguments.threshold:g}"
            missed = Finding("coverage", display(str(arguments.paths[0])), 0, 0, message, "test the lines that are not reached")
            cases.append(Case("coverage", "threshold", [missed]))
    document = {
        "sources": source_documents(given, judged),
        "tests": [_document(given, test) for test in checker.results],
        "coverage": measured.document() if measured is not None else None,
    }
    return Report("test", cases, document, lines)


def _cases(given: Given, judged: Judged, results: Sequence[Tested]) -> Iterator[Case]:
    """The check of each source, and each test that was run for it."""
    of_tests = [test.problem for test in results]
    for name in given.sources:
        rejected = [problem for problem in judged.acceptance.rejected.get(name, []) if problem not in of_tests]
        yield Case(name, "check", findings_of(given, [*rejected, *judged.warnings.get(name, [])]))
    for test in results:
        found = findings_of(given, [test.problem] if test.problem is not None else [])
        yield Case(_owner(test), f"{test.package}.{test.name}", found, test.seconds, test.skipped, _printed(test))


def _owner(test: Tested) -> str:
    return test.path.partition("/")[0]


def _printed(test: Tested) -> str:
    """What a test printed, after its cases, if it has any."""
    cases = "".join(f"{'✔' if holds else '✘'} {case}\n" for case, holds in sorted(test.cases.items()))
    return cases + test.printed


def _told(cases: Iterable[Case]) -> Iterator[str]:
    for case in cases:
        mark = "✘" if case.failed else "-" if case.skipped else "✔"
        yield f"{mark} {case.source}: {case.name}" + (f" ({case.seconds * 1000:.1f} ms)" if case.seconds else "")
        if not case.failed:
            yield from (f"    {line}" for line in case.printed.splitlines())


def _summary(given: Given, results: Sequence[Tested], judged: Judged) -> Iterator[str]:
    for name in dict.fromkeys([*given.sources, *map(_owner, results)]):
        own = [test for test in results if _owner(test) == name]
        failed, skipped = sum(test.problem is not None for test in own), sum(test.skipped for test in own)
        refused = name in judged.acceptance.rejected
        mark = "✘" if refused or failed else "✔"
        if own:
            yield f"{mark} {name}: {len(own) - failed - skipped} of {len(own)} tests pass" + (f", {skipped} to do" if skipped else "")
        elif refused:
            yield f"{mark} {name}: would be refused, so no test of it was run"
        else:
            yield f"{mark} {name}: good, but no test was run; they are in files that end in _test.rego"


def _document(given: Given, test: Tested) -> dict[str, Any]:
    file, line = on_disk(given, test.path, test.line)
    return {
        "source": _owner(test),
        "package": test.package,
        "name": test.name,
        "file": file,
        "line": line,
        "passed": test.problem is None and not test.skipped,
        "skipped": test.skipped,
        "cases": dict(test.cases),
        "printed": test.printed,
        "seconds": test.seconds,
    }


def _percent(text: str) -> float:
    number = float(text)
    if not 0 <= number <= 100:  # noqa: PLR2004 - percent
        raise argparse.ArgumentTypeError(f"{text} is no percentage")
    return number
