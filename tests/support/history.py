"""What happened to objects, heard by watching them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

from controller.cluster.client import Cluster, Page
from controller.cluster.kinds import Kind
from controller.core.errors import RetryableError

_LONGEST = 120.0

Listener = Callable[[Kind, str, dict[str, Any]], None]
"""Called with the kind, what happened (ADDED, MODIFIED, DELETED) and the object."""


@asynccontextmanager
async def watched(cluster: Cluster, namespace: str, kinds: Iterable[Kind], listener: Listener) -> AsyncIterator[None]:
    """Tell the listener of every object of these kinds: what is there as ADDED, then every event, in order by kind."""

    async def follow(kind: Kind, version: str) -> None:
        async for event in cluster.watch(kind, namespace, version, _LONGEST):
            if event is not None and event["type"] != "BOOKMARK":
                listener(kind, event["type"], event["object"])

    watches = []
    for kind in kinds:
        page = await listed(cluster, kind, namespace)
        for item in page.items:
            listener(kind, "ADDED", item)
        watches.append(asyncio.create_task(follow(kind, page.resource_version)))
    try:
        yield
    finally:
        for watch in watches:
            watch.cancel()
        await asyncio.gather(*watches, return_exceptions=True)


async def listed(cluster: Cluster, kind: Kind, namespace: str | None, *, field_selector: str | None = None) -> Page:
    """List a kind that may be new to the API server, which answers 429 for a moment then; or a server that was killed comes back."""
    while True:
        try:
            return await cluster.list(kind, namespace, field_selector=field_selector)
        except RetryableError:
            await asyncio.sleep(0.1)
