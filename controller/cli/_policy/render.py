"""`phasegate policy render`: a folder of policies as the ConfigMap that brings them into a cluster."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from controller.cli._exits import CommandError, Exit
from controller.cli._policy.paths import read_paths
from controller.cli._policy.report import findings_of, lines_of
from controller.policy.judging import version
from controller.policy.render import render_config_map

SUMMARY = "print the ConfigMap of a folder of policies, tests included; nothing is checked but that it can be one"


def add(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare it."""
    parser = actions.add_parser("render", help=SUMMARY, description=SUMMARY)
    parser.add_argument("path", type=Path, metavar="PATH", help="a folder of .rego, .json and .yaml files, or one .rego file")
    parser.add_argument("--name", help="of the ConfigMap (default: as the folder)")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="where to write it (default: standard output)")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Render it."""
    given = read_paths([arguments.path], arguments.name)
    if len(given.sources) != 1:
        message = f"{arguments.path} holds {len(given.sources)} sources, and render makes one ConfigMap of one folder"
        raise CommandError(message, Exit.USAGE)
    ((name, source),) = given.sources.items()
    if problems := given.unreadable.get(version(source)):
        for finding in findings_of(given, problems):
            sys.stderr.writelines(f"{line}\n" for line in lines_of(finding))
        return Exit.NO
    header = "# Rendered by `phasegate policy render`; edit the policies that it was rendered from.\n"
    text = render_config_map(name, given.config_maps[name]["data"], header=header)
    if arguments.output is None:
        sys.stdout.write(text)
        return Exit.DONE
    try:
        arguments.output.write_text(text, encoding="utf-8")
    except OSError as exc:
        raise CommandError(f"cannot write {arguments.output}: {exc.strerror}", Exit.USAGE) from exc
    return Exit.DONE
