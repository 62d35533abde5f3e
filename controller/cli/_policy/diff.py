"""`phasegate policy diff`: what these policies would change, compared with others, with the shipped ones, or with those of a cluster."""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from controller import paths
from controller.cli._exits import CommandError, Exit
from controller.cli._output import add_output_argument, print_answer
from controller.cli._policy.changes import Change, changed_answers, changed_data, changed_rules
from controller.cli._policy.judge import add_judging_arguments, add_path_arguments, find_opa, judge, shipped_policies
from controller.cli._policy.paths import Given, read_paths
from controller.cli._policy.report import Case, lines_of, shown
from controller.cli._policy.status import InCluster, read_cluster
from controller.cluster.client import connect
from controller.policy.check import Checker
from controller.policy.sources import PolicySet, Source, combine
from controller.settings import Settings

SUMMARY = "say what these policies would change: 0 nothing, 1 something"
_MARKS = {"added": "+", "removed": "-", "changed": "~"}


def add(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare it."""
    parser = actions.add_parser("diff", help=SUMMARY, description=SUMMARY)
    add_path_arguments(parser)
    parser.add_argument(
        "--against",
        default="shipped",
        metavar="PATH|shipped|cluster",
        help="what to compare with: the shipped policies alone (default), others on disk, or what decides in the cluster",
    )
    parser.add_argument("--kubeconfig", type=Path, metavar="FILE", help="of the cluster (default: KUBECONFIG, else the user's)")
    add_judging_arguments(parser)
    add_output_argument(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Compare them."""
    return asyncio.run(_diff(arguments))


@dataclass(frozen=True, slots=True)
class _Difference:
    """Everything that is different; the answers are those to the example questions."""

    packages: Mapping[str, list[Change]]
    states: Mapping[str, str]
    data: Sequence[Change]
    settings: Sequence[Change]
    answers: Mapping[str, list[Change]]

    @property
    def is_empty(self) -> bool:
        """Whether nothing is."""
        return not (self.packages or self.data or self.settings or self.answers)

    def document(self) -> dict[str, Any]:
        """For programs."""
        rules = {name: [{"rule": one.what, "change": one.word} for one in changes] for name, changes in self.packages.items()}
        return {
            "different": not self.is_empty,
            "packages": {name: {"change": self.states[name], "rules": found} for name, found in rules.items()},
            "data": [change.document() for change in self.data],
            "settings": [change.document() for change in self.settings],
            "examples": {gate: [change.document() for change in changes] for gate, changes in self.answers.items()},
        }

    def lines(self) -> Iterator[str]:
        """For people."""
        if self.is_empty:
            yield "no difference"
        for name, changes in self.packages.items():
            yield f"{_MARKS[self.states[name]]} package {name}"
            yield from (f"    {_MARKS[change.word]} {change.what}" for change in changes)
        yield from (f"{_MARKS[one.word]} data.kubernaut.teams.{one.what}{_values(one)}" for one in self.data)
        yield from (f"{_MARKS[one.word]} setting {one.what}{_values(one)}" for one in self.settings)
        for gate, changes in self.answers.items():
            yield f"the example question of gate {gate} is answered differently"
            yield from (f"    {_MARKS[change.word]} {change.what}{_values(change)}" for change in changes)


async def _diff(arguments: argparse.Namespace) -> int:
    given = read_paths(arguments.paths, arguments.name)
    checker = Checker(find_opa(arguments), paths.SCHEMAS, strict=arguments.strict)
    shipped = shipped_policies(arguments)
    in_cluster = arguments.against == "cluster"
    if in_cluster:
        there = await _cluster(arguments)
        sources, settings = there.deciding, there.settings
    else:
        base = Given() if arguments.against == "shipped" else read_paths([Path(arguments.against)])
        sources, settings = base.sources, await _accepted(base, shipped, checker, {})
    before = _combined(shipped, sources, settings)
    # A cluster keeps what is not among the PATHs; what is on disk is the whole of it.
    kept = {name: source for name, source in sources.items() if in_cluster and name not in given.sources}
    ours = await _accepted(given, shipped, checker, kept)
    after = _combined(shipped, {**kept, **given.sources}, settings if in_cluster and given.settings is None else ours)
    states = {module.package: "changed" for module in (*before.modules, *after.modules)}
    old, new = ({module.package for module in one.modules} for one in (before, after))
    states |= dict.fromkeys(new - old, "added") | dict.fromkeys(old - new, "removed")
    found = _Difference(
        await changed_rules(checker, before, after),
        states,
        changed_data(before.data, after.data),
        changed_data(before.settings, after.settings),
        await changed_answers(checker, before, after),
    )
    print_answer(arguments.output, found.document(), map(shown, found.lines()))
    return Exit.DONE if found.is_empty else Exit.NO


async def _accepted(given: Given, shipped: Source, checker: Checker, others: Mapping[str, Source]) -> Settings:
    """The settings of these PATHs, once it is known that a cluster would take all that they hold.

    Raises:
        CommandError: the cluster would not take them, so there is nothing that they would change.
    """
    judged = await judge(given, shipped, checker, others)
    cases = [*judged.case_of_settings(given), *(Case(name, "check", judged.findings(given, name)) for name in given.sources)]
    if errors := [finding for case in cases for finding in case.findings if not finding.warning]:
        said = [line for finding in errors for line in lines_of(finding)]
        raise CommandError("\n".join(["these policies would be refused, and so change nothing", *said]), Exit.USAGE)
    return judged.settings


def _combined(shipped: Source, sources: Mapping[str, Source], settings: Settings) -> PolicySet:
    policy_set, problems = combine(shipped, sources.values(), settings.document())
    if problems:
        raise CommandError(f"these policies do not go together: {problems[0]}", Exit.USAGE)
    return policy_set


async def _cluster(arguments: argparse.Namespace) -> InCluster:
    """What decides in the cluster.

    Raises:
        CommandError: it cannot be read; never with the exit code that says *something is different*.
    """
    try:
        async with await connect(arguments.kubeconfig) as cluster:
            there = await read_cluster(cluster)
    except CommandError as exc:
        raise CommandError(str(exc), Exit.UNREACHABLE if exc.exit == Exit.NO else exc.exit) from exc
    for problem in there.damaged.values():
        raise CommandError(f"what decides in the cluster cannot be told: {problem['message']}; {problem['remedy']}")
    return there


def _values(change: Change) -> str:
    old, new = (_short(value) for value in (change.before, change.after))
    return f": {old} → {new}" if change.word == "changed" else f": {new if change.word == 'added' else old}"


def _short(value: Any) -> str:  # noqa: ANN401 - any JSON value
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 120 else f"{text[:119]}…"  # noqa: PLR2004 - one line
