"""What tells two policy sets apart: packages and rules by what they say (not by comments or layout), data, settings, and answers.

The answers are those of every gate to its example question, `data.kubernaut.testing.questions.<gate>`, and of its entrypoint `shadow`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from controller.cli._exits import CommandError, Exit
from controller.policy.check import Checker
from controller.policy.conventions import Parsed
from controller.policy.sources import GATES, Module, PolicySet

# One by one, for the type checker cannot make head or tail of a package indexed by a variable.
_QUESTIONS = ", ".join(f'"{gate}": data.kubernaut.testing.questions.{gate}' for gate in sorted(GATES))
_QUERY = f"""{{gate: {{"verdict": verdict, "shadow": shadow}} |
    some gate, question in {{{_QUESTIONS}}}
    verdict := data.kubernaut.gates[gate].verdict with input as question
    shadow := data.kubernaut.gates[gate].shadow with input as question
}}"""
_LISTED = ("reasons", "warnings", "facts")


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that is different; ``before`` or ``after`` is None where it is not there."""

    what: str
    before: Any = None
    after: Any = None

    @property
    def word(self) -> str:
        """What happened to it."""
        return "added" if self.before is None else "removed" if self.after is None else "changed"

    def document(self) -> dict[str, Any]:
        """For programs."""
        return {"what": self.what, "change": self.word, "before": self.before, "after": self.after}


async def changed_rules(checker: Checker, before: PolicySet, after: PolicySet) -> dict[str, list[Change]]:
    """Package → its rules and imports that differ, those of a package that is new or gone included.

    Raises:
        CommandError: a module cannot be parsed.
    """
    modules = [{module.path: module for module in one.modules} for one in (before, after)]
    differing = [path for path in sorted(modules[0].keys() | modules[1].keys()) if modules[0].get(path) != modules[1].get(path)]
    said = [[await _rules(checker, one[path]) for path in differing if path in one] for one in modules]
    old, new = ({package: _joined([rules for p, rules in one if p == package]) for package, _ in one} for one in said)
    changes = {package: list(_changes(old.get(package, {}), new.get(package, {}))) for package in sorted(old.keys() | new.keys())}
    return {package: found for package, found in changes.items() if found or (package in old) != (package in new)}


def changed_data(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Change]:
    """Path of a value → what it was and is; of data of the teams, and of settings."""
    return list(_changes(dict(_leaves(before)), dict(_leaves(after))))


async def changed_answers(checker: Checker, before: PolicySet, after: PolicySet) -> dict[str, list[Change]]:
    """Gate → what is different in its answer to its example question.

    Raises:
        CommandError: a set cannot answer.
    """
    old, new = await _answers(checker, before), await _answers(checker, after)
    found = {gate: list(_changes(old.get(gate, {}), new.get(gate, {}))) for gate in sorted(old.keys() | new.keys())}
    return {gate: changes for gate, changes in found.items() if changes}


async def _rules(checker: Checker, module: Module) -> tuple[str, dict[str, Any]]:
    parsed = await checker.parse(module)
    if not isinstance(parsed, Parsed):
        raise CommandError(f"cannot compare {module.path}: {parsed[0]}", Exit.USAGE)
    rules: dict[str, list[str]] = {}
    for rule in parsed.ast.get("rules") or []:
        name = ".".join(str(part["value"]) for part in rule["head"]["ref"] if part.get("type") in {"var", "string"})
        rules.setdefault(name, []).append(json.dumps(_bare(rule, {}), sort_keys=True))
    for imported in parsed.ast.get("imports") or []:
        name = "import " + ".".join(str(part["value"]) for part in imported["path"]["value"])
        rules[name] = [str(imported.get("alias", ""))]
    return module.package, {name: sorted(texts) for name, texts in rules.items()}


def _joined(modules: list[dict[str, Any]]) -> dict[str, Any]:
    """The rules of a package that several modules define."""
    joined: dict[str, list[str]] = {}
    for rules in modules:
        for name, texts in rules.items():
            joined[name] = sorted([*joined.get(name, []), *texts])
    return joined


def _bare(node: Any, names: dict[str, str]) -> Any:  # noqa: ANN401 - a piece of an AST
    """The AST without places; the names that the parser gives to `_` are counted anew, for they depend on the rules before."""
    if isinstance(node, Mapping):
        if node.get("type") == "var" and str(node.get("value")).startswith("$"):
            return {"type": "var", "value": names.setdefault(str(node["value"]), f"${len(names)}")}
        return {key: _bare(value, names) for key, value in node.items() if key not in {"location", "annotations"}}
    return [_bare(value, names) for value in node] if isinstance(node, list) else node


def _leaves(document: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in document.items():
        place = f"{path}.{key}" if path else str(key)
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, place)
        else:
            yield place, "null" if value is None else value


async def _answers(checker: Checker, policy_set: PolicySet) -> dict[str, dict[str, Any]]:
    value, problems = await checker.ask(policy_set, _QUERY)
    if problems:
        raise CommandError(f"the example questions cannot be answered: {problems[0]}", Exit.USAGE)
    return {gate: dict(_told(answer)) for gate, answer in (value or {}).items()}


def _told(answer: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Everything that an answer says, each reason by its policy and code."""
    verdict = answer["verdict"]
    for name in _LISTED[:2]:
        for reason in verdict.get(name) or []:
            yield f"{name.removesuffix('s')} {reason.get('policy')}: {reason.get('code')}", reason.get("message", "")
    for request in verdict.get("facts") or []:
        yield f"fact {request.get('id')}", request
    for line in answer["shadow"] or []:
        code = line.get("code") or (line.get("request") or {}).get("id")
        yield f"on trial, {line.get('policy')} would say {line.get('effect')}: {code}", line.get("message", "")
    for name, value in verdict.items():
        if name not in _LISTED:
            yield name, value


def _changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Change]:
    for name in sorted(before.keys() | after.keys()):
        if before.get(name) != after.get(name):
            yield Change(name, before.get(name), after.get(name))
