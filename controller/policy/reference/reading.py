"""What the reference is made from: the syntax trees of the shipped policies with their METADATA, and the constants of the actions."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from controller.core.errors import PermanentError
from controller.policy import syntax
from controller.policy.negation import Ast

_SECONDS = 60


class UndescribedError(PermanentError):
    """The reference cannot be made from what is there; the message says what to mend."""


@dataclass(frozen=True, slots=True)
class Module:
    """One parsed file. ``imports``: alias to package; ``rules``: name to its definitions, each `else` as one of its own."""

    package: str
    file: str
    metadata: Mapping[str, Any]
    imports: Mapping[str, str]
    rules: Mapping[str, Sequence[Ast]]


def read_modules(opa: Path, policies: Path) -> dict[str, Module]:
    """Package (without `data.`) to module, tests and what helps them left out.

    Raises:
        ParseError: a file is not Rego.
    """
    modules = {}
    for file in syntax.policy_files(policies / part for part in ("actions", "gates", "lib", "rules")):
        document = syntax.parse_file(opa, file)
        package = ".".join(_words(document["package"]["path"])[1:])
        paths = [(entry.get("alias"), _words(entry["path"]["value"])) for entry in document.get("imports") or []]
        rules: dict[str, list[Ast]] = {}
        for rule in document.get("rules") or []:
            branch: Ast | None = rule
            while branch is not None:
                rules.setdefault(_words(rule["head"]["ref"])[0], []).append({key: branch[key] for key in ("head", "body")})
                branch = branch.get("else")
        about: Ast = next((note for note in document.get("annotations") or [] if note["scope"] in {"package", "subpackages"}), {})
        imports = {str(alias or path[-1]): ".".join(path[1:]) for alias, path in paths}
        modules[package] = Module(package, f"policies/{file.relative_to(policies).as_posix()}", about, imports, rules)
    return modules


def walk(node: object) -> Iterator[Ast]:
    """Every object of a syntax tree."""
    if isinstance(node, Mapping):
        yield node
        node = list(node.values())
    for part in node if isinstance(node, list) else ():
        yield from walk(part)


def _words(path: Sequence[Ast]) -> list[str]:
    return [str(part["value"]) for part in path]


def dotted(ref: Ast) -> str:
    """The words of a reference, or of a call's operator."""
    return ".".join(_words(ref["value"]))


def read_actions(opa: Path, policies: Path) -> dict[str, dict[str, Any]]:
    """Action to its constants: what its module says of no question at all.

    Raises:
        UndescribedError: OPA cannot be run, or finds a fault.
    """
    folders = [part for name in ("actions", "lib") for part in ("--data", str(policies / name))]
    command = [str(opa), "eval", "--format", "json", *folders, "data.kubernaut.actions"]
    try:
        said = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=True).stdout
        return dict(sorted(json.loads(said)["result"][0]["expressions"][0]["value"].items()))
    except (OSError, ValueError, subprocess.TimeoutExpired) as exc:
        raise UndescribedError(f"{' '.join(command)}: {exc}; name the program with --opa") from exc
    except (LookupError, subprocess.CalledProcessError) as exc:
        raise UndescribedError(f"{' '.join(command)}: {getattr(exc, 'stdout', 'no actions there').strip()[:2000]}") from exc
