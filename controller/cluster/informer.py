"""Keeps a cache of one kind true: list, watch, and everything that can go wrong between the two.

The watch is resumed from the last resourceVersion (bookmarks move it on) after any failure; only an expired version (410) or the
periodic resync lists again, and then the difference becomes additions, changes and synthetic deletions. A watch without a sign of
life is dropped: the connection may be half-open, and silence would look like "nothing changed".
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import aclosing
from dataclasses import dataclass

from controller.cluster.cache import Document, Indexer, ObjectCache, Subscriber
from controller.cluster.client import Cluster
from controller.cluster.errors import ApiError, Attempted, GoneError, error_from_answer
from controller.cluster.kinds import Kind
from controller.core.errors import RetryableError

log = logging.getLogger(__name__)

ReconnectionObserver = Callable[[str], None]
"""Called with the kind whenever a watch broke and is taken up again."""


@dataclass(frozen=True, slots=True)
class Rhythm:
    """How often, how long; all in seconds but ``page``, which counts objects."""

    resync: float = 600.0
    inactivity: float = 90.0  # the API server sends a bookmark about once a minute
    first_delay: float = 0.1
    longest_delay: float = 30.0
    page: int = 500


class Informer:
    """The objects of one kind, in all namespaces or in the given ones."""

    def __init__(  # noqa: PLR0913 - what to follow, and how
        self,
        cluster: Cluster,
        kind: Kind,
        namespaces: Iterable[str] | None = None,
        label_selector: str | None = None,
        indexers: Mapping[str, Indexer] | None = None,
        *,
        rhythm: Rhythm | None = None,
        observer: ReconnectionObserver | None = None,
    ) -> None:
        self.kind = kind
        self.synced = asyncio.Event()
        self.reconnections = 0
        self._cluster = cluster
        self._scopes: list[str | None] = list(dict.fromkeys(namespaces)) if namespaces else [None]
        self._unsynced = set(self._scopes)
        self._label_selector = label_selector
        self._cache = ObjectCache(indexers)
        self._rhythm = rhythm or Rhythm()
        self._observer = observer

    def __len__(self) -> int:
        """How many objects are cached."""
        return len(self._cache)

    def all(self, namespace: str | None = None) -> list[Document]:
        """All cached objects, or those of one namespace."""
        return [obj for obj in self._cache if namespace is None or obj["metadata"].get("namespace") == namespace]

    def get(self, namespace: str | None, name: str) -> Document | None:
        """The object as last seen, or None. It is shared: do not change it."""
        return self._cache.get(namespace, name)

    def by_index(self, index: str, value: str) -> list[Document]:
        """The objects whose indexer named ``value``. They are shared: do not change them."""
        return self._cache.by_index(index, value)

    def put(self, obj: Document) -> bool:
        """Write the answer of an API request through to the cache; False if the cache knows as much or more.

        Subscribers hear of it like of any change; the echo of the watch is then skipped as known.
        """
        return self._cache.put(obj)

    def subscribe(self, subscriber: Subscriber) -> None:
        """Call ``subscriber(old, new)`` from the event loop after every change; it must not block."""
        self._cache.subscribe(subscriber)

    async def run(self) -> None:
        """Follow the cluster until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for scope in self._scopes:
                tasks.create_task(self._follow(scope), name=f"informer {self.kind.kind} {scope or 'all namespaces'}")

    async def _follow(self, scope: str | None) -> None:
        loop = asyncio.get_running_loop()
        version: str | None = None
        failures = 0
        resync_at = 0.0
        while True:
            began = loop.time()
            try:
                if version is None or began >= resync_at:
                    version = await self._relist(scope)
                    # Spread, so that the informers of one process do not all list in the same second.
                    resync_at = loop.time() + self._rhythm.resync * random.uniform(0.9, 1.1)  # noqa: S311 - not a secret
                async for reached in self._events(scope, version, max(1.0, resync_at - loop.time())):
                    version, failures = reached, 0
                if loop.time() - began >= 1.0:
                    failures = 0
                    continue
                # A watch that ends at once, again and again, is a failure that does not say so.
                error: Exception = RetryableError(f"the watch of {self.kind.kind} ended at once")
            except GoneError as exc:
                version, error = None, exc
            except ApiError as exc:
                error = exc
            failures += 1
            self._count_reconnection()
            await asyncio.sleep(self._delay(failures, error))

    async def _relist(self, scope: str | None) -> str:
        items: list[Document] = []
        more: str | None = None
        while True:
            page = await self._cluster.list(self.kind, scope, label_selector=self._label_selector, limit=self._rhythm.page, more=more)
            items += page.items
            more = page.more
            if not more:
                break
        self._cache.replace(items, page.resource_version, scope)
        self._unsynced.discard(scope)
        if not self._unsynced:
            self.synced.set()
        return page.resource_version

    async def _events(self, scope: str | None, version: str, seconds: float) -> AsyncIterator[str]:
        """Apply the events of one watch; yields the version reached after each."""
        events = self._cluster.watch(
            self.kind,
            scope,
            version,
            seconds,
            inactivity=self._rhythm.inactivity,
            label_selector=self._label_selector,
        )
        async with aclosing(events):
            async for event in events:
                version = self._apply(event) or version
                yield version

    def _apply(self, event: Document | None) -> str | None:
        """Take in one event; the version it brings, or None if it could not be used."""
        if event is None:
            log.warning("unreadable_event_skipped", extra={"fields": {"kind": self.kind.kind}})
            return None
        try:
            obj = event["object"]
            match event["type"]:
                case "ERROR":
                    self._raise(obj)
                case "DELETED":
                    self._cache.remove(obj)
                case "ADDED" | "MODIFIED":
                    self._cache.put(obj)
                case _:  # a bookmark brings nothing but its version
                    pass
            return str(obj["metadata"]["resourceVersion"])
        except (KeyError, TypeError, ValueError, AttributeError) as exc:
            # The next resync brings what is lost here; stopping would lose everything else as well.
            log.warning("unusable_event_skipped", extra={"fields": {"kind": self.kind.kind, "error": repr(exc)}})
            return None

    def _raise(self, status: Document) -> None:
        attempted = Attempted("watch", self.kind.kind, None, None)
        raise error_from_answer(attempted, int(status.get("code", 500)), json.dumps(status).encode())

    def _count_reconnection(self) -> None:
        self.reconnections += 1
        if self._observer is not None:
            self._observer(self.kind.kind)

    def _delay(self, failures: int, error: Exception) -> float:
        longest = min(self._rhythm.longest_delay, self._rhythm.first_delay * 2.0 ** min(failures - 1, 16))
        delay = longest * random.uniform(0.5, 1.0)  # noqa: S311 - not a secret
        if isinstance(error, RetryableError) and error.delay is not None:
            delay = max(delay, error.delay.total_seconds())
        log.info("watch_interrupted", extra={"fields": {"kind": self.kind.kind, "error": str(error), "delay": round(delay, 3)}})
        return delay
