"""What the compiler cannot know of a policy: which rules a gate folds in, of what type they are, and which `not` can fail open.

A rule that nothing folds in is ignored without a word by OPA: `deny if …` (a boolean), `limit := "5"`, `dney contains …`. Here each is a
problem with its line and the right spelling. Pure: it reads the AST of `opa parse --format json --json-include locations,-comments`.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from controller.core.verdict import FactRequest
from controller.policy.negation import Ast, find_unsafe
from controller.policy.sources import Module, PolicyProblem

_COMMON = {"deny": "reason", "wait": "reason", "warn": "reason", "facts": "request"}
_OF_GATE = {
    "dispatch": {"limit": "number", "hold": "step", "skip": "step", "adjust": "adjustment"},
    "approval": {"require_approval": "approval"},
    "rollback": {"overwrite": "overwrite", "stop": "reason"},
}
FORMS = {
    "reason": '{"code": "…", "message": "…"}',
    "request": '{"id": "…", "verb": "get", …}',
    "number": "5",
    "step": '{"step": 1, "code": "…", "message": "…"}',
    "adjustment": '{"step": 1, "timeout": "10m", "reason": "…"}',
    "approval": '{"reason": "…"}',
    "overwrite": '{"step": 1, "reason": "…"}',
    "sentence": '"why nothing is left to do"',
}
FIELDS: Mapping[str, frozenset[str]] = {
    "reason": frozenset({"code", "message", "remedy"}),
    "request": frozenset(FactRequest.model_fields),
    "step": frozenset({"step", "code", "message", "remedy"}),
    "adjustment": frozenset({"max_parallel", "step", "timeout", "parameter", "value", "between", "one_of", "reason"}),
    "approval": frozenset({"reason", "count", "groups", "not_requester"}),
    "overwrite": frozenset({"step", "reason"}),
}
_NEEDED: Mapping[str, tuple[str, ...]] = {
    "reason": ("code",),
    "request": ("id", "verb"),
    "step": ("step",),
    "adjustment": ("reason",),
    "overwrite": ("step", "reason"),
}
# Kinds of which an entry may be, or is, a text.
_TEXTS = frozenset({"approval", "sentence"})
# What the gates read of an action; `parameters_valid`, `facts` and `result` may be left out.
_ACTION_NEEDS = (
    "executor",
    "holds",
    "operations",
    "permissions",
    "postconditions",
    "preconditions",
    "reversible",
    "service_account",
    "target",
    "timeout_seconds",
)
# What is read of an action only if it is a set.
_ACTION_SETS = {"unnecessary": "sentence"}
_CODE = re.compile(r"[a-z][a-z0-9_]{0,62}")
_CONSTANTS = frozenset({"null", "boolean", "number", "string"})


@dataclass(frozen=True, slots=True)
class Parsed:
    """A module and its AST."""

    module: Module
    ast: Ast


def rules_of_gate(gate: str) -> Mapping[str, str]:
    """Rule name → kind of entry, for everything that a gate folds in."""
    return {**_COMMON, **_OF_GATE.get(gate, {})}


def broken(parsed: Iterable[Parsed], *, strict: bool = False) -> list[PolicyProblem]:
    """What is wrong with the modules of one source.

    Args:
        parsed: all modules of the source, tests left out.
        strict: a `not` that can be undefined is an error, not a warning.
    """
    known = list(parsed)
    found = [problem for one in known for problem in _of_module(one)]
    found += _of_actions(known)
    return [*found, *_negations(known, strict=strict)]


def _of_module(parsed: Parsed) -> Iterator[PolicyProblem]:
    parts = parsed.module.package.split(".")
    if len(parts) == 4 and parts[1] in {"rules", "shadow"}:  # noqa: PLR2004 - kubernaut.rules.<gate>.<name>
        yield from _of_team_rule(parsed, parts[2])


def _of_team_rule(parsed: Parsed, gate: str) -> Iterator[PolicyProblem]:
    folded = rules_of_gate(gate)
    used = set(_names(parsed.ast.get("rules") or []))
    for rule in parsed.ast.get("rules") or []:
        name = _name(rule)
        if name in folded:
            yield from _of_folded(parsed.module, rule, name, folded[name])
        elif not name.startswith("_") and name not in used:
            close = difflib.get_close_matches(name, folded, n=1)
            remedy = f"did you mean {close[0]}? " if close else ""
            yield _problem(
                parsed.module,
                rule,
                f"gate {gate} knows no rule {name}, and nothing here uses it, so it would be ignored",
                f"{remedy}the gate folds in {', '.join(folded)}; a helper's name begins with _",
            )


def _of_folded(module: Module, rule: Ast, name: str, kind: str) -> Iterator[PolicyProblem]:
    """Of a rule that the gate folds in: it has to be a set, of entries that the gate can read."""
    head = rule["head"]
    form = f"write `{name} contains {FORMS[kind]} if …`"
    value = head.get("value") or {}
    if rule.get("default") or "args" in head or len(head["ref"]) > 1:
        yield _problem(module, rule, f"{name} must be a set", form)
    elif "key" in head:
        yield from _of_entry(module, rule, head["key"], kind)
    elif value.get("type") == "set":
        for entry in value["value"]:
            yield from _of_entry(module, rule, entry, kind)
    elif value.get("type") in {*_CONSTANTS, "array", "object", "arraycomprehension", "objectcomprehension"}:
        # Anything else is known at evaluation only; the gate denies what is no set then.
        yield _problem(module, rule, f"{name} is {_article(value['type'])}, not a set, so it would be ignored", form)


def _of_entry(module: Module, rule: Ast, entry: Ast, kind: str) -> Iterator[PolicyProblem]:
    """Of an entry that is written out; what is computed is judged by the gate."""
    if entry["type"] == "object" and kind != "sentence":
        keys = [key["value"] for key, _ in entry["value"] if key["type"] == "string"]
        for needed in _NEEDED.get(kind, ()):
            if needed not in keys:
                yield _problem(module, rule, f"an entry of {_name(rule)} has no {needed}", f"it looks like {FORMS[kind]}")
        for key in keys:
            # A field that nobody reads does no harm, but one that was meant to be another is lost.
            fields = FIELDS.get(kind, frozenset())
            close = difflib.get_close_matches(key, fields - set(keys), n=1, cutoff=0.75)
            if key not in fields and close:
                message = f"an entry of {_name(rule)} has a field {key} that nobody reads"
                yield _problem(module, rule, message, f"did you mean {close[0]}? it has {', '.join(sorted(fields))}")
        yield from _of_code(module, rule, entry)
    elif kind == "reason" and entry["type"] == "string":
        yield from _of_code_text(module, rule, entry["value"])
    elif kind in _TEXTS and entry["type"] == "string":
        return
    elif entry["type"] in {*_CONSTANTS, "array", "object"} and not (kind == "number" and entry["type"] == "number"):
        yield _problem(
            module,
            rule,
            f"an entry of {_name(rule)} is {_article(entry['type'])}, which the gate cannot read",
            f"it looks like {FORMS[kind]}",
        )


def _of_code(module: Module, rule: Ast, entry: Ast) -> Iterator[PolicyProblem]:
    for key, value in entry["value"]:
        if key.get("value") == "code" and value["type"] in _CONSTANTS:
            yield from _of_code_text(module, rule, value["value"])


def _of_code_text(module: Module, rule: Ast, text: object) -> Iterator[PolicyProblem]:
    if not isinstance(text, str) or not _CODE.fullmatch(text):
        shown = str(text)[:64]
        yield _problem(
            module, rule, f"the code {shown!r} is not snake_case", "a code is a stable name such as change_freeze; prose is the message"
        )


def _of_actions(parsed: list[Parsed]) -> Iterator[PolicyProblem]:
    actions: dict[str, list[Parsed]] = {}
    for one in parsed:
        parts = one.module.package.split(".")
        if len(parts) == 3 and parts[1] == "actions" and not parts[2].endswith("_test"):  # noqa: PLR2004 - kubernaut.actions.<action>
            actions.setdefault(parts[2], []).append(one)
    for action, modules in actions.items():
        have = {_name(rule) for one in modules for rule in one.ast.get("rules") or []}
        for one in modules:
            for rule in one.ast.get("rules") or []:
                if kind := _ACTION_SETS.get(_name(rule)):
                    yield from _of_folded(one.module, rule, _name(rule), kind)
        missing = [name for name in _ACTION_NEEDS if name not in have]
        if missing:
            module = modules[0].module
            message = f"action {action} has no {', '.join(missing)}"
            yield PolicyProblem(
                module.source, module.key, 1, 1, message, "policies/actions/cordon_node.rego is a short example of an action"
            )


def _negations(parsed: list[Parsed], *, strict: bool) -> Iterator[PolicyProblem]:
    modules = {one.module.path: one.module for one in parsed}
    for unsafe in find_unsafe([(one.module.path, one.ast) for one in parsed]):
        module = modules[unsafe.file]
        message = f"`{unsafe.written}` can be undefined, not true, and then what stands behind it never happens"
        yield PolicyProblem(module.source, module.key, unsafe.line, unsafe.column, message, f"write {unsafe.safe_form}", warning=not strict)


def _problem(module: Module, rule: Ast, message: str, remedy: str) -> PolicyProblem:
    place = rule.get("location") or {}
    return PolicyProblem(module.source, module.key, place.get("row", 0), place.get("col", 0), message, remedy)


def _name(rule: Ast) -> str:
    return str(rule["head"]["ref"][0]["value"])


def _names(rules: Iterable[Ast]) -> Iterator[str]:
    """Every name that some rule uses; a rule that uses only itself is not used."""
    for rule in rules:
        own = _name(rule)
        for part in (
            rule.get("body"),
            rule.get("else"),
            {k: v for k, v in rule["head"].items() if k not in {"name", "ref"}},
            rule["head"]["ref"][1:],
        ):
            yield from (name for name in _variables(part) if name != own)


def _variables(node: object) -> Iterator[str]:
    if isinstance(node, Mapping):
        if node.get("type") == "var" and isinstance(node.get("value"), str):
            yield node["value"]
        for value in node.values():
            yield from _variables(value)
    elif isinstance(node, list):
        if _is_own_path(node):
            yield node[-1]["value"]
        for value in node:
            yield from _variables(value)


def _is_own_path(node: list[Any]) -> bool:
    """`data.kubernaut.rules.dispatch.team.helper`: the long way to name a rule."""
    values = [part.get("value") for part in node if isinstance(part, Mapping)]
    return len(values) == len(node) == 6 and values[:2] == ["data", "kubernaut"] and isinstance(values[-1], str)  # noqa: PLR2004 - as above


def _article(kind: str) -> str:
    words = {
        "null": "null",
        "arraycomprehension": "an array",
        "objectcomprehension": "an object",
        "object": "an object",
        "array": "an array",
    }
    return words.get(kind, f"a {kind}")
