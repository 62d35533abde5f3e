"""The AST of the Rego files of a checkout, for what generates from policies/ and verifies them."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable
from pathlib import Path

from controller.core.errors import PermanentError
from controller.policy.negation import Ast

_PARSING_TAKES_AT_MOST = 30


class ParseError(PermanentError):
    """A file is not Rego, so nothing can be said about it."""


def policy_files(roots: Iterable[Path]) -> list[Path]:
    """The Rego files at and below these places, tests left out: what they say decides nothing."""
    found = {path for root in roots for path in ([root] if root.is_file() else root.rglob("*.rego"))}
    return sorted(path for path in found if not path.name.endswith("_test.rego"))


def parse_file(opa: Path, file: Path) -> Ast:
    """The AST of one file.

    Raises:
        ParseError: it is not Rego, or the program did not answer.
    """
    command = [str(opa), "parse", "--format", "json", "--json-include", "locations,-comments", str(file)]
    try:
        ended = subprocess.run(command, capture_output=True, text=True, timeout=_PARSING_TAKES_AT_MOST, check=False)
        document: Ast = json.loads(ended.stdout)
    except (OSError, ValueError, subprocess.TimeoutExpired) as exc:
        said = ended.stderr.strip() if isinstance(exc, ValueError) else str(exc)
        raise ParseError(f"{file} cannot be parsed: {said}") from exc
    return document
