"""The graph of a workflow: steps in one spelling, dependencies resolved, topological batches, plan hash."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from controller.core.errors import PermanentError
from controller.core.names import canonical_action, canonical_members


class GraphError(PermanentError):
    """The steps cannot be put in order; ``reason`` is a failure reason of reference.md."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Plan:
    """What is going to run, in which order. ``steps`` are step documents as gates see them, by number."""

    steps: Mapping[int, Mapping[str, Any]]
    dependants: Mapping[int, tuple[int, ...]]
    batches: tuple[tuple[int, ...], ...]
    strategy: str

    def order(self) -> tuple[int, ...]:
        """Step numbers batch by batch, and by number inside a batch."""
        return tuple(number for batch in self.batches for number in batch)


def build_plan(spec: Mapping[str, Any]) -> Plan:
    """Put a workflow's steps in order.

    Raises:
        GraphError: duplicate names or numbers, an unknown dependency, or a cycle, which is spelt out.
    """
    definition = spec["workflowDefinition"]
    written: list[dict[str, Any]] = definition["steps"]
    numbers = _numbers_by_name(written)
    known = set(numbers.values())
    extra: Mapping[str, list[str]] = definition.get("dependencies") or {}
    for name in extra:
        _resolve(name, numbers, known, user="workflowDefinition.dependencies")
    default_retries = (spec.get("executionStrategy") or {}).get("maxRetries", 0)
    steps: dict[int, Mapping[str, Any]] = {}
    for step in sorted(written, key=lambda s: s["stepNumber"]):
        wanted = [*(step.get("dependsOn") or []), *extra.get(step["name"], []), *extra.get(str(step["stepNumber"]), [])]
        resolved = sorted({_resolve(w, numbers, known, user=f"step {step['name']!r}") for w in wanted})
        steps[step["stepNumber"]] = _step_document(step, resolved, default_retries)
    batches = _batches(steps)
    return Plan(MappingProxyType(steps), MappingProxyType(_dependants(steps)), batches, _strategy(batches))


def plan_hash(plan: Plan, spec: Mapping[str, Any], action_digests: Mapping[str, str]) -> str:
    """Digest everything that an approval speaks for: steps, parameters, strategy, and the module of each action used."""
    document = {
        "steps": [dict(step) for step in plan.steps.values()],
        "strategy": spec.get("executionStrategy") or {},
        "conditionOverrides": spec.get("conditionOverrides") or {},
        "actions": dict(action_digests),
    }
    return hashlib.sha256(json.dumps(document, sort_keys=True, separators=(",", ":")).encode()).hexdigest()[:16]


def _numbers_by_name(steps: list[dict[str, Any]]) -> dict[str, int]:
    numbers: dict[str, int] = {}
    seen: dict[int, str] = {}
    for step in steps:
        name, number = step["name"], step["stepNumber"]
        if name in numbers:
            raise GraphError("planning_error", f"steps {numbers[name]} and {number} are both named {name!r}; give each step its own name")
        if number in seen:
            raise GraphError("planning_error", f"steps {seen[number]!r} and {name!r} both have stepNumber {number}; numbers must differ")
        numbers[name] = number
        seen[number] = name
    return numbers


def _resolve(wanted: object, numbers: Mapping[str, int], known: set[int], *, user: str) -> int:
    text = str(wanted)
    if text in numbers:
        return numbers[text]
    if text.isdigit() and int(text) in known:
        return int(text)
    names = ", ".join(sorted(numbers)[:10])
    raise GraphError("dependency_resolution_failed", f"{user} depends on {text!r}, which is no step; steps are: {names}")


def _step_document(step: Mapping[str, Any], depends_on: list[int], default_retries: int) -> Mapping[str, Any]:
    document: dict[str, Any] = {
        **step,
        "action": canonical_action(step["action"]),
        "parameters": canonical_members(step.get("parameters") or {}),
        "criticalStep": step.get("criticalStep", True),
        "maxRetries": step.get("maxRetries", default_retries),
        "dependsOn": depends_on,
    }
    if rollback := step.get("rollbackSpec"):
        document["rollbackSpec"] = {**rollback, "action": canonical_action(rollback["action"])}
    return document


def _dependants(steps: Mapping[int, Mapping[str, Any]]) -> dict[int, tuple[int, ...]]:
    found: dict[int, list[int]] = defaultdict(list)
    for number, step in steps.items():
        for dependency in step["dependsOn"]:
            found[dependency].append(number)
    return {number: tuple(found[number]) for number in steps}


def _batches(steps: Mapping[int, Mapping[str, Any]]) -> tuple[tuple[int, ...], ...]:
    waiting = {number: len(step["dependsOn"]) for number, step in steps.items()}
    dependants = _dependants(steps)
    batches: list[tuple[int, ...]] = []
    ready = sorted(number for number, count in waiting.items() if count == 0)
    placed = 0
    while ready:
        batches.append(tuple(ready))
        placed += len(ready)
        following: list[int] = []
        for number in ready:
            for dependant in dependants[number]:
                waiting[dependant] -= 1
                if waiting[dependant] == 0:
                    following.append(dependant)
        ready = sorted(following)
    if placed < len(steps):
        cycle = _cycle(steps, {number for number, count in waiting.items() if count > 0})
        raise GraphError(
            "dependency_resolution_failed", f"the steps depend on each other in a circle: {cycle}; remove one of these dependencies"
        )
    return tuple(batches)


def _cycle(steps: Mapping[int, Mapping[str, Any]], stuck: set[int]) -> str:
    """Walk backwards from any stuck step until one repeats; what lies between is a cycle, told in the order of execution."""
    path: list[int] = []
    at = min(stuck)
    while at not in path:
        path.append(at)
        at = min(d for d in steps[at]["dependsOn"] if d in stuck)
    circle = [*path[path.index(at) :], at]
    return " → ".join(str(steps[number]["name"]) for number in reversed(circle))


def _strategy(batches: tuple[tuple[int, ...], ...]) -> str:
    if all(len(batch) == 1 for batch in batches):
        return "sequential"
    return "parallel" if len(batches) == 1 else "sequential-with-parallel"
