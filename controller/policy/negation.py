"""Finds every `not` that can fail open: where a missing value makes the negation undefined instead of true.

With `x` absent, `not input.x > 1`, `not f(input.x)` and `not rule[input.x]` are undefined in OPA, so the denial behind them never
fires. Safe is to negate only what cannot be undefined along the way: the name of a rule of the same package, or a path over such a
rule or a bound variable whose keys are constants or bound variables. Everything else is reported, from the AST.
"""

from __future__ import annotations

import base64
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from typing_extensions import override

Ast = Mapping[str, Any]

_DOCUMENTS = frozenset({"input", "data"})
_CONSTANTS = frozenset({"null", "boolean", "number", "string"})


@dataclass(frozen=True, slots=True, order=True)
class UnsafeNegation:
    """One `not` that may be undefined, and how to write it instead."""

    file: str
    line: int
    column: int
    written: str
    safe_form: str

    @override
    def __str__(self) -> str:
        """One line for people, in the form that editors can jump to."""
        return f"{self.file}:{self.line}:{self.column}: `{self.written}` can be undefined, not true; write {self.safe_form}"


def find_unsafe(modules: Iterable[tuple[str, Ast]]) -> list[UnsafeNegation]:
    """Every unsafe negation in these modules, in the order of files and lines.

    Args:
        modules: file name and AST (`opa parse --format json --json-include locations`). Those of one package share their rule names.
    """
    known = list(modules)
    rules: dict[str, set[str]] = defaultdict(set)
    for _, module in known:
        rules[_package(module)] |= {_name(rule) for rule in module.get("rules") or []}
    found: list[UnsafeNegation] = []
    for file, module in known:
        scope = _Scope(frozenset(rules[_package(module)]), frozenset(_imported(module)))
        negations = _negations(module.get("rules") or [])
        found.extend(_report(file, expression, scope) for expression in negations if not scope.is_safe(expression))
    return sorted(found)


@dataclass(frozen=True, slots=True)
class _Scope:
    """The names that a module can use without binding them."""

    rules: frozenset[str]
    imports: frozenset[str]

    def is_safe(self, expression: Ast) -> bool:
        """Tell whether a negated expression is true whenever what it negates is not proven."""
        terms = expression["terms"]
        replaced = all(self._is_key(modifier["value"]) for modifier in expression.get("with") or [])
        if not replaced or not isinstance(terms, Mapping):
            return False
        if terms.get("type") == "var":
            return self._is_ours(terms)
        if terms.get("type") != "ref":
            return False
        head, *keys = terms["value"]
        return self._is_ours(head) and all(self._is_key(key) for key in keys)

    def is_bound(self, term: Ast) -> bool:
        """Tell whether a term is a variable of the rule itself; the compiler has seen to it that it has a value."""
        if term.get("type") != "var":
            return False
        name = str(term["value"])
        return not name.startswith("$") and name not in self.rules | self.imports | _DOCUMENTS

    def _is_ours(self, term: Ast) -> bool:
        return self.is_bound(term) or (term.get("type") == "var" and term["value"] in self.rules)

    def _is_key(self, term: Ast) -> bool:
        return term.get("type") in _CONSTANTS or self.is_bound(term)


def _package(module: Ast) -> str:
    return ".".join(str(part["value"]) for part in module["package"]["path"])


def _name(rule: Ast) -> str:
    return str(rule["head"]["ref"][0]["value"])


def _imported(module: Ast) -> Iterator[str]:
    for entry in module.get("imports") or []:
        yield str(entry.get("alias") or entry["path"]["value"][-1]["value"])


def _negations(node: object) -> Iterator[Ast]:
    """Every negated expression, however deep: bodies, comprehensions, `every`, `else`."""
    if isinstance(node, Mapping):
        if node.get("negated"):
            yield node
        for value in node.values():
            yield from _negations(value)
    elif isinstance(node, list):
        for value in node:
            yield from _negations(value)


def _report(file: str, expression: Ast, scope: _Scope) -> UnsafeNegation:
    place = expression["location"]
    written = " ".join(base64.b64decode(place["text"]).decode(errors="replace").split())
    keys = ", ".join(sorted(_variables(expression["terms"], scope)))
    proven = f"_proven[{keys}]" if "," not in keys and keys else f"_proven[[{keys}]]" if keys else "_proven"
    good = written.removeprefix("not").strip()
    safe = f"`not {proven}` with a rule of its own: `{proven} if {good}`"
    return UnsafeNegation(file, place["row"], place["col"], written, safe)


def _variables(node: object, scope: _Scope) -> set[str]:
    if isinstance(node, Mapping):
        own = {str(node["value"])} if scope.is_bound(node) and node["value"] != "internal" else set()
        return own.union(*(_variables(value, scope) for value in node.values()))
    if isinstance(node, list):
        # The operator of a call is a path of its own that binds nothing.
        operands = node[1:] if node and _is_operator(node[0]) else node
        return set().union(*(_variables(value, scope) for value in operands))
    return set()


def _is_operator(node: object) -> bool:
    return isinstance(node, Mapping) and node.get("type") == "ref"
