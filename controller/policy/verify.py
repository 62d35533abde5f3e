"""Everything that must hold of policies/ before it ships: `python -m controller.policy.verify`, which is `make policy`.

Format, types against schemas/, negations that cannot fail open, our conventions, tests with every line of gates and actions
covered, lint. All of it runs whatever fails first; the exit code is 1 if anything failed.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from controller import paths
from controller.local import programs
from controller.local.errors import LocalError
from controller.policy import negation, syntax
from controller.policy.sources import GATES

_TAKES_AT_MOST = 300
# Coverage is slow, and a busy machine slower: OPA's own limit of 5 s a test would fail a whole table of cases.
_A_TEST_TAKES = "60s"
_ENTRYPOINTS = ("verdict", "shadow")
_COVERED = ("gates", "actions")
_TABLE = re.compile(r"test_\w+\[[^\]]*\]")


@dataclass(frozen=True, slots=True)
class Tree:
    """What is verified, and with what."""

    policies: Path
    schemas: Path
    opa: Path
    regal: Path

    def run(self, program: Path, *arguments: str | Path) -> tuple[bool, str, str]:
        """Run a program from the folder above policies/; answers (ended well, stdout, stderr)."""
        ended = subprocess.run(
            [str(program), *map(str, arguments)],
            cwd=self.policies.parent,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_TAKES_AT_MOST,
            check=False,
        )
        return ended.returncode == 0, ended.stdout, ended.stderr


def format_problems(tree: Tree) -> list[str]:
    """Files that `opa fmt` would write differently."""
    good, out, err = tree.run(tree.opa, "fmt", "--list", "--fail", tree.policies.name)
    if good:
        return []
    return [f"{file}: not formatted; run `opa fmt -w policies`" for file in out.splitlines()] or _lines(err)


def type_problems(tree: Tree) -> list[str]:
    """What the strict compiler says, with the inputs typed by schemas/."""
    good, out, err = tree.run(tree.opa, "check", "--strict", "--schema", tree.schemas, tree.policies.name)
    return [] if good else _lines(err or out)


def negation_problems(tree: Tree) -> list[str]:
    """Negations that can be undefined. Tests may negate what they like: nothing is decided there."""
    try:
        modules = [(str(file), syntax.parse_file(tree.opa, file)) for file in syntax.policy_files([tree.policies])]
    except syntax.ParseError as exc:
        return [str(exc)]
    found = negation.find_unsafe(modules)
    return [str(unsafe).replace(f"{tree.policies.parent}/", "", 1) for unsafe in found]


def convention_problems(tree: Tree) -> list[str]:
    """Our own rules: entrypoints, descriptions, a test file for each gate, action and shipped rule."""
    good, out, err = tree.run(tree.opa, "inspect", "--annotations", "--format", "json", tree.policies.name)
    if not good:
        return _lines(err or out)
    annotated = _annotated(json.loads(out).get("annotations") or [])
    modules = [(file, syntax.parse_file(tree.opa, file)) for file in syntax.policy_files([tree.policies])]
    problems: list[str] = []
    for file, module in modules:
        package = ".".join(str(part["value"]) for part in module["package"]["path"])
        place = str(file.relative_to(tree.policies.parent))
        problems += _undescribed(place, package, module, annotated)
    for gate in sorted(GATES):
        for entrypoint in _ENTRYPOINTS:
            if not annotated.get(f"data.kubernaut.gates.{gate}.{entrypoint}", {}).get("entrypoint"):
                problems.append(f"gate {gate} has no entrypoint {entrypoint}: annotate the rule with `entrypoint: true`")
    return problems + list(_untested(tree.policies))


def _annotated(entries: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Path of a package or rule → what its annotations say together."""
    found: dict[str, dict[str, Any]] = {}
    for entry in entries:
        path = ".".join(str(part["value"]) for part in entry["path"])
        found.setdefault(path, {}).update(entry.get("annotations") or {})
    return found


def _undescribed(place: str, package: str, module: negation.Ast, annotated: Mapping[str, Any]) -> Iterator[str]:
    if not annotated.get(package, {}).get("description"):
        yield f"{place}: the package has no METADATA description"
    if package.startswith("data.kubernaut.actions."):
        # What each rule of an action is for stands once, in the action contract; scale_deployment shows it.
        return
    seen: set[str] = set()
    for rule in module.get("rules") or []:
        name = str(rule["head"]["ref"][0]["value"])
        if name.startswith("_") or name in seen:
            continue
        seen.add(name)
        if _folded(package, name):
            continue
        if not annotated.get(f"{package}.{name}", {}).get("description"):
            yield f"{place}:{rule['location']['row']}: the public rule {name} has no METADATA description (or begin its name with `_`)"


def _folded(package: str, name: str) -> bool:
    """The sets that every gate and rule has: what they are stands in the contract, and each entry says what it is for."""
    return package.startswith(("data.kubernaut.gates.", "data.kubernaut.rules.")) and name in {"deny", "wait", "warn", "facts"}


def _untested(policies: Path) -> Iterator[str]:
    for folder in (*_COVERED, "rules"):
        for file in sorted((policies / folder).rglob("*.rego")):
            test = policies / "tests" / file.relative_to(policies).with_name(f"{file.stem}_test.rego")
            if not test.is_file():
                yield f"{file.relative_to(policies.parent)} has no test: write {test.relative_to(policies.parent)}"


def test_problems(tree: Tree) -> list[str]:
    """Tests that fail, tables of cases that are empty, and lines of gates and actions that no test reaches."""
    good, out, _ = tree.run(tree.opa, "test", "--timeout", _A_TEST_TAKES, "--coverage", "--format", "json", tree.policies.name)
    if not good:
        # With coverage asked for, OPA does not tell which test failed.
        _, out, err = tree.run(tree.opa, "test", "--timeout", _A_TEST_TAKES, "--format", "pretty", tree.policies.name)
        return ["with coverage the tests fail; without it OPA says:", *_lines(out + err)]
    files = json.loads(out)["files"]
    return [*_without_cases(files, tree.policies), *_uncovered(files, tree.policies)]


def _without_cases(files: Mapping[str, Any], policies: Path) -> Iterator[str]:
    """Find `test_x[note]` without a single case, which OPA lets pass.

    Its head is reached once for each case that holds, and a case that does not hold fails the run: an unreached head had no case.
    """
    for file in sorted((policies / "tests").rglob("*.rego")):
        place = str(file.relative_to(policies.parent))
        unreached = {gap["start"]["row"] for gap in files.get(place, {}).get("not_covered") or []}
        for row, line in enumerate(file.read_text().splitlines(), 1):
            if (table := _TABLE.match(line)) and (row in unreached or place not in files):
                yield f"{place}:{row}: {table[0]} has no case: one undefined cell empties its whole table; give every cell a value"


def _uncovered(files: Mapping[str, Any], policies: Path) -> Iterator[str]:
    for folder in _COVERED:
        for file in sorted((policies / folder).rglob("*.rego")):
            place = str(file.relative_to(policies.parent))
            if place not in files:
                yield f"{place}: no test reaches it"
                continue
            rows = sorted({(gap["start"]["row"], gap["end"]["row"]) for gap in files[place].get("not_covered") or []})
            for first, last in rows:
                yield f"{place}:{first}: no test reaches {'this line' if first == last else f'lines {first} to {last}'}"


def lint_problems(tree: Tree) -> list[str]:
    """What regal says, under .regal/config.yaml."""
    good, out, err = tree.run(tree.regal, "lint", "--format", "json", tree.policies.name)
    if good:
        return []
    try:
        violations = json.loads(out)["violations"]
    except (ValueError, KeyError):
        return _lines(out + err)
    return [
        f"{v['location']['file']}:{v['location']['row']}:{v['location']['col']}: {v['category']}/{v['title']}: {v['description']}"
        for v in violations
    ]


CHECKS: Mapping[str, Callable[[Tree], list[str]]] = {
    "format": format_problems,
    "types": type_problems,
    "negation": negation_problems,
    "conventions": convention_problems,
    "tests": test_problems,
    "lint": lint_problems,
}


def verify(tree: Tree, checks: Iterable[str] = CHECKS) -> dict[str, list[str]]:
    """Check name → what is wrong; every check is made."""
    found: dict[str, list[str]] = {}
    for name in checks:
        began = time.monotonic()
        try:
            found[name] = CHECKS[name](tree)
        except (OSError, subprocess.TimeoutExpired) as exc:
            found[name] = [f"the check could not be made: {exc}"]
        said = "ok" if not found[name] else f"{len(found[name])} to mend"
        sys.stdout.write(f"{name:<12} {said:<14} {time.monotonic() - began:5.1f} s\n")
        sys.stdout.writelines(f"  {problem}\n" for problem in found[name])
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; 0 all is well, 1 something is to mend, 3 a program is missing."""
    parser = argparse.ArgumentParser(prog="python -m controller.policy.verify", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("checks", nargs="*", choices=[*CHECKS, []], metavar="CHECK", help=f"of {', '.join(CHECKS)}; default: all")
    parser.add_argument("--policies", type=Path, default=paths.POLICIES)
    parser.add_argument("--schemas", type=Path, default=paths.SCHEMAS)
    options = parser.parse_args(arguments)
    try:
        found = programs.provide("opa", "regal")
    except LocalError as exc:
        sys.stderr.write(f"phasegate: {exc}\n")
        return 3
    tree = Tree(options.policies.resolve(), options.schemas.resolve(), found["opa"], found["regal"])
    return 1 if any(verify(tree, options.checks or CHECKS).values()) else 0


def _lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.strip()]


if __name__ == "__main__":
    sys.exit(main())
