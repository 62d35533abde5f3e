"""The informer against a real API server that restarts, forgets, goes silent and cuts connections."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from support.patience import until

from controller.cluster.client import Cluster
from controller.cluster.informer import Informer, Rhythm
from controller.cluster.kinds import CONFIG_MAP

NAMESPACE = "default"
QUICK = Rhythm(resync=600, inactivity=30, first_delay=0.05, longest_delay=0.5)


def config_map(name: str, group: str, **data: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "labels": {"group": group}}, "data": data}


@asynccontextmanager
async def following(cluster: Cluster, group: str, rhythm: Rhythm = QUICK) -> AsyncIterator[Informer]:
    informer = Informer(cluster, CONFIG_MAP, [NAMESPACE], f"group={group}", {"color": lambda o: [o["data"]["color"]]}, rhythm=rhythm)
    running = asyncio.create_task(informer.run())
    try:
        await asyncio.wait_for(informer.synced.wait(), 10)
        yield informer
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def names(informer: Informer) -> set[str]:
    return {o["metadata"]["name"] for o in informer.all()}


async def test_it_lists_in_pages_then_follows_and_answers_by_index(as_admin: Cluster) -> None:
    for n in range(5):
        await as_admin.create(CONFIG_MAP, NAMESPACE, config_map(f"follow-{n}", "follow", color="red"))
    heard: list[tuple[bool, bool]] = []
    async with following(as_admin, "follow", Rhythm(page=2)) as informer:
        assert len(informer.by_index("color", "red")) == 5
        informer.subscribe(lambda old, new: heard.append((old is not None, new is not None)))
        await as_admin.patch(CONFIG_MAP, NAMESPACE, "follow-0", {"data": {"color": "blue"}})
        await as_admin.create(CONFIG_MAP, NAMESPACE, config_map("follow-5", "follow", color="red"))
        await as_admin.delete(CONFIG_MAP, NAMESPACE, "follow-1")
        await until(lambda: len(heard) == 3)
        assert heard == [(True, True), (False, True), (True, False)]
        assert [o["metadata"]["name"] for o in informer.by_index("color", "blue")] == ["follow-0"]
        assert "managedFields" not in informer.get(NAMESPACE, "follow-0")["metadata"]  # type: ignore[index]


async def test_a_written_answer_is_seen_at_once_and_its_echo_is_not_heard_twice(as_admin: Cluster) -> None:
    async with following(as_admin, "echo") as informer:
        heard: list[str] = []
        informer.subscribe(lambda _, new: heard.append(new["metadata"]["resourceVersion"] if new else "gone"))
        made = await as_admin.create(CONFIG_MAP, NAMESPACE, config_map("echo", "echo", color="red"))
        informer.put(made)
        assert informer.get(NAMESPACE, "echo") is not None
        await as_admin.patch(CONFIG_MAP, NAMESPACE, "echo", {"data": {"color": "blue"}})
        await until(lambda: len(heard) >= 2)
        await as_admin.delete(CONFIG_MAP, NAMESPACE, "echo")
        await until(lambda: heard[-1] == "gone")
        assert not informer.put(made)
        assert len(heard) == 3


async def test_after_a_cut_it_goes_on_without_missing_anything(proxied: Cluster, proxy: Any, as_admin: Cluster) -> None:
    async with following(proxied, "cut") as informer:
        await proxy.stop()
        await as_admin.create(CONFIG_MAP, NAMESPACE, config_map("cut", "cut", color="red"))
        await until(lambda: informer.reconnections > 1)
        await proxy.start()
        await until(lambda: names(informer) == {"cut"})


async def test_a_silent_watch_is_dropped_and_taken_up_again(proxied: Cluster, proxy: Any, as_admin: Cluster) -> None:
    async with following(proxied, "silent", Rhythm(inactivity=0.5, first_delay=0.05, longest_delay=0.2)) as informer:
        proxy.silent = True
        await as_admin.create(CONFIG_MAP, NAMESPACE, config_map("silent", "silent", color="red"))
        await until(lambda: informer.reconnections > 0)
        assert names(informer) == set()
        proxy.silent = False
        await until(lambda: names(informer) == {"silent"})


async def test_an_expired_version_means_a_new_list_with_deletions(
    forget: Callable[[str], Awaitable[None]], proxied: Cluster, proxy: Any, as_admin: Cluster
) -> None:
    for name in ("stays", "goes"):
        await as_admin.create(CONFIG_MAP, NAMESPACE, config_map(name, "expired", color="red"))
    async with following(proxied, "expired") as informer:
        gone: list[str] = []
        informer.subscribe(lambda old, new: gone.append(old["metadata"]["name"]) if new is None and old else None)
        await proxy.stop()
        await as_admin.delete(CONFIG_MAP, NAMESPACE, "goes")
        latest = await as_admin.create(CONFIG_MAP, NAMESPACE, config_map("comes", "expired", color="blue"))
        await forget(latest["metadata"]["resourceVersion"])
        await proxy.start()
        await until(lambda: names(informer) == {"stays", "comes"})
        assert gone == ["goes"]


async def test_a_resync_finds_what_no_event_told(as_admin: Cluster) -> None:
    await as_admin.create(CONFIG_MAP, NAMESPACE, config_map("resync", "resync", color="red"))
    async with following(as_admin, "resync", Rhythm(resync=1.0)) as informer:
        informer._cache._objects.clear()  # as if events had been lost
        await until(lambda: names(informer) == {"resync"}, 5)
        assert informer.reconnections == 0


async def test_an_unusable_event_is_skipped_and_the_next_one_is_not(as_admin: Cluster) -> None:
    informer = Informer(as_admin, CONFIG_MAP)
    assert informer._apply(None) is None
    assert informer._apply({"type": "ADDED", "object": {"metadata": {"name": "x"}}}) is None
    assert informer._apply({"type": "ADDED", "object": None}) is None
    fine = {"metadata": {"name": "x", "uid": "u", "resourceVersion": "5"}}
    assert informer._apply({"type": "ADDED", "object": fine}) == "5"
    assert informer._apply({"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "9"}}}) == "9"
    assert informer._apply({"type": "DELETED", "object": {**fine, "metadata": {**fine["metadata"], "resourceVersion": "7"}}}) == "7"
    assert len(informer) == 0
