"""Pages of docs/ whose commands are run: the fenced blocks, in order, in one shell and a folder of the test's own."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from controller.local import programs
from controller.paths import ROOT

_BLOCK = re.compile(r"^```(\w+)(?: (\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_PATIENCE = 240
_END = "-- end of command"


@dataclass(frozen=True, slots=True)
class Command:
    """A command of a page, and what the page says that it prints; … stands for anything."""

    text: str
    prints: tuple[str, ...]


def follow(page: Path, folder: Path) -> None:
    """Write the files of a page and run its commands.

    Raises:
        AssertionError: one prints or ends otherwise than the page says (an exit code other than 0 is shown by `echo $?`).
    """
    files, commands = read(page)
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    said = run_all([command.text for command in commands], folder)
    following = [*(command.text for command in commands[1:]), ""]
    for command, after, (code, out) in zip(commands, following, said, strict=True):
        assert matches(command.prints, out), f"$ {command.text}\nprints:\n{out}\nand not:\n" + "\n".join(command.prints)
        assert code == 0 or after == "echo $?", f"$ {command.text}\nended with {code}:\n{out}"


def read(page: Path) -> tuple[dict[str, str], list[Command]]:
    """Files of a page (blocks with a name) and its commands (`console` blocks, lines that begin with a dollar sign)."""
    files: dict[str, str] = {}
    commands: list[Command] = []
    for language, name, text in _BLOCK.findall(page.read_text()):
        if name:
            files[name] = text
        elif language == "console":
            for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
                command, *prints = part.rstrip("\n").split("\n")
                commands.append(Command(command, tuple(prints)))
    return files, commands


def run_all(commands: list[str], folder: Path) -> list[tuple[int, str]]:
    """Exit code and output of each command, all of them given to one shell."""
    found = programs.provide("opa", "kubectl")
    tools = folder / ".tools"
    tools.mkdir(exist_ok=True)
    for name, program in found.items():
        (tools / name).unlink(missing_ok=True)
        (tools / name).symlink_to(program)
    (tools / "phasegate").write_text(f'#!/bin/sh\nexec {sys.executable} -m controller "$@"\n')
    (tools / "phasegate").chmod(0o755)
    environment = {**os.environ, "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    script = "".join(f"{command}\nrc=$?; printf '\\n%s %d\\n' '{_END}' $rc; (exit $rc)\n" for command in commands)
    bash = shutil.which("bash")
    assert bash is not None
    ended = subprocess.run(
        [bash, "-c", script],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=_PATIENCE,
        check=False,
    )
    parts = re.findall(rf"(.*?)\n{_END} (\d+)\n", ended.stdout, re.DOTALL)
    assert len(parts) == len(commands), ended.stdout
    return [(int(code), out) for out, code in parts]


def matches(prints: tuple[str, ...], out: str) -> bool:
    """Whether a command printed what its page shows; a line that is … alone stands for any lines, and a page may show nothing at all."""
    pattern = "".join(r"(?:.*\n)*?" if line == "…" else re.escape(line).replace("…", ".*") + "\n" for line in prints)
    return not prints or re.fullmatch(pattern, f"{out.rstrip()}\n") is not None
