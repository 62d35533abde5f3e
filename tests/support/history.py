"""What happened to objects, heard by watching them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from controller.cluster.client import Cluster, Page
from controller.cluster.kinds import Kind
from controller.core.errors import RetryableError
from support.patience import until

_LONGEST = 120.0

Listener = Callable[[Kind, str, dict[str, Any]], None]
"""Called with the kind, what happened (ADDED, MODIFIED, DELETED) and the object."""


@asynccontextmanager
async def watched(
    cluster: Cluster, namespace: str, kinds: Collection[Kind], listener: Listener
) -> AsyncIterator[Callable[[], Awaitable[None]]]:
    """Tell the listener of every object of these kinds: what is there as ADDED, then every event, in order by kind.

    What is answered waits until the listener has been told of everything that is there by then: one watch may lag behind another.
    """
    newest: dict[tuple[Kind, str], int] = {}

    def tell(kind: Kind, what: str, obj: dict[str, Any]) -> None:
        listener(kind, what, obj)
        newest[kind, obj["metadata"]["name"]] = int(obj["metadata"]["resourceVersion"])

    async def follow(kind: Kind, version: str) -> None:
        async for event in cluster.watch(kind, namespace, version, _LONGEST):
            if event is not None and event["type"] != "BOOKMARK":
                tell(kind, event["type"], event["object"])

    async def caught_up() -> None:
        for kind in kinds:
            page = await listed(cluster, kind, namespace)
            there = {(kind, item["metadata"]["name"]): int(item["metadata"]["resourceVersion"]) for item in page.items}
            await until(partial(_has_come_to, newest, there), 30, f"every event of {kind.kind}")

    watches = []
    for kind in kinds:
        page = await listed(cluster, kind, namespace)
        for item in page.items:
            tell(kind, "ADDED", item)
        watches.append(asyncio.create_task(follow(kind, page.resource_version)))
    try:
        yield caught_up
    finally:
        for watch in watches:
            watch.cancel()
        await asyncio.gather(*watches, return_exceptions=True)


def _has_come_to(newest: Mapping[tuple[Kind, str], int], there: Mapping[tuple[Kind, str], int]) -> bool:
    return all(newest.get(key, 0) >= version for key, version in there.items())


async def listed(cluster: Cluster, kind: Kind, namespace: str | None, *, field_selector: str | None = None) -> Page:
    """List a kind that may be new to the API server, which answers 429 for a moment then; or a server that was killed comes back."""
    while True:
        try:
            return await cluster.list(kind, namespace, field_selector=field_selector)
        except RetryableError:
            await asyncio.sleep(0.1)
