"""Who may write policies, their last good copies and the settings; and that taking a policy away allows nothing more than it forbade."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import pytest
import yaml
from support.team import decides, policy_status
from support.workflows import SYSTEM, World, codes, delete, deployment, phase, step, tell, told, workflow, write

from controller import paths
from controller.cluster.client import Cluster, PatchType
from controller.cluster.errors import AlreadyExistsError, ForbiddenError, InvalidError, NotFoundError
from controller.cluster.kinds import CONFIG_MAP, WORKFLOW, Kind

Document = dict[str, Any]
Kubectl = Callable[..., str]

SETTINGS = "kubernaut-workflowexecution-config"
POLICY, LAST_GOOD = "kubernaut.ai/policy", "kubernaut.ai/policy-last-good"
LABELS = [(POLICY, "rego"), (POLICY, "draft"), (LAST_GOOD, "draft")]
FLOOR = "kubernaut-policy-rules-action-production-floor"
RBAC = "rbac.authorization.k8s.io/v1"
ROLE = Kind(RBAC, "Role", "roles", namespaced=True)
BINDING = Kind(RBAC, "RoleBinding", "rolebindings", namespaced=True)
VERBS = ["get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"]


def config_map(name: str, namespace: str = SYSTEM, **labels: str) -> Document:
    """A ConfigMap that would be a harmless policy."""
    metadata = {"name": name, "namespace": namespace, "labels": labels}
    module = f"package kubernaut.rules.dispatch.{name.replace('-', '_')}\n"
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"team.rego": module}}


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody whom RBAC lets do everything with the ConfigMaps of a namespace."""

    name: str
    cluster: Cluster
    namespace: str = SYSTEM

    async def create(self, document: Document) -> None:
        await self.cluster.create(CONFIG_MAP, self.namespace, document, as_user=self.name)

    async def replace(self, document: Document) -> None:
        await self.cluster.replace(CONFIG_MAP, self.namespace, document["metadata"]["name"], document, as_user=self.name)

    async def patch(self, name: str, body: Any, how: PatchType = "merge") -> None:
        force = how == "apply"
        await self.cluster.patch(CONFIG_MAP, self.namespace, name, body, patch_type=how, force=force, as_user=self.name)

    async def label(self, name: str, label: str, value: str | None) -> None:
        await self.patch(name, {"metadata": {"labels": {label: value}}})

    async def delete(self, name: str) -> None:
        await self.cluster.delete(CONFIG_MAP, self.namespace, name, as_user=self.name)


@asynccontextmanager
async def entitled(cluster: Cluster, namespace: str) -> AsyncIterator[Person]:
    """Somebody new with every right to the namespace's ConfigMaps, and no other."""
    name = f"writer-{secrets.token_hex(3)}"
    rule = {"apiGroups": [""], "resources": ["configmaps"], "verbs": VERBS}
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name}
    subject = {"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": name}
    await cluster.create(ROLE, namespace, {"metadata": {"name": name}, "rules": [rule]})
    await cluster.create(BINDING, namespace, {"metadata": {"name": name}, "roleRef": reference, "subjects": [subject]})
    person = Person(name, cluster, namespace)
    # The API server's authorizer follows a moment later.
    await until_allowed(lambda: cluster.list(CONFIG_MAP, namespace, limit=1, as_user=name))
    try:
        yield person
    finally:
        await cluster.delete(BINDING, namespace, name)
        await cluster.delete(ROLE, namespace, name)


async def until_allowed(attempt: Callable[[], Awaitable[object]], *, wanted: bool = True) -> None:
    """Try until the API server allows it, or until it no longer does: it learns of rights and settings by its own watch."""
    async with asyncio.timeout(20):
        while True:
            try:
                await attempt()
            except (ForbiddenError, InvalidError):
                allowed = False
            else:
                allowed = True
            if allowed is wanted:
                return
            await asyncio.sleep(0.1)


@pytest.fixture
async def person(as_admin: Cluster) -> AsyncIterator[Person]:
    """Somebody with full rights in the system namespace who is no policy writer."""
    async with entitled(as_admin, SYSTEM) as person:
        yield person


@asynccontextmanager
async def existing(cluster: Cluster, document: Document) -> AsyncIterator[Document]:
    """A ConfigMap that the administrator made; it must be there, unchanged, at the end."""
    made = await cluster.create(CONFIG_MAP, SYSTEM, document)
    name = made["metadata"]["name"]
    try:
        yield made
        assert (await cluster.get(CONFIG_MAP, SYSTEM, name))["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"]
    finally:
        await cluster.delete(CONFIG_MAP, SYSTEM, name)


def edits(person: Person, found: Document, labels: tuple[str, ...]) -> dict[str, Callable[[], Awaitable[None]]]:
    """Every way to change an existing ConfigMap or to take it away; ``labels`` are those that make it a policy."""
    name = found["metadata"]["name"]
    metadata = {key: value for key, value in found["metadata"].items() if key != "managedFields"}
    bare = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}}
    owner = {"apiVersion": "v1", "kind": "ConfigMap", "name": "gone", "uid": "0"}
    ways: dict[str, Callable[[], Awaitable[None]]] = {
        "replace": lambda: person.replace({**found, "metadata": metadata, "data": {}}),
        "merge patch": lambda: person.patch(name, {"data": {"team.rego": "package kubernaut.x"}}),
        "strategic patch": lambda: person.patch(name, {"data": {"new": "x"}}, "strategic"),
        "JSON patch": lambda: person.patch(name, [{"op": "add", "path": "/data/new", "value": "x"}], "json"),
        "apply": lambda: person.patch(name, {**bare, "data": {"new": "x"}}, "apply"),
        "binary data": lambda: person.patch(name, {"binaryData": {"binary": "AA=="}}),
        "annotation": lambda: person.patch(name, {"metadata": {"annotations": {"a": "b"}}}),
        "finalizer": lambda: person.patch(name, {"metadata": {"finalizers": ["a.example/b"]}}),
        "owner": lambda: person.patch(name, {"metadata": {"ownerReferences": [owner]}}),
        "immutable": lambda: person.patch(name, {"immutable": True}),
        "delete": lambda: person.delete(name),
    }
    for label in labels:
        ways |= {
            f"remove {label}": lambda label=label: person.label(name, label, None),  # type: ignore[misc]
            f"change {label}": lambda label=label: person.label(name, label, "other"),  # type: ignore[misc]
            f"remove {label} by replacing": lambda: person.replace({**found, "metadata": {**metadata, "labels": {}}}),
        }
    return ways


async def refused(ways: dict[str, Callable[[], Awaitable[None]]], said: str) -> None:
    """Every one of them is refused by admission, in these words."""
    for way, attempt in ways.items():
        # Not 403: RBAC would refuse with that, which proves nothing of admission.
        with pytest.raises(InvalidError) as refusal:
            await attempt()
        assert said in refusal.value.message, way


# Who is no writer.


@pytest.mark.parametrize(("label", "value"), LABELS)
async def test_who_is_no_writer_makes_no_policy(person: Person, label: str, value: str) -> None:
    name = f"team-{secrets.token_hex(3)}"
    document = config_map(name, **{label: value})
    nameless = {**document, "metadata": {"generateName": f"{name}-", "labels": {label: value}}}
    ways: dict[str, Callable[[], Awaitable[None]]] = {
        "create": lambda: person.create(document),
        "apply": lambda: person.patch(name, {**document, "metadata": {"name": name, "labels": {label: value}}}, "apply"),
        "create under any name": lambda: person.create(nameless),
        "create without a word": lambda: person.create({**document, "data": {}}),
    }
    await refused(ways, f"{person.name} may not write the policy ConfigMap {name}")
    with pytest.raises(NotFoundError):
        await person.cluster.get(CONFIG_MAP, SYSTEM, name)


@pytest.mark.parametrize(("label", "value"), LABELS)
async def test_who_is_no_writer_turns_no_config_map_into_a_policy(person: Person, label: str, value: str) -> None:
    name = f"plain-{secrets.token_hex(3)}"
    await person.create(config_map(name))
    found = await person.cluster.get(CONFIG_MAP, SYSTEM, name)
    labels = {"metadata": {"labels": {label: value}}}
    ways: dict[str, Callable[[], Awaitable[None]]] = {
        "replace": lambda: person.replace({**found, "metadata": {**found["metadata"], "labels": {label: value}}}),
        "merge patch": lambda: person.patch(name, labels),
        "strategic patch": lambda: person.patch(name, labels, "strategic"),
        "JSON patch": lambda: person.patch(name, [{"op": "add", "path": "/metadata/labels", "value": {label: value}}], "json"),
        "apply": lambda: person.patch(
            name, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": {label: value}}}, "apply"
        ),
    }
    await refused(ways, f"{person.name} may not write the policy ConfigMap {name}")
    await person.delete(name)


@pytest.mark.parametrize(("label", "value"), LABELS)
async def test_who_is_no_writer_neither_changes_nor_relabels_nor_deletes_a_policy(person: Person, label: str, value: str) -> None:
    async with existing(person.cluster, config_map(f"team-{secrets.token_hex(3)}", **{label: value})) as found:
        await refused(edits(person, found, (label,)), f"{person.name} may not write the policy ConfigMap {found['metadata']['name']}")


async def test_who_is_no_writer_neither_changes_nor_deletes_the_settings_nor_makes_themselves_a_writer(person: Person) -> None:
    found = await person.cluster.get(CONFIG_MAP, SYSTEM, SETTINGS)
    own: dict[str, Callable[[], Awaitable[None]]] = {
        "make oneself a writer": lambda: person.patch(SETTINGS, {"data": {"policy-writers": person.name}}),
        "list nobody": lambda: person.patch(SETTINGS, {"data": {"policy-writers": None}}),
        "label": lambda: person.label(SETTINGS, "a", "b"),
        "create": lambda: person.create(config_map(SETTINGS)),
    }
    said = f"{person.name} may not write the settings {SETTINGS}"
    await refused(own | edits(person, found, ()), said)
    # Whoever makes the settings a policy too is told by either guard.
    await refused({"label as policy": lambda: person.label(SETTINGS, POLICY, "rego")}, f"{person.name} may not write the ")
    assert (await person.cluster.get(CONFIG_MAP, SYSTEM, SETTINGS))["metadata"]["resourceVersion"] == found["metadata"]["resourceVersion"]


@pytest.mark.parametrize(
    ("selector", "said"),
    [
        ("", "may not write the "),
        (f"&labelSelector={POLICY}", "may not write the policy ConfigMap"),
        (f"&labelSelector={LAST_GOOD}", "may not write the policy ConfigMap"),
        (f"&fieldSelector=metadata.name={SETTINGS}", f"may not write the settings {SETTINGS}"),
    ],
    ids=["everything", "policies", "last good copies", "settings"],
)
async def test_who_is_no_writer_deletes_no_collection(person: Person, kubectl: Kubectl, selector: str, said: str) -> None:
    async with existing(person.cluster, config_map(f"copy-{secrets.token_hex(3)}", **{LAST_GOOD: "draft"})):
        path = f"/api/v1/namespaces/{SYSTEM}/configmaps?dryRun=All{selector}"
        answer = await asyncio.to_thread(kubectl, "delete", "--raw", path, f"--as={person.name}", expect=1)
        assert f"{person.name} {said}" in answer


# What is free.


async def test_a_config_map_that_is_no_policy_is_anybodys(person: Person) -> None:
    name = f"plain-{secrets.token_hex(3)}"
    await person.create({**config_map(name, app="web", **{"kubernaut.ai/other": "rego"}), "binaryData": {"key": "AA=="}})
    found = await person.cluster.get(CONFIG_MAP, SYSTEM, name)
    free = edits(person, found, ("kubernaut.ai/other",))
    for way in ("merge patch", "strategic patch", "JSON patch", "apply", "binary data", "annotation", "change kubernaut.ai/other"):
        await free[way]()
    await person.label(name, "kubernaut.ai/other", None)
    await free["immutable"]()
    await free["delete"]()


async def test_policy_labels_mean_nothing_in_other_namespaces(as_admin: Cluster, namespace: str) -> None:
    async with entitled(as_admin, namespace) as person:
        for document in (config_map("policy", namespace, **{POLICY: "rego"}), config_map(SETTINGS, namespace)):
            await person.create(document)
            await person.label(document["metadata"]["name"], POLICY, "draft")
            await person.delete(document["metadata"]["name"])


# Who is a writer.


@asynccontextmanager
async def listed(cluster: Cluster, word: str) -> AsyncIterator[None]:
    """The setting policy-writers with one more word."""
    former = (await cluster.get(CONFIG_MAP, SYSTEM, SETTINGS))["data"]["policy-writers"]
    await cluster.patch(CONFIG_MAP, SYSTEM, SETTINGS, {"data": {"policy-writers": f"{former},\n {word}"}})
    try:
        yield
    finally:
        await cluster.patch(CONFIG_MAP, SYSTEM, SETTINGS, {"data": {"policy-writers": former}})


async def test_a_listed_user_writes_policies_copies_and_settings_and_no_longer_when_taken_off(person: Person) -> None:
    probe = config_map("probe", **{POLICY: "draft"})

    async def try_it() -> None:
        await person.cluster.create(CONFIG_MAP, SYSTEM, probe, dry_run=True, as_user=person.name)

    await until_allowed(try_it, wanted=False)
    async with listed(person.cluster, person.name):
        await until_allowed(try_it)
        for label, value in LABELS:
            name = f"team-{secrets.token_hex(3)}"
            await person.create(config_map(name, **{label: value}))
            found = await person.cluster.get(CONFIG_MAP, SYSTEM, name)
            ways = edits(person, found, (label,))
            for way in (
                "merge patch",
                "strategic patch",
                "JSON patch",
                "apply",
                "annotation",
                f"change {label}",
                f"remove {label}",
                "delete",
            ):
                await ways[way]()
        await person.label(SETTINGS, "tried", "yes")
        await person.label(SETTINGS, "tried", None)
    await until_allowed(try_it, wanted=False)


async def test_a_listed_group_writes_policies(person: Person, kubectl: Kubectl) -> None:
    group, name = f"group-{secrets.token_hex(3)}", f"team-{secrets.token_hex(3)}"
    member, stranger = (f"--as={person.name}", f"--as-group={group}"), (f"--as={person.name}", f"--as-group={group}-2")
    manifest = json.dumps(config_map(name, **{POLICY: "draft"}))

    async def run(*words: str, expect: int = 0) -> str:
        return await asyncio.to_thread(kubectl, *words, "-n", SYSTEM, manifest=manifest, expect=expect)

    async with listed(person.cluster, group):
        # A group is no user of that name, nor the other way round.
        await until_written(run, "create", "--dry-run=server", "-f", "-", *member)
        assert "may not write the policy" in await run("create", "-f", "-", *stranger, expect=1)
        assert "forbidden" in await run("create", "-f", "-", f"--as={group}", expect=1)
        await run("create", "-f", "-", *member)
        await run("label", "configmap", name, f"{POLICY}=other", "--overwrite", *member)
        assert "may not write the policy" in await run("label", "configmap", name, f"{POLICY}-", *stranger, expect=1)
        await run("delete", "configmap", name, *member)


async def until_written(run: Callable[..., Awaitable[str]], *words: str) -> None:
    """Repeat a command of kubectl until it succeeds."""
    async with asyncio.timeout(20):
        while True:
            try:
                await run(*words)
            except AssertionError:
                continue
            return


async def test_only_who_could_take_the_guard_away_writes_the_first_settings(person: Person, as_admin: Cluster) -> None:
    first = config_map(SETTINGS) | {"data": {"policy-writers": person.name}}
    await refused({"create": lambda: person.create(first)}, f"{person.name} may not write the settings")
    # Admission comes before the look whether they are there: the administrator gets that far.
    with pytest.raises(AlreadyExistsError):
        await as_admin.create(CONFIG_MAP, SYSTEM, first)


# What taking away comes to.


def team_rule(name: str, world: World) -> Document:
    """A team's denial of every plan in the test's namespace; its code is its name."""
    package = name.replace("-", "_")
    module = (
        f"package kubernaut.rules.planning.{package}\n\n"
        f'deny contains {{"code": "{package}", "message": "not now"}} if input.workflow.metadata.namespace == "{world.namespace}"\n'
    )
    return {**config_map(name, **{POLICY: "rego"}), "data": {"rule.rego": module}}


async def planned(world: World) -> list[str]:
    """What `planning` says of a new workflow that touches nothing: the codes of its denials."""
    found = await world.run(workflow(f"w-{secrets.token_hex(4)}", tell()))
    return list(codes(found, "planning"))


async def planned_until(world: World, wanted: list[str]) -> None:
    """Ask with new workflows until `planning` says this: nothing else tells when a rule is gone."""
    async with asyncio.timeout(60):
        while (said := await planned(world)) != wanted:
            assert set(wanted) <= set(said), f"more than one rule is gone: {said}"


async def stopped(world: World) -> Document:
    """Ask for zero replicas in production."""
    to_zero = step(1, "scale-deployment", {"deployment": "web", "replicas": 0})
    found: Document = await world.run(workflow(f"stop-{secrets.token_hex(4)}", to_zero, alertContext={"environment": "production"}))
    return found


async def is_refused(world: World) -> None:
    """Zero replicas in production are refused by the shipped rule."""
    found = await stopped(world)
    assert (phase(found), found["status"]["failureReason"]) == ("failed", "policy_denied"), told(found)
    assert "scale_to_zero_in_production" in found["status"]["message"]


@pytest.mark.parametrize("by", ["unlabelling", "relabelling", "deleting"])
async def test_a_rule_that_its_team_takes_away_takes_nothing_else_with_it(world: World, by: str) -> None:
    await world.roll_out(deployment())
    gone, kept = f"gone-{secrets.token_hex(3)}", f"kept-{secrets.token_hex(3)}"
    system, codes_of = world.within(SYSTEM), {name: name.replace("-", "_") for name in (gone, kept)}
    try:
        for name in (gone, kept):
            await system.create(team_rule(name, world))
            await decides(world, name)
        await planned_until(world, sorted(codes_of.values()))
        match by:
            case "deleting":
                await system.cluster.delete(CONFIG_MAP, SYSTEM, gone)
            case _:
                label = None if by == "unlabelling" else "draft"
                await system.patch(CONFIG_MAP, gone, {"metadata": {"labels": {POLICY: label}}})
        await planned_until(world, [codes_of[kept]])
        await system.cluster.delete(CONFIG_MAP, SYSTEM, kept)
        await planned_until(world, [])
        await is_refused(world)
    finally:
        for name in (gone, kept):
            await removed(world, name)


@pytest.mark.parametrize("target", ["a policy", "the settings"])
async def test_a_workflow_is_no_policy_writer_wherever_it_may_act(world: World, target: str) -> None:
    system, name = world.within(SYSTEM), f"write-{secrets.token_hex(4)}"
    written, said = (FLOOR, "policy ConfigMap") if target == "a policy" else (SETTINGS, "settings")
    before = (await system.read(CONFIG_MAP, written))["data"]
    try:
        found = await system.run(workflow(name, write(1, "value", name=written)))
        assert phase(found) == "failed", told(found)
        assert f"{SYSTEM}:update-configmap-sa may not write the {said} {written}" in found["status"]["message"]
        assert (await system.read(CONFIG_MAP, written))["data"] == before
    finally:
        await delete(system, WORKFLOW, name)


async def test_deleting_a_rendered_policy_brings_the_images_version_back(world: World) -> None:
    await world.roll_out(deployment())
    system = world.within(SYSTEM)
    shipped: Document = yaml.safe_load((paths.CONFIGMAPS / f"{FLOOR}.yaml").read_text())
    ((key, text),) = shipped["data"].items()
    production = 'input.workflow.spec.alertContext.environment == "production"'
    # The shipped tests, which name no namespace, still pass: a version that failed them would be refused.
    elsewhere = f'object.get(input.workflow, ["metadata", "namespace"], "") != "{world.namespace}"'
    laxer = text.replace(production, f"{production}\n\t{elsewhere}")
    assert laxer != text
    former = policy_status(await system.read(CONFIG_MAP, FLOOR))
    try:
        await is_refused(world)
        await system.patch(CONFIG_MAP, FLOOR, {"data": {key: laxer}})
        await decides(world, FLOOR, former=former)
        found = await stopped(world)
        assert phase(found) == "completed", told(found)
        await system.cluster.delete(CONFIG_MAP, SYSTEM, FLOOR)
        async with asyncio.timeout(60):
            while phase(found) == "completed":
                found = await stopped(world)
        assert "scale_to_zero_in_production" in found["status"]["message"], told(found)
        await is_refused(world)
    finally:
        await removed(world, FLOOR)
        await system.create(shipped)
        await decides(world, FLOOR)


async def removed(world: World, name: str) -> None:
    """Delete a policy ConfigMap, if it is still there."""
    with suppress(NotFoundError):
        await world.cluster.delete(CONFIG_MAP, SYSTEM, name)
