"""A cache of plain dicts that never goes back in time.

Three things write to it: watch events, lists, and the answers to our own writes. They race, so every write is judged by
resourceVersion: what is not newer than what is known is skipped, and a tombstone keeps a late answer from resurrecting an object
whose deletion was seen. (resourceVersions of one object are compared as integers: documented since Kubernetes 1.35, true of every
etcd-backed server before.)
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from cachetools import TTLCache

Document = dict[str, Any]
Key = tuple[str, str]
"""Namespace (empty for cluster-scoped kinds) and name."""
Indexer = Callable[[Document], Iterable[str]]
Subscriber = Callable[[Document | None, Document | None], None]
"""Called with the object as it was and as it is; None before it was there and after it is gone."""

_TOMBSTONES = 10_000
_TOMBSTONE_SECONDS = 600.0

log = logging.getLogger(__name__)


def key_of(obj: Mapping[str, Any]) -> Key:
    """Where an object lives in the cache."""
    metadata = obj["metadata"]
    return metadata.get("namespace", ""), metadata["name"]


def is_newer(version: str, known: str) -> bool:
    """Whether ``version`` comes after ``known``; versions that are no integers can only be told apart."""
    if version.isdecimal() and known.isdecimal():
        return int(version) > int(known)
    return version != known


class ObjectCache:
    """Objects by namespace and name, and by any number of indexes. Answers are the cached dicts themselves: do not change them."""

    def __init__(self, indexers: Mapping[str, Indexer] | None = None) -> None:
        self._indexers = dict(indexers or {})
        self._objects: dict[Key, Document] = {}
        self._indexes: dict[str, dict[str, dict[Key, None]]] = {name: {} for name in self._indexers}
        self._indexed_under: dict[Key, list[tuple[str, str]]] = {}
        self._tombstones: TTLCache[str, str] = TTLCache(_TOMBSTONES, _TOMBSTONE_SECONDS)
        self._subscribers: list[Subscriber] = []

    def __len__(self) -> int:
        """How many objects are cached."""
        return len(self._objects)

    def __iter__(self) -> Iterator[Document]:
        """All objects; a snapshot, so that the cache may change meanwhile."""
        return iter(list(self._objects.values()))

    def get(self, namespace: str | None, name: str) -> Document | None:
        """The object as last seen, or None."""
        return self._objects.get((namespace or "", name))

    def by_index(self, index: str, value: str) -> list[Document]:
        """The objects whose indexer named ``value``."""
        return [self._objects[key] for key in self._indexes[index].get(value, ())]

    def subscribe(self, subscriber: Subscriber) -> None:
        """Call ``subscriber`` from the event loop after every change; it must not block."""
        self._subscribers.append(subscriber)

    def put(self, obj: Document) -> bool:
        """Take in one object, from the watch or from an API answer; False if the cache knows as much or more."""
        metadata = obj["metadata"]
        metadata.pop("managedFields", None)
        version, uid = metadata["resourceVersion"], metadata["uid"]
        buried_at = self._tombstones.get(uid)
        if buried_at is not None and not is_newer(version, buried_at):
            return False
        key = key_of(obj)
        old = self._objects.get(key)
        if old is not None and not is_newer(version, old["metadata"]["resourceVersion"]):
            return False
        self._index(key, obj)
        self._objects[key] = obj
        self._notify(old, obj)
        return True

    def remove(self, obj: Mapping[str, Any]) -> bool:
        """Take in a deletion (``obj`` is the object's last state); False if the cache knows something newer."""
        metadata = obj["metadata"]
        return self._bury(key_of(obj), metadata["uid"], metadata["resourceVersion"])

    def replace(self, objs: Iterable[Document], version: str, namespace: str | None) -> None:
        """Take in a whole list: changes, additions, and a synthetic deletion for everything that is missing from it.

        What is newer than the list itself stays: the list may be older than a write of ours whose answer came in meanwhile.
        """
        seen: set[Key] = set()
        for obj in objs:
            try:
                self.put(obj)
                seen.add(key_of(obj))
            except (KeyError, TypeError, AttributeError):
                log.warning("unusable_object_skipped", exc_info=True)
        for key in [k for k in self._objects if (namespace is None or k[0] == namespace) and k not in seen]:
            self._bury(key, self._objects[key]["metadata"]["uid"], version)

    def _bury(self, key: Key, uid: str, version: str) -> bool:
        old = self._objects.get(key)
        if old is not None and is_newer(old["metadata"]["resourceVersion"], version):
            return False
        self._tombstones[uid] = version
        if old is None:
            return False
        self._unindex(key)
        del self._objects[key]
        self._notify(old, None)
        return True

    def _index(self, key: Key, obj: Document) -> None:
        self._unindex(key)
        under: list[tuple[str, str]] = []
        for index, indexer in self._indexers.items():
            try:
                values = set(indexer(obj))
            except Exception:  # one odd object must not stop the informer
                log.exception("object_not_indexed", extra={"fields": {"index": index, "object": "/".join(key)}})
                continue
            for value in values:
                self._indexes[index].setdefault(value, {})[key] = None
                under.append((index, value))
        if under:
            self._indexed_under[key] = under

    def _unindex(self, key: Key) -> None:
        for index, value in self._indexed_under.pop(key, ()):
            keys = self._indexes[index][value]
            del keys[key]
            if not keys:
                del self._indexes[index][value]

    def _notify(self, old: Document | None, new: Document | None) -> None:
        for subscriber in self._subscribers:
            try:
                subscriber(old, new)
            except Exception:  # the other subscribers still have to hear of it
                log.exception("subscriber_failed")
