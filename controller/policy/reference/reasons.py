"""The page of the reason codes: every code that the text of the policies holds, which gates give it, and what helps.

A code is found where it stands as a constant: in an object with a `code`, as an argument of a function that puts it there, or as the name
of a condition of an action. Any other stops the generator.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

from controller.policy.negation import Ast
from controller.policy.reference.markdown import NOTE, links, paragraph, source, table
from controller.policy.reference.reading import Module, UndescribedError, dotted, walk

Members = Mapping[str, Ast]
_SOME = "…"
_IN_EACH_CASE = "*said in each case*"
_EACH_GATE = "each gate's module below [gates/](../../policies/gates/)"
# Where codes are passed on that a team's rule brings.
_PASSING_ON = frozenset({"kubernaut.lib.reasons", "kubernaut.lib.rules"})
# What a reason does, by the rule that it stands in; in others it is a denial.
_EFFECTS = {
    "_wait": "wait",
    "missing": "wait",
    "_warn": "warn",
    "_holds": "hold",
    "_unneeded": "skip",
    "_overwrites": "warn",
    "_blocks": "block",
    "_failed_checks": "deny or warn",
    "reason": "that of the rule",
}
_MEANINGS = {
    "deny": "it is refused",
    "wait": "not now; it is asked again, for a condition as long as its timeout lasts",
    "block": "the step can never start",
    "hold": "the step is kept back for now",
    "skip": "the step is left out",
    "warn": "no effect, worth knowing",
}


@dataclass(frozen=True, slots=True, order=True)
class Reason:
    """One code as some gates give it. ``source``: a link to where it comes from."""

    code: str
    effect: str
    message: str
    remedy: str
    gates: tuple[str, ...]
    source: str


def find_reasons(modules: Mapping[str, Module]) -> list[Reason]:
    """Every reason that the gates, what they import, and the shipped rules can give.

    Raises:
        UndescribedError: a code cannot be told from the text, or no gate imports the module that it stands in.
    """
    gates = _gates(modules)
    found: set[Reason] = set()
    # Function to its module, the reason that it makes, and which of its arguments is the code.
    makers: dict[str, tuple[Module, Members, int]] = {}
    for module in modules.values():
        for rule, node in _nodes(module, "object"):
            members: Members = {str(key["value"]): value for key, value in node["value"] if key["type"] == "string"}
            code = members.get("code", {"type": "none"})
            arguments = [term["value"] for term in module.rules[rule][0]["head"].get("args", ())]
            if code["type"] == "string":
                found.add(_reason(module, members, code["value"], rule, gates[module.package]))
            elif code["type"] == "var" and code["value"] in arguments:
                makers[f"{module.package}.{rule}"] = module, members, arguments.index(code["value"])
            elif code["type"] != "none" and module.package not in _PASSING_ON:
                place = f"{module.file}:{node['location']['row']}"
                raise UndescribedError(f"{place}: the code of this reason cannot be told from the text: write a constant")
    for module in modules.values():
        for rule, node in _nodes(module, "call"):
            alias, _, function = dotted(node["value"][0]).partition(".")
            maker, members, index = makers.get(f"{module.imports.get(alias, '')}.{function}", (module, {}, 0))
            if members and (given := node["value"][1 + index])["type"] == "string":
                found.add(_reason(maker, members, given["value"], rule, gates[module.package]))
    return sorted(found)


def condition_reasons(actions: Mapping[str, Mapping[str, Any]]) -> list[Reason]:
    """The conditions of the catalogue, which become reasons under their own names where they are not met."""
    return [
        Reason(name, "wait, then deny" if terms["required"] else "warn", terms["message"], terms.get("remedy", ""), (gate,), link)
        for action, entry in actions.items()
        for link in (links([action], "actions.md"),)
        for side, gate in (("preconditions", "action"), ("postconditions", "verify"))
        for name, terms in entry[side].items()
    ]


def render_reasons(reasons: Iterable[Reason]) -> str:
    """The page: one heading per code, so that each has an address."""
    page = [
        f"{NOTE}# Reason codes\n\n",
        paragraph(
            "Every code that a verdict of the shipped set can carry, in the order of the alphabet; the address of one is "
            f"`reasons.md#<code>`. `{_SOME}` stands for what is known only when it is said. A reason also names its `policy`: the gate, "
            "`catalogue.<action>` for a condition of an action, or `rules.<gate>.<name>` for a rule. A code that is not here was written "
            "by a team: look into that rule."
        ),
        table(["effect", "means"], _MEANINGS.items()),
    ]
    everyone = {gate for reason in reasons for gate in reason.gates}
    for code, group in itertools.groupby(sorted(reasons), key=attrgetter("code")):
        rows = []
        for (effect, message, remedy), alike in itertools.groupby(group, key=attrgetter("effect", "message", "remedy")):
            same = list(alike)
            gates = sorted({gate for reason in same for gate in reason.gates})
            sources = dict.fromkeys(reason.source for reason in same)
            where = _EACH_GATE if len(sources) == len(everyone) else ", ".join(sources)
            rows.append((effect, "all" if len(gates) == len(everyone) else links(gates, "gates.md"), message, remedy, where))
        page.append(f"## {code}\n\n" + table(["effect", "gates", "message", "remedy", "where"], rows))
    return "".join(page)


def _gates(modules: Mapping[str, Module]) -> Mapping[str, Sequence[str]]:
    """Package to the gates that it speaks in: a gate's own, a rule's by its name, others' by what the gates import."""
    speaking: dict[str, list[str]] = {package: [] for package in modules}

    def speak(package: str, gate: str) -> None:
        if package in modules and gate not in speaking[package]:
            speaking[package].append(gate)
            for imported in modules[package].imports.values():
                speak(imported, gate)

    for package in sorted(modules):
        match package.split("."):
            case [_, "gates" | "rules", gate, *_]:
                speak(package, gate)
            case _:
                pass
    return speaking


def _nodes(module: Module, kind: str) -> Iterator[tuple[str, Ast]]:
    for name, definitions in module.rules.items():
        yield from ((name, node) for node in walk(list(definitions)) if node.get("type") == kind)


def _reason(module: Module, members: Members, code: str, rule: str, gates: Sequence[str]) -> Reason:
    """The reason with this code that stands in a module, as a rule gives it."""
    if not gates:
        raise UndescribedError(f"{module.file}: no gate imports it, so nobody can tell who gives its reason {code}")
    message, remedy = (_prose(members.get(member), module) for member in ("message", "remedy"))
    said = _IN_EACH_CASE if message in {"", _SOME} else message
    return Reason(code, _EFFECTS.get(rule, "deny"), said, remedy, tuple(gates), source(module.file))


def _prose(term: Ast | None, module: Module) -> str:
    """A text for people; `…` stands for what is known only when it is said. Alternatives are told one after another."""
    match term:
        case None:
            return ""
        case {"type": "string", "value": str(text)}:
            return text
        case {"type": "call", "value": [operator, {"type": "string", "value": str(pattern)}, *_]} if dotted(operator) == "sprintf":
            return re.sub(f"{_SOME}{{2,}}", _SOME, re.sub(r"%[-+# 0]*[0-9.]*[a-z]", _SOME, pattern))
        case {"type": "call", "value": [operator, *_]}:
            name = dotted(operator)
        case _:
            name = str(term["value"])
    told = dict.fromkeys(_prose(rule["head"].get("value"), module) for rule in module.rules.get(name, ()))
    return ", or: ".join(told) or _SOME
