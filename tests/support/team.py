"""What a platform team puts into a cluster for the length of a test: rules, conditions and settings of its own."""

from __future__ import annotations

import json
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from controller.cluster.kinds import CONFIG_MAP
from support.workflows import SYSTEM, Document, World, delete


def policy_status(found: Mapping[str, Any]) -> dict[str, Any]:
    """What the controller has written of a policy ConfigMap; {} before it has."""
    annotations = (found.get("metadata") or {}).get("annotations") or {}
    return dict(json.loads(annotations.get("kubernaut.ai/policy-status", "{}")))


@asynccontextmanager
async def policy(world: World, files: Mapping[str, str], name: str = "") -> AsyncIterator[Callable[[], Awaitable[None]]]:
    """A policy ConfigMap of these keys, once it is active; yields what takes it away before the end.

    Raises:
        AssertionError: it was rejected; says why.
    """
    name = name or f"team-{secrets.token_hex(4)}"
    system = world.within(SYSTEM)
    document: Document = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "labels": {"kubernaut.ai/policy": "rego"}},
        "data": dict(files),
    }
    await system.create(document)
    try:
        found = await system.until(CONFIG_MAP, name, lambda c: policy_status(c).get("state") in {"active", "rejected"})
        assert policy_status(found)["state"] == "active", policy_status(found)
        yield lambda: delete(system, CONFIG_MAP, name)
    finally:
        await delete(system, CONFIG_MAP, name)


@asynccontextmanager
async def ruled(world: World, gate: str, *rules: str) -> AsyncIterator[Callable[[], Awaitable[None]]]:
    """A team's rules at a gate, each without its body (`deny contains "why"`), which hold in this test's namespace only."""
    package = f"team_{secrets.token_hex(4)}"
    here = f'input.workflow.metadata.namespace == "{world.namespace}"'
    text = "\n\n".join([f"package kubernaut.rules.{gate}.{package}", *(f"{rule} if {here}" for rule in rules)]) + "\n"
    async with policy(world, {"rule.rego": text}) as lift:
        yield lift


@asynccontextmanager
async def condition(world: World, rule: str, text: str) -> AsyncIterator[str]:
    """A condition package of this text; yields how a step refers to its rule."""
    package, name = f"team_{secrets.token_hex(4)}", f"team-{secrets.token_hex(4)}"
    async with policy(world, {"conditions.rego": f"package kubernaut.conditions.{package}\n\n{text}\n"}, name):
        yield f"{name}:conditions.rego:{rule}"
