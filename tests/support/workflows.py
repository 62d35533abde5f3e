"""Workflows for tests: builders of the objects, and a world in which they are run and watched until they have ended.

Nothing here sleeps for a fixed time: whatever is waited for is watched.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from controller.cluster.client import Cluster, PatchBody, connect
from controller.cluster.errors import NotFoundError
from controller.cluster.kinds import APPROVAL, CONFIG_MAP, EVENT, EXECUTION, POD, WORKFLOW, Kind, kind_of
from controller.core.names import canonical_action
from controller.core.phases import TERMINAL
from support.history import listed

Document = dict[str, Any]

# What a controller is told so that tests do not wait for what production waits for.
FAST = {"MONITORING_STABILITY": "0s", "KUBERNETES_QPS": "0", "RETRY_BASE_DELAY": "100ms"}
SYSTEM = "kubernaut-system"
PATIENCE = 60.0


def known(api_version: str, kind: str) -> Kind:
    """The kind of that name, which has to be in the table."""
    found = kind_of(api_version, kind)
    assert found is not None
    return found


SERVICE = known("v1", "Service")
DEPLOYMENT = known("apps/v1", "Deployment")
REPLICA_SET = known("apps/v1", "ReplicaSet")
NODE = known("v1", "Node")
NAMESPACE = known("v1", "Namespace")


# objects


def step(number: int, action: str, parameters: Document, **more: Any) -> Document:
    """One step; its name is `s<number>`, its parameters' member is the camelCase of the action."""
    first, *rest = canonical_action(action).split("_")
    member = first + "".join(part.capitalize() for part in rest)
    return {"stepNumber": number, "name": f"s{number}", "action": action, "parameters": {member: parameters}, **more}


def chain(*steps: Document) -> list[Document]:
    """Let every step depend on the one before it."""
    return [dict(s) if i == 0 else {**s, "dependsOn": [steps[i - 1]["stepNumber"]]} for i, s in enumerate(steps)]


def workflow(name: str, *steps: Document, annotations: dict[str, str] | None = None, **spec: Any) -> Document:
    """A WorkflowExecution of these steps; ``spec`` is what stands beside them."""
    return {
        "apiVersion": WORKFLOW.api_version,
        "kind": WORKFLOW.kind,
        "metadata": {"name": name, **({"annotations": annotations} if annotations else {})},
        "spec": {"workflowDefinition": {"steps": list(steps)}, **spec},
    }


def tell(number: int = 1, **more: Any) -> Document:
    """A step that touches nothing and succeeds at once."""
    return step(number, "notify-only", {"message": "hello"}, **more)


def write(number: int, value: str, *, name: str = "settings", **more: Any) -> Document:
    """A step that sets `key` of a ConfigMap."""
    return step(number, "update-configmap", {"name": name, "dataUpdates": {"key": value}}, **more)


def waiting(number: int, *, timeout: str, **more: Any) -> Document:
    """A step that sends nothing and waits for what never comes; after ``timeout`` it fails."""
    wanted = {"apiVersion": "v1", "kind": "Service", "name": "nobody", "condition": "Never", "timeout": "1m"}
    sooner = [{"type": "condition_reached", "timeout": timeout}]
    return step(number, "wait-for-condition", wanted, postConditions=sooner, **more)


def doomed(number: int, **more: Any) -> Document:
    """A step that fails soon, for good."""
    return waiting(number, timeout="100ms", **more)


def parked(number: int, **more: Any) -> Document:
    """A step whose attempt sends nothing and goes on until `release`."""
    wanted = {"apiVersion": "v1", "kind": "Service", "name": "signal", "condition": "Given", "timeout": "1m"}
    return step(number, "wait-for-condition", wanted, **more)


async def release(world: World) -> None:
    """Let every parked step of this namespace end well, now or as soon as it starts."""
    await world.create({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "signal"}, "spec": {"ports": [{"port": 80}]}})
    given = {"type": "Given", "status": "True", "reason": "Given", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"}
    await world.cluster.patch(SERVICE, world.namespace, "signal", {"status": {"conditions": [given]}}, subresource="status")


def config_map(name: str = "settings", **data: str) -> Document:
    """A ConfigMap with a label and an annotation of its own."""
    metadata = {"name": name, "labels": {"team": "shop"}, "annotations": {"note": "ours"}}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data or {"key": "old", "other": "same"}}


def deployment(name: str = "web", *, replicas: int = 1, image: str = "registry.example/web:1") -> Document:
    """A Deployment whose pods kwok makes ready within a second, unless the image's tag says otherwise."""
    labels = {"app": name}
    container = {"name": "app", "image": image, "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "labels": labels, "annotations": {"note": "ours"}},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
        },
    }


def has_rolled_out(found: Document) -> bool:
    """Tell whether a Deployment is what its spec says, and available."""
    status, wanted = found.get("status") or {}, found["spec"]["replicas"]
    seen = status.get("observedGeneration") == found["metadata"]["generation"]
    return seen and all(status.get(key, 0) == wanted for key in ("replicas", "updatedReplicas", "availableReplicas"))


def own_state(found: Document) -> Document:
    """What people and workflows write into an object: no status, nothing that the API server or a controller keeps for itself."""
    metadata = found["metadata"]
    kept = {key: value for key, value in (metadata.get("annotations") or {}).items() if not key.startswith("deployment.kubernetes.io/")}
    state = {key: value for key, value in found.items() if key in {"spec", "data", "binaryData", "immutable"}}
    return {**state, "labels": metadata.get("labels") or {}, "annotations": kept}


# reading a status


def phase(found: Document) -> str:
    """The phase of a workflow or an attempt."""
    return str((found.get("status") or {}).get("phase", ""))


def has_ended(found: Document) -> bool:
    """Tell whether a workflow's phase is terminal."""
    return phase(found) in TERMINAL


def is_waiting(found: Document) -> str:
    """What a workflow waits for."""
    return str((found.get("status") or {}).get("waitingFor", ""))


def states(found: Document) -> list[str]:
    """The status of every step, in order of number."""
    return [entry["status"] for entry in found["status"].get("stepStatuses") or []]


def condition(found: Document, kind: str) -> Document:
    """One of a workflow's conditions; empty if it does not say."""
    return next((c for c in (found.get("status") or {}).get("conditions") or [] if c["type"] == kind), {})


def told(found: Document) -> str:
    """What a workflow says about itself, for the message of an assertion."""
    status = found.get("status") or {}
    keys = ("phase", "message", "failureReason", "errorType", "waitingFor", "remedy")
    head = "; ".join(f"{key}: {status[key]}" for key in keys if status.get(key))
    lines = [f"{e['stepNumber']} {e['status']}: {e.get('errorMessage') or e.get('message', '')}" for e in status.get("stepStatuses") or []]
    return "\n".join([head, *lines])


def codes(found: Document, gate: str) -> list[str]:
    """The codes of what a gate said last."""
    return [reason["code"] for reason in found["status"]["gates"][gate]["reasons"]]


# the world


@dataclass(frozen=True, slots=True)
class World:
    """One namespace on the control plane, seen by one user."""

    cluster: Cluster
    namespace: str

    def within(self, namespace: str) -> World:
        """The same user elsewhere."""
        return World(self.cluster, namespace)

    async def create(self, *documents: Document) -> None:
        """Create objects in this namespace."""
        for document in documents:
            await self.cluster.create(known(document["apiVersion"], document["kind"]), self._place(document), document, strict=True)

    async def read(self, kind: Kind, name: str) -> Document:
        """One object, live."""
        return await self.cluster.get(kind, self.namespace if kind.namespaced else None, name)

    async def patch(self, kind: Kind, name: str, body: PatchBody) -> Document:
        """Merge into an object."""
        return await self.cluster.patch(kind, self.namespace if kind.namespaced else None, name, body)

    async def annotate(self, name: str, key: str, value: str) -> None:
        """Set an annotation of a workflow."""
        await self.patch(WORKFLOW, name, {"metadata": {"annotations": {key: value}}})

    async def run(self, document: Document, *, seconds: float = PATIENCE) -> Document:
        """Create a workflow and answer it as it is when it has ended."""
        await self.create(document)
        return await self.ended(document["metadata"]["name"], seconds=seconds)

    async def ended(self, name: str, *, seconds: float = PATIENCE) -> Document:
        """A workflow, once it has ended."""
        return await self.until(WORKFLOW, name, has_ended, seconds=seconds)

    async def until(self, kind: Kind, name: str, holds: Callable[[Document], object], *, seconds: float = PATIENCE) -> Document:
        """Watch one object until something holds of it.

        Raises:
            TimeoutError: it does not; says what the object looked like last.
        """
        last: Document = {}
        deadline = time.monotonic() + seconds
        async with aclosing(self.states_of(kind, name, seconds)) as seen:
            async for found in seen:
                last = found
                if found and holds(found):
                    return found
        status = last.get("status") or {}
        shown = {key: status.get(key) for key in ("phase", "waitingFor", "message", "stepStatuses", "executionResults") if key in status}
        raise TimeoutError(f"{kind.kind} {name} did not come so far in {time.monotonic() - deadline + seconds:.1f} s: {shown}")

    async def gone(self, kind: Kind, name: str, *, seconds: float = PATIENCE) -> None:
        """Watch until an object is gone."""
        async with aclosing(self.states_of(kind, name, seconds)) as seen:
            async for found in seen:
                if not found:
                    return
        raise TimeoutError(f"{kind.kind} {name} is still there after {seconds:g} s")

    async def states_of(self, kind: Kind, name: str, seconds: float) -> AsyncIterator[Document]:
        """Every state of one object from now on, {} where it is not there (any more), for ``seconds``."""
        place, selector = self.namespace if kind.namespaced else None, f"metadata.name={name}"
        try:
            async with asyncio.timeout(seconds):
                page = await listed(self.cluster, kind, place, field_selector=selector)
                yield page.items[0] if page.items else {}
                async with aclosing(self.cluster.watch(kind, place, page.resource_version, seconds, field_selector=selector)) as events:
                    async for event in events:
                        if event is not None and event["type"] in {"ADDED", "MODIFIED"}:
                            yield event["object"]
                        elif event is not None and event["type"] == "DELETED":
                            yield {}
        except TimeoutError:
            return

    async def changes(self, kind: Kind, name: str, seconds: float) -> list[Document]:
        """What is written to an object in ``seconds``, which begin when it was seen for the first time."""
        written: list[Document] = []
        async with aclosing(self.states_of(kind, name, PATIENCE + seconds)) as states:
            seen = await anext(states, {})
            assert seen, "nothing was observed"
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    async for found in states:
                        written.append(found)  # noqa: PERF401 - what came before the end of the window is kept
                    raise AssertionError(f"the watch of {kind.kind} {name} ended before {seconds:g} s were over")
        return written

    async def attempts(self, name: str, *, rollback: bool = False) -> list[Document]:
        """The attempts of a workflow, or its undo attempts, by name."""
        page = await self.cluster.list(EXECUTION, self.namespace, label_selector=f"kubernaut.ai/workflow={name}")
        found = [a for a in page.items if (a["metadata"]["labels"].get("kubernaut.ai/rollback") == "true") is rollback]
        return sorted(found, key=lambda a: str(a["metadata"]["name"]))

    async def told(self, name: str, reason: str, *, seconds: float = PATIENCE) -> str:
        """The message of a workflow's Event with this reason, as soon as there is one."""
        selector = f"involvedObject.name={name},reason={reason}"
        async with asyncio.timeout(seconds):
            page = await self.cluster.list(EVENT, self.namespace, field_selector=selector)
            if page.items:
                return str(page.items[0]["message"])
            watch = self.cluster.watch(EVENT, self.namespace, page.resource_version, seconds, field_selector=selector)
            async with aclosing(watch) as events:
                async for event in events:
                    if event is not None and event["type"] == "ADDED":
                        return str(event["object"]["message"])
        raise TimeoutError(f"no Event {reason} of {name}")

    async def pods(self, app: str) -> list[Document]:
        """The pods of a Deployment that are not on their way out."""
        page = await self.cluster.list(POD, self.namespace, label_selector=f"app={app}")
        return [p for p in page.items if "deletionTimestamp" not in p["metadata"]]

    async def snapshot(self, *objects: tuple[Kind, str]) -> list[Document]:
        """What people and workflows wrote into these objects."""
        return [own_state(await self.read(kind, name)) for kind, name in objects]

    async def roll_out(self, document: Document) -> Document:
        """Create a Deployment and wait until it is available."""
        await self.create(document)
        return await self.until(DEPLOYMENT, document["metadata"]["name"], has_rolled_out)

    async def decide(self, name: str, user: str, decision: str = "Approved") -> None:
        """Write a WorkflowApproval for the plan that a workflow has now."""
        found = await self.read(WORKFLOW, name)
        body = {
            "apiVersion": APPROVAL.api_version,
            "kind": APPROVAL.kind,
            "metadata": {"name": f"{name}-{user}"},
            "spec": {
                "workflowRef": {"name": name, "uid": found["metadata"]["uid"]},
                "decision": decision,
                "planHash": found["status"]["executionPlan"]["planHash"],
                "approver": user,
            },
        }
        await self.cluster.create(APPROVAL, self.namespace, body)

    def _place(self, document: Document) -> str:
        return str(document["metadata"].get("namespace", self.namespace))


@asynccontextmanager
async def seen_by(kubeconfig: Path, namespace: str) -> AsyncIterator[World]:
    """The world as the user of a kubeconfig sees it."""
    async with await connect(kubeconfig) as cluster:
        yield World(cluster, namespace)


async def delete(world: World, kind: Kind, name: str) -> None:
    """Delete an object, if it is still there."""
    try:
        await world.cluster.delete(kind, world.namespace if kind.namespaced else None, name)
    except NotFoundError:
        return


def never_falls(values: Iterable[int]) -> bool:
    """Tell whether a sequence only rises or stays."""
    return all(a <= b for a, b in pairwise(values))


CONFIG = (CONFIG_MAP, "settings")
WEB = (DEPLOYMENT, "web")
