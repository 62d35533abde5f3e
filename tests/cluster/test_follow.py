"""Following one workflow past an API server that has forgotten where the watch began."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import aclosing

import pytest
from support.workflows import phase, tell, workflow

from controller.cli._follow import statuses
from controller.cluster.client import Cluster, connect
from controller.cluster.errors import NotFoundError
from controller.cluster.kinds import CONFIG_MAP, WORKFLOW
from controller.core.errors import RetryableError
from controller.local.plane import Plane

NAMESPACE = "default"


async def until_watched(cluster: Cluster) -> None:
    """An API server that has just come up refuses watches for a moment."""
    async with asyncio.timeout(20):
        while True:
            try:
                async with aclosing(cluster.watch(WORKFLOW, NAMESPACE, "0", 5)) as events:
                    await anext(events)
            except RetryableError:
                await asyncio.sleep(0.05)
            else:
                return


async def test_an_expired_version_is_followed_by_a_fresh_one_and_not_asked_for_again(
    forget: Callable[[str], Awaitable[None]], plane: Plane, as_admin: Cluster
) -> None:
    asked: Counter[str] = Counter()
    await as_admin.create(WORKFLOW, NAMESPACE, workflow("followed", tell()))
    async with await connect(plane.kubeconfig, observer=lambda verb, *_: asked.update([verb])) as counted:
        following = statuses(counted, NAMESPACE, "followed", seconds=90)
        assert phase(await anext(following)) == ""
        latest = await as_admin.create(CONFIG_MAP, NAMESPACE, {"metadata": {"name": "later"}})
        await forget(latest["metadata"]["resourceVersion"])
        await until_watched(as_admin)
        assert phase(await anext(following)) == ""

        ending = asyncio.create_task(anext(following))
        await asyncio.sleep(1)
        await as_admin.patch(WORKFLOW, NAMESPACE, "followed", {"status": {"phase": "failed"}}, subresource="status")
        assert phase(await ending) == "failed"
        assert [seen async for seen in following] == []
    assert asked["watch"] == 2


async def test_what_is_not_there_is_not_followed(as_admin: Cluster) -> None:
    with pytest.raises(NotFoundError):
        await anext(statuses(as_admin, NAMESPACE, "nobody", seconds=15))
