"""Policies on disk for tests of `phasegate policy`, and the command run in this very process."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from controller.cli import main

GOOD = "package kubernaut.rules.dispatch.team\n\nlimit contains 3\n"
UNSAFE = "package kubernaut.rules.dispatch.team\n\nlimit contains n if {\n\tn := missing\n}\n"


@dataclass(frozen=True, slots=True)
class PolicyCommand:
    """``say("check", "team")`` answers exit code, stdout and stderr."""

    opa: Path
    capsys: pytest.CaptureFixture[str]

    def __call__(self, action: str, *words: str) -> tuple[int, str, str]:
        """Run one command."""
        with_opa = () if action in {"render", "status"} else (f"--opa={self.opa}",)
        try:
            code = main(["policy", action, *with_opa, *words])
        except SystemExit as ended:
            code = int(ended.code or 0)
        said = self.capsys.readouterr()
        return code, said.out, said.err


def write(file: str, text: str | bytes) -> Path:
    """Write a file, and the folders that it is in."""
    path = Path(file)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def manifest(name: str, *lines: str, labels: str = "{kubernaut.ai/policy: rego}", namespace: str = "") -> str:
    """The YAML of a ConfigMap with these lines below `data`."""
    head = ["apiVersion: v1", "kind: ConfigMap", "metadata:", f"  name: {name}", f"  labels: {labels}"]
    return "\n".join([*head, *([f"  namespace: {namespace}"] if namespace else []), "data:", *lines]) + "\n"
