"""What a platform team puts into a cluster for the length of a test: rules, conditions, settings and an action of its own."""

from __future__ import annotations

import json
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import yaml

from controller import paths
from controller.cluster.kinds import CONFIG_MAP, Kind
from controller.settings import SETTINGS_CONFIG_MAP
from support.workflows import SYSTEM, Document, World, delete

# A loaded machine takes long to judge a policy, and OPA long to fetch it.
_PATIENCE = 120.0
# What the controller keeps of the settings once policy decides by them.
_IN_FORCE = "kubernaut-last-good-settings"


def policy_status(found: Mapping[str, Any]) -> dict[str, Any]:
    """What the controller has written of a policy ConfigMap; {} before it has."""
    annotations = (found.get("metadata") or {}).get("annotations") or {}
    return dict(json.loads(annotations.get("kubernaut.ai/policy-status", "{}")))


async def decides(world: World, name: str, *, former: Mapping[str, Any] | None = None) -> None:
    """Wait until the newest version of a policy ConfigMap decides; ``former`` is what was said of the one before.

    Raises:
        AssertionError: it was rejected; says why.
    """

    def is_judged(found: Document) -> bool:
        return policy_status(found).get("state") in {"active", "rejected"} and policy_status(found) != former

    found = await world.within(SYSTEM).until(CONFIG_MAP, name, is_judged, seconds=_PATIENCE)
    assert policy_status(found)["state"] == "active", policy_status(found)


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
        await decides(world, name)
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
async def at_undos(world: World, gate: str, rule: str) -> AsyncIterator[Callable[[], Awaitable[None]]]:
    """A team's rule at a gate that holds for the undo attempts of this namespace only; yields what lifts it."""
    here = f'input.workflow.metadata.namespace == "{world.namespace}"'
    text = f"package kubernaut.rules.{gate}.undos\n\n{rule} if {{\n\tinput.attempt.rollback\n\t{here}\n}}\n"
    async with policy(world, {"rule.rego": text}) as lift:
        yield lift


@asynccontextmanager
async def condition(world: World, rule: str, text: str) -> AsyncIterator[str]:
    """A condition package of this text; yields how a step refers to its rule."""
    package, name = f"team_{secrets.token_hex(4)}", f"team-{secrets.token_hex(4)}"
    async with policy(world, {"conditions.rego": f"package kubernaut.conditions.{package}\n\n{text}\n"}, name):
        yield f"{name}:conditions.rego:{rule}"


@asynccontextmanager
async def settings(world: World) -> AsyncIterator[Callable[[Mapping[str, str]], Awaitable[None]]]:
    """Yields what gives settings values that differ and waits until policy decides by them; at the end the former ones decide again."""
    system, changed = world.within(SYSTEM), dict[str, str]()
    former = (await system.read(CONFIG_MAP, SETTINGS_CONFIG_MAP)).get("data") or {}

    async def change(values: Mapping[str, str]) -> None:
        changed.update(values)
        await system.patch(CONFIG_MAP, SETTINGS_CONFIG_MAP, {"data": dict(values)})
        await system.until(CONFIG_MAP, _IN_FORCE, lambda c: values.items() <= (c.get("data") or {}).items(), seconds=_PATIENCE)

    try:
        yield change
    finally:
        if changed:
            await system.patch(CONFIG_MAP, SETTINGS_CONFIG_MAP, {"data": {key: former.get(key) for key in changed}})
            await system.until(CONFIG_MAP, _IN_FORCE, lambda c: not changed.items() <= c["data"].items(), seconds=_PATIENCE)


# The example's action.

EXAMPLE = paths.ROOT / "examples" / "annotate-deployment"
NAME = "annotate-deployment"
ANNOTATION = "example.com/on-call"
RBAC = "rbac.authorization.k8s.io/v1"
KINDS = {
    "ServiceAccount": Kind("v1", "ServiceAccount", "serviceaccounts", namespaced=True),
    "Role": Kind(RBAC, "Role", "roles", namespaced=True),
    "RoleBinding": Kind(RBAC, "RoleBinding", "rolebindings", namespaced=True),
    "ClusterRole": Kind(RBAC, "ClusterRole", "clusterroles", namespaced=False),
    "ClusterRoleBinding": Kind(RBAC, "ClusterRoleBinding", "clusterrolebindings", namespaced=False),
}


def rego() -> dict[str, str]:
    """The example's files, as the keys of their ConfigMap."""
    return {file.name: file.read_text() for file in sorted((EXAMPLE / "policy").glob("*.rego"))}


def annotate(number: int = 1, value: str = "ann", **more: Any) -> Document:
    """The example's own step, with another number and value."""
    example: Document = yaml.safe_load((EXAMPLE / "workflow.yaml").read_text())["spec"]["workflowDefinition"]["steps"][0]
    custom = example["parameters"]["custom"]
    config = {**custom["config"], "value": value}
    return {**example, "stepNumber": number, "name": f"s{number}", "parameters": {"custom": {**custom, "config": config}}, **more}


@dataclass(slots=True)
class Team:
    """A team that adds the example's action, with its rights in the test's namespace, and takes it away again."""

    world: World
    made: list[tuple[Kind, str | None, str]] = field(default_factory=list)

    async def grant(self, documents: Iterable[Document] | None = None, *, without: str = "", only: str = "") -> None:
        """Apply rbac.yaml, but for the object of that kind and name, or nothing else of it."""
        for document in documents or yaml.safe_load_all((EXAMPLE / "rbac.yaml").read_text()):
            metadata = document["metadata"]
            name = f"{document['kind']}/{metadata['name']}"
            if name == without or (only and name != only):
                continue
            if metadata.get("namespace") == "shop":
                metadata["namespace"] = self.world.namespace
            await self._make(KINDS[document["kind"]], document)

    async def add(self, files: dict[str, str] | None = None) -> None:
        """Apply the ConfigMap, and wait until the controller says that it decides."""
        metadata = {"name": NAME, "namespace": SYSTEM, "labels": {"kubernaut.ai/policy": "rego"}}
        await self._make(CONFIG_MAP, {"metadata": metadata, "data": files or rego()})
        await decides(self.world, NAME)

    async def remove(self) -> None:
        """Delete the ConfigMap."""
        self.made.remove((CONFIG_MAP, SYSTEM, NAME))
        await self.world.cluster.delete(CONFIG_MAP, SYSTEM, NAME)

    async def leave(self) -> None:
        """Take everything away again."""
        while self.made:
            kind, namespace, name = self.made.pop()
            await self.world.cluster.delete(kind, namespace, name)

    async def _make(self, kind: Kind, document: Document) -> None:
        metadata = document["metadata"]
        await self.world.cluster.create(kind, metadata.get("namespace"), document)
        self.made.append((kind, metadata.get("namespace"), metadata["name"]))
