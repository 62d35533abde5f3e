"""The load: workflows of known size, created all at once or one by one, and waited for by watching."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import aclosing
from typing import Any

from bench.rig import Rig
from controller.cluster.kinds import CONFIG_MAP, WORKFLOW
from controller.core.phases import TERMINAL
from controller.core.times import instant

Document = dict[str, Any]

_BATCH = 250
_PATIENCE = 900.0
_WATCH_SECONDS = 5.0
_PAGE = 500


def workflow(name: str, steps: int, *, target: str = "target") -> Document:
    """``steps`` steps one after another, each of which writes one key of one ConfigMap."""
    return _workflow(
        name,
        [
            {
                "stepNumber": n,
                "name": f"s{n}",
                "action": "update-configmap",
                "parameters": {"updateConfigmap": {"name": target, "dataUpdates": {f"k{n}": str(n)}}},
                "dependsOn": [n - 1] if n > 1 else [],
            }
            for n in range(1, steps + 1)
        ],
    )


def notice(name: str) -> Document:
    """The smallest workflow: one step that touches nothing."""
    step = {"stepNumber": 1, "name": "tell", "action": "notify-only", "parameters": {"notifyOnly": {"message": name}}}
    return _workflow(name, [step])


def waiting(name: str, service: str) -> Document:
    """One step that runs for an hour, because a Service reports no condition."""
    wanted = {"apiVersion": "v1", "kind": "Service", "name": service, "condition": "Never", "timeout": "1h"}
    step = {"stepNumber": 1, "name": "wait", "action": "wait-for-condition", "timeout": "1h", "parameters": {"waitForCondition": wanted}}
    return _workflow(name, [step])


def _workflow(name: str, steps: list[Document]) -> Document:
    return {
        "apiVersion": WORKFLOW.api_version,
        "kind": WORKFLOW.kind,
        "metadata": {"name": name},
        "spec": {"workflowDefinition": {"steps": steps}, "executionStrategy": {"dryRunFirst": False}},
    }


async def target(rig: Rig, namespace: str, name: str = "target") -> None:
    """The ConfigMap that workflows write."""
    await rig.cluster.create(CONFIG_MAP, namespace, {"metadata": {"name": name}, "data": {}})


async def at_once(rig: Rig, namespace: str, workflows: Iterable[Document]) -> list[Document]:
    """Create all of them, and answer them as they are when all have completed."""
    created = await asyncio.gather(*(rig.cluster.create(WORKFLOW, namespace, one) for one in workflows))
    return await until(rig, namespace, [one["metadata"]["name"] for one in created], has_ended)


async def one_by_one(rig: Rig, namespace: str, workflows: Iterable[Document]) -> list[Document]:
    """Create each when the one before has completed, and answer them as they are then."""
    return [ended for one in workflows for ended in await at_once(rig, namespace, [one])]


def has_ended(workflow: Document) -> bool:
    """Whether nothing will happen to it any more."""
    return (workflow.get("status") or {}).get("phase") in TERMINAL


def is_running(workflow: Document) -> bool:
    """Whether its first step has begun."""
    status = workflow.get("status") or {}
    return status.get("phase") == "executing" and any(step.get("k8sExecutionRef") for step in status["stepStatuses"])


class _Awaited:
    """The workflows that are waited for, and those that are as they should be, as they were when they were first seen so."""

    def __init__(self, names: Sequence[str], holds: Callable[[Document], bool]) -> None:
        self._missing = set(names)
        self._names = names
        self._holds = holds
        self._found: dict[str, Document] = {}

    def look(self, one: Document) -> None:
        name, status = one["metadata"]["name"], one.get("status") or {}
        if name not in self._missing:
            return
        if has_ended(one) and status["phase"] != "completed":
            raise RuntimeError(f"workflow {one['metadata']['namespace']}/{name} is {status['phase']}: {status.get('message')}")
        if self._holds(one):
            self._missing.remove(name)
            self._found[name] = one

    @property
    def are_there(self) -> bool:
        return not self._missing

    def answer(self) -> list[Document]:
        return [self._found[name] for name in self._names]

    def late(self) -> str:
        return f"{len(self._missing)} of {len(self._names)} workflows, such as {min(self._missing)}"


async def until(rig: Rig, namespace: str, names: Sequence[str], holds: Callable[[Document], bool]) -> list[Document]:
    """Wait until it holds for each of the named workflows; answers each as it was when it was first seen so.

    Raises:
        RuntimeError: one of them ended otherwise than completed, it took a quarter of an hour, or the controller is gone.
    """
    awaited = _Awaited(names, holds)
    only = f"metadata.name={names[0]}" if len(names) == 1 else None
    deadline = time.monotonic() + _PATIENCE
    while True:
        rig.expect_controller()
        page = await rig.cluster.list(WORKFLOW, namespace, field_selector=only)
        for one in page.items:
            awaited.look(one)
        left = deadline - time.monotonic()
        if not awaited.are_there and left > 0:
            watch = rig.cluster.watch(WORKFLOW, namespace, page.resource_version, min(left, _WATCH_SECONDS), field_selector=only)
            async with aclosing(watch) as events:
                await _follow(awaited, events)
        if awaited.are_there:
            return awaited.answer()
        if left <= 0:
            raise RuntimeError(f"in {namespace} were late by {_PATIENCE:g} s: {awaited.late()}")


async def _follow(awaited: _Awaited, events: AsyncIterator[Document | None]) -> None:
    """Look at what happens until all are there, or the watch ends; the next list says what it missed."""
    async for event in events:
        if event is None or event["type"] == "ERROR":
            return
        if event["type"] in {"ADDED", "MODIFIED"}:
            awaited.look(event["object"])
        if awaited.are_there:
            return


async def fill(rig: Rig, count: int) -> int:
    """See to it that at least ``count`` workflows have finished; answers how many there are."""
    finished = await _finished(rig)
    while finished < count:
        namespace, size = await rig.namespace("finished"), min(_BATCH, count - finished)
        await at_once(rig, namespace, [notice(f"w{n:03}") for n in range(size)])
        finished += size
    return finished


async def _finished(rig: Rig) -> int:
    count, more = 0, None
    while True:
        page = await rig.cluster.list(WORKFLOW, limit=_PAGE, more=more)
        count += sum(map(has_ended, page.items))
        if not (more := page.more):
            return count


def milliseconds(earlier: str, later: str) -> float:
    """From one time in a status to another."""
    return 1000 * (instant(later) - instant(earlier)).total_seconds()
