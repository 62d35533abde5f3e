"""Telling what a workflow does while it does it: one line per change, on a terminal or in a pipe."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from controller.cluster.client import Cluster
from controller.cluster.errors import Attempted, ForbiddenError, GoneError, NotFoundError, error_from_answer
from controller.cluster.kinds import WORKFLOW
from controller.core.errors import RetryableError
from controller.core.phases import TERMINAL

Document = dict[str, Any]

# One watch request; a connection that died unnoticed is given up after that long.
_LONGEST_WATCH = 300.0
_PAUSE = 0.5
# For how long an API server that does not answer is waited for.
_PATIENCE = 30.0

MARKS = {
    "pending": "·",
    "executing": "▶",
    "completed": "✔",
    "failed": "✘",
    "blocked": "✘",
    "skipped": "-",
    "rolled_back": "↩",
    "rollback_failed": "✘",
}


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that is new in a workflow's status; ``step`` is 0 where it concerns the whole."""

    step: int
    mark: str
    text: str


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Change]:
    """Tell what is new between two statuses, in the order in which people want to read it."""
    told: list[Change] = []
    if before.get("phase") != after.get("phase"):
        plan = after.get("executionPlan") or {}
        more = f" · plan {plan['planHash']} · {plan['strategy']}" if after["phase"] == "executing" and plan else ""
        told.append(Change(0, "◆", after["phase"] + more))
    old = {e["stepNumber"]: e for e in before.get("stepStatuses") or []}
    for entry in after.get("stepStatuses") or []:
        was = old.get(entry["stepNumber"], {})
        state = (entry["status"], entry.get("attempts", 0), entry.get("rollbackAttempts", 0))
        if state == (was.get("status", "pending"), was.get("attempts", 0), was.get("rollbackAttempts", 0)):
            continue
        settled = entry["status"] in {"rolled_back", "rollback_failed"}
        undoing = not settled and entry.get("rollbackAttempts", 0) > was.get("rollbackAttempts", 0)
        word = "being taken back" if undoing else entry["status"].replace("_", " ")
        went_wrong = not undoing and entry["status"] in {"failed", "blocked", "rollback_failed"}
        detail = (entry.get("errorMessage") or entry.get("message") or "") if went_wrong else ""
        told.append(
            Change(
                entry["stepNumber"],
                "↩" if undoing else MARKS.get(entry["status"], "?"),
                f"{entry['stepNumber']:>2} {entry['name']:<22} {entry['action']:<20} {word}" + (f": {detail}" if detail else ""),
            )
        )
    if after.get("waitingFor") and before.get("waitingFor") != after.get("waitingFor"):
        told.append(Change(0, "…", f"waits for {after['waitingFor']}"))
        if after.get("remedy"):
            told.append(Change(0, " ", f"  → {after['remedy']}"))
    return told


async def statuses(cluster: Cluster, namespace: str, name: str, *, seconds: float) -> AsyncIterator[Document]:
    """Every state of one workflow that the API server shows, from now until it has ended.

    Raises:
        TimeoutError: it has not ended within ``seconds``.
        NotFoundError: there is no such workflow, or no longer.
    """
    deadline = time.monotonic() + seconds
    seen, version = await _listed(cluster, namespace, name)
    yield seen
    while not _has_ended(seen):
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError(
                f"workflow {namespace}/{name} has not ended within {seconds:g} s; it is {(seen.get('status') or {}).get('phase')}"
            )
        try:
            async with aclosing(_events(cluster, namespace, name, version, min(left, _LONGEST_WATCH))) as events:
                async for event in events:
                    seen, version = event, event["metadata"]["resourceVersion"]
                    yield seen
                    if _has_ended(seen):
                        return
            await _pause(deadline)
        except GoneError:
            await _pause(deadline)
            seen, version = await _listed(cluster, namespace, name)
            yield seen


def _nobody(_: str) -> None:
    """Nobody wants to know why there is no news."""


async def statuses_patiently(
    cluster: Cluster, namespace: str, name: str, *, seconds: float, silent: Callable[[str], None] = _nobody
) -> AsyncIterator[Document]:
    """The same, but an API server that goes away for a while is waited for; ``silent`` is told why there is no news.

    Raises:
        TimeoutError: it has not ended within ``seconds``.
        NotFoundError: there is no such workflow, or no longer.
        RetryableError: the API server has not answered for 30 s.
        ForbiddenError: the first answer is that the user may not watch it, or it has been the answer for 30 s.
    """
    deadline = time.monotonic() + seconds
    silent_since: float | None = None
    is_first = True
    while True:
        try:
            async for seen in statuses(cluster, namespace, name, seconds=deadline - time.monotonic()):
                silent_since, is_first = None, False
                yield seen
        except (RetryableError, ForbiddenError) as exc:
            # An API server that has just started refuses everything for a moment; one that was there all along means it.
            if isinstance(exc, ForbiddenError) and is_first:
                raise
            is_first = False
            silent_since = silent_since or time.monotonic()
            silent(str(exc))
            if time.monotonic() - silent_since > _PATIENCE:
                raise
            await asyncio.sleep(_PAUSE)
        else:
            return


async def _listed(cluster: Cluster, namespace: str, name: str) -> tuple[Document, str]:
    """Read one workflow, and a version to watch from, which unlike the workflow's own is never too old."""
    page = await cluster.list(WORKFLOW, namespace, field_selector=f"metadata.name={name}")
    if not page.items:
        raise NotFoundError(Attempted("get", WORKFLOW.kind, namespace, name), status=404, reason="NotFound", message="there is none")
    return page.items[0], page.resource_version


async def _events(cluster: Cluster, namespace: str, name: str, version: str, seconds: float) -> AsyncGenerator[Document, None]:
    attempted = Attempted("watch", WORKFLOW.kind, namespace, name)
    watch = cluster.watch(WORKFLOW, namespace, version, seconds, field_selector=f"metadata.name={name}")
    try:
        async with asyncio.timeout(seconds), aclosing(watch):
            async for event in watch:
                if event is None:
                    continue
                obj = event["object"]
                if event["type"] in {"ADDED", "MODIFIED"}:
                    yield obj
                elif event["type"] == "DELETED":
                    raise NotFoundError(attempted, status=404, reason="NotFound", message="it was deleted")
                elif event["type"] == "ERROR":
                    raise error_from_answer(attempted, int(obj.get("code", 500)), json.dumps(obj).encode())
    except TimeoutError:
        return


async def _pause(deadline: float) -> None:
    await asyncio.sleep(max(0.0, min(_PAUSE, deadline - time.monotonic())))


def _has_ended(workflow: Document) -> bool:
    return (workflow.get("status") or {}).get("phase") in TERMINAL
