"""Printing an answer: a document for programs (`--output json`), lines for people."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable
from typing import Any


def add_output_argument(parser: argparse.ArgumentParser) -> None:
    """The flag that every printing command has."""
    parser.add_argument(
        "-o", "--output", choices=("text", "json"), default="text", help="text for people, json for programs (default: text)"
    )


def print_answer(output: str, document: Any, lines: Iterable[str]) -> None:  # noqa: ANN401 - any JSON document
    """Print the document or the lines; ``lines`` may be a generator, it is not run for JSON."""
    if output == "json":
        print(json.dumps(document, indent=2))
    else:
        for line in lines:
            print(line)
    sys.stdout.flush()
