"""The command line: one module per command, found by its file name.

A module here that has ``add(commands)`` is a command: ``add`` declares its parser and sets ``run`` as its default, and ``run(arguments)``
answers the exit code. ``export_test.py`` is ``phasegate export-test``. The first line of its docstring is its summary.
Only the module of the command at hand is imported, so none pays for another's imports.
"""

from __future__ import annotations

import argparse
import ast
import importlib
import io
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from controller import __version__
from controller.cli._exits import CommandError, Exit
from controller.core.errors import ControllerError

_HERE = Path(__file__).parent
_INTERRUPTED = 130


def main(words: Sequence[str] | None = None) -> int:
    """Run one command; every failure that has a name is one message on stderr and its exit code."""
    words = list(sys.argv[1:] if words is None else words)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # Where the terminal cannot show a mark, a question mark will do.
            stream.reconfigure(errors="replace")
    try:
        arguments = _parser(words[0] if words else "").parse_args(words)
        return int(arguments.run(arguments))
    except CommandError as exc:
        print(f"phasegate: {exc}", file=sys.stderr)
        return exc.exit
    except ControllerError as exc:
        # What has a name and was not judged by the command itself: something needed could not be had.
        print(f"phasegate: {exc}", file=sys.stderr)
        return Exit.UNREACHABLE
    except BrokenPipeError:
        # Whoever read our output (head, less) has enough; the interpreter must not stumble over it once more when it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.DONE
    except KeyboardInterrupt:
        return _INTERRUPTED


def _parser(wanted: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="phasegate",
        description="Runs remediation workflows on Kubernetes; every decision on the way is a Rego policy.",
        epilog="Exit codes: 0 done, 1 the answer is no, 2 wrong usage or input, 3 could not reach what it needs.",
    )
    parser.add_argument("--version", action="version", version=f"phasegate {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    if _summary(wanted) is not None:
        importlib.import_module(f"{__name__}.{wanted.replace('-', '_')}").add(commands)
        return parser
    for file in sorted(_HERE.glob("[!_]*.py")):
        name = file.stem.replace("_", "-")
        if (summary := _summary(name)) is not None:
            commands.add_parser(name, help=summary)
    return parser


def _summary(name: str) -> str | None:
    """The first line of the module's docstring, read without importing it; None if there is no such command."""
    file = _HERE / f"{name.replace('-', '_')}.py"
    if not name or name.startswith(("-", "_")) or not file.is_file():
        return None
    tree = ast.parse(file.read_text(encoding="utf-8"))
    if not any(isinstance(node, ast.FunctionDef) and node.name == "add" for node in tree.body):
        return None
    return (ast.get_docstring(tree) or "").partition("\n")[0].removeprefix(f"`phasegate {name}`: ")
