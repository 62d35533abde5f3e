"""What PATHs are judged with: an `opa`, the shipped policies, and the very parts that the loader uses in the cluster."""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from controller import paths
from controller.cli._exits import CommandError, Exit
from controller.cli._policy.paths import Given
from controller.cli._policy.report import Case, Finding, findings_of
from controller.local import programs
from controller.policy.acceptance import Acceptance, accept
from controller.policy.check import Checker
from controller.policy.judging import Judging
from controller.policy.sources import PolicyProblem, Source, read_shipped
from controller.settings import SETTINGS_CONFIG_MAP, SettingProblem, Settings, parse_settings


@dataclass(frozen=True, slots=True)
class Judged:
    """Which sources of some PATHs would be taken, why the others would not, and what their authors should know."""

    acceptance: Acceptance
    warnings: Mapping[str, list[PolicyProblem]]
    settings: Settings
    setting_problems: list[SettingProblem]

    def findings(self, given: Given, source: str) -> list[Finding]:
        """What is said of one source."""
        return findings_of(given, [*self.acceptance.rejected.get(source, []), *self.warnings.get(source, [])])

    def case_of_settings(self, given: Given) -> list[Case]:
        """What is said of the settings, if there are any."""
        if given.settings is None:
            return []
        problems = [PolicyProblem(SETTINGS_CONFIG_MAP, one.key, 0, 0, one.message) for one in self.setting_problems]
        return [Case(SETTINGS_CONFIG_MAP, "settings", findings_of(given, [*given.settings_problems, *problems]))]


def add_path_arguments(parser: argparse.ArgumentParser) -> None:
    """What is judged, and with what."""
    parser.add_argument(
        "paths",
        nargs="+",
        type=Path,
        metavar="PATH",
        help="a folder of .rego, .json and .yaml files (one source), one .rego file, or YAML with ConfigMaps",
    )
    parser.add_argument("--name", help="what the ConfigMap of the folder is called (default: as the folder)")


def add_judging_arguments(parser: argparse.ArgumentParser) -> None:
    """With what it is judged."""
    parser.add_argument("--policies", type=Path, default=paths.POLICIES, help="the shipped policies (default: those of this version)")
    parser.add_argument(
        "--opa", "--opa-binary", metavar="PROGRAM", help="the opa program, a path or a name (default: the pinned one, or that on the PATH)"
    )
    parser.add_argument("--strict", action="store_true", help="a `not` that can be undefined is an error, not a warning")


def find_opa(arguments: argparse.Namespace) -> Path:
    """Where the program lies that was named, else that of the pinned version, else whatever opa is on the PATH.

    Raises:
        CommandError: there is none.
    """
    if arguments.opa is not None:
        # Absolute, because it is run in a folder of its own.
        if (named := shutil.which(arguments.opa)) is None:
            message = f"--opa: there is no program {arguments.opa!r}; name one by its path, or by a name that is on the PATH"
            raise CommandError(message, Exit.UNREACHABLE)
        return Path(named).absolute()
    if (pinned := programs.find("opa")) is not None:
        return pinned
    if (found := shutil.which("opa")) is None:
        message = "there is no opa to check policies with; put it on the PATH, name it with --opa, or build it with `make programs`"
        raise CommandError(message, Exit.UNREACHABLE)
    print(f"phasegate: {found} is not the pinned version, {programs.PROGRAMS['opa'].version}; it may judge differently", file=sys.stderr)
    return Path(found).absolute()


def shipped_policies(arguments: argparse.Namespace) -> Source:
    """The shipped set.

    Raises:
        CommandError: its folder holds none.
    """
    try:
        return read_shipped(arguments.policies)
    except (OSError, ValueError) as exc:
        raise CommandError(f"--policies: {exc}", Exit.USAGE) from exc


async def judge(given: Given, shipped: Source, checker: Checker, others: Mapping[str, Source] | None = None) -> Judged:
    """Judge the sources as a loader would that finds all of them at once, and until now has had the ``others``, which are good.

    Raises:
        CheckUnavailableError: it could not be found out.
    """
    # The environment of a laptop says nothing about that of the controller.
    settings, setting_problems = parse_settings(given.settings or {}, {})
    judging = Judging(shipped, checker)
    judging.settings = settings.document()
    judging.unreadable.update(given.unreadable)
    acceptance = await accept(others or {}, {**(others or {}), **given.sources}, judging)
    return Judged(acceptance, judging.warnings(given.sources.values()), settings, setting_problems)
