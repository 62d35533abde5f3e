"""`phasegate policy check`: whether the cluster would take these policies."""

from __future__ import annotations

import argparse
import asyncio

from controller import paths
from controller.cli._exits import Exit
from controller.cli._policy.judge import Judged, add_judging_arguments, add_path_arguments, find_opa, judge, shipped_policies
from controller.cli._policy.paths import Given, read_paths
from controller.cli._policy.report import Case, Report, add_format_argument, print_report
from controller.policy.check import Checker
from controller.policy.sources import Source

SUMMARY = "say whether the cluster would take these policies, and if not, where and why: 0 yes, 1 no"


def add(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare it."""
    parser = actions.add_parser("check", help=SUMMARY, description=SUMMARY)
    add_path_arguments(parser)
    add_judging_arguments(parser)
    add_format_argument(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Check them."""
    given = read_paths(arguments.paths, arguments.name)
    checker = Checker(find_opa(arguments), paths.SCHEMAS, strict=arguments.strict)
    judged = asyncio.run(judge(given, shipped_policies(arguments), checker))
    cases = [*judged.case_of_settings(given), *(Case(name, "check", judged.findings(given, name)) for name in given.sources)]
    lines = [_line(name, source, judged) for name, source in given.sources.items()]
    report = Report("check", cases, {"sources": source_documents(given, judged)}, lines)
    print_report(arguments.output, report)
    return Exit.DONE if report.passed else Exit.NO


def source_documents(given: Given, judged: Judged) -> list[dict[str, object]]:
    """What programs want to know of each source."""
    return [
        {
            "name": name,
            "passed": name not in judged.acceptance.rejected,
            "digest": source.digest,
            "packages": sorted({module.package for module in source.modules}),
            "trials": sorted({module.package for module in source.modules if module.package.startswith("kubernaut.shadow.")}),
        }
        for name, source in given.sources.items()
    ]


def _line(name: str, source: Source, judged: Judged) -> str:
    if problems := judged.acceptance.rejected.get(name):
        return f"✘ {name}: would be refused, {_count(len(problems), 'error')}"
    packages = sorted({module.package for module in source.modules})
    return f"✔ {name}: good; {', '.join(packages) or 'data only'}" + (f"; {_count(len(source.tests), 'test file')}" if source.tests else "")


def _count(number: int, what: str) -> str:
    return f"{number} {what}" + ("" if number == 1 else "s")
