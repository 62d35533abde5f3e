"""Kubernetes Events about our objects: told once, repeated as a count, and never in anyone's way.

Emitting only queues; one task writes. What does not fit into the queue, or what the API server refuses, is dropped and counted: an
Event is a courtesy, the status is the truth. The name of an Event is derived from what it says, so saying it again finds the first
one and raises its count. They are core/v1 Events, because those are what `kubectl describe` and `kubectl get events` count best.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from cachetools import TTLCache

from controller.cluster.client import Cluster
from controller.cluster.errors import AlreadyExistsError, ApiError, NotFoundError
from controller.cluster.kinds import EVENT

log = logging.getLogger(__name__)

EventType = Literal["Normal", "Warning"]
_QUEUED = 1000
_REMEMBERED = 4096
_REMEMBERED_SECONDS = 1800.0
_LONGEST_NOTE = 1000  # the API server refuses more than 1024 bytes
_LONGEST_PREFIX = 230


@dataclass(frozen=True, slots=True)
class _Event:
    """One thing to say about one object."""

    namespace: str
    name: str
    involved: dict[str, str]
    type: EventType
    reason: str
    message: str
    action: str
    at: str


class EventRecorder:
    """Says what happened to an object; ``run`` must be running for it to be heard."""

    def __init__(self, cluster: Cluster, component: str) -> None:
        self.dropped = 0
        self._cluster = cluster
        self._component = component
        self._queue: asyncio.Queue[_Event] = asyncio.Queue(_QUEUED)
        self._counts: TTLCache[tuple[str, str], int] = TTLCache(_REMEMBERED, _REMEMBERED_SECONDS)

    def emit(self, obj: dict[str, Any], event_type: EventType, reason: str, message: str, action: str = "") -> None:
        """Queue one Event about ``obj`` (any document with apiVersion, kind and metadata); never blocks, never fails."""
        metadata = obj.get("metadata", {})
        involved = {
            "apiVersion": obj.get("apiVersion", ""),
            "kind": obj.get("kind", ""),
            "namespace": metadata.get("namespace", ""),
            "name": metadata.get("name", ""),
            "uid": metadata.get("uid", ""),
        }
        said = "\0".join((self._component, involved["uid"], involved["name"], event_type, reason, message))
        digest = hashlib.sha256(said.encode()).hexdigest()[:16]
        event = _Event(
            namespace=involved["namespace"] or "default",
            name=f"{involved['name'][:_LONGEST_PREFIX]}.{digest}",
            involved=involved,
            type=event_type,
            reason=reason,
            message=message[:_LONGEST_NOTE],
            action=action or reason,
            at=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        )
        try:
            self._queue.put_nowait(event)
        except asyncio.QueueFull:
            self.dropped += 1

    async def run(self) -> None:
        """Write queued Events until cancelled."""
        while True:
            event = await self._queue.get()
            try:
                await self._write(event)
            except ApiError as exc:
                self.dropped += 1
                log.debug("event_dropped", extra={"fields": {"reason": event.reason, "error": str(exc)}})
            finally:
                self._queue.task_done()

    async def drain(self, timeout: float) -> None:  # noqa: ASYNC109 - a stop has one grace period to spend
        """Wait until everything queued is written, at most ``timeout`` seconds."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._queue.join(), timeout)

    async def _write(self, event: _Event) -> None:
        key = (event.namespace, event.name)
        if key not in self._counts:
            try:
                await self._cluster.create(EVENT, event.namespace, self._document(event))
            except AlreadyExistsError:
                # Said before, by an earlier life of this process.
                known = await self._cluster.get(EVENT, event.namespace, event.name)
                self._counts[key] = int(known.get("count") or 1)
            else:
                self._counts[key] = 1
                return
        count = self._counts[key] + 1
        try:
            repeated = {"count": count, "lastTimestamp": event.at}
            await self._cluster.patch(EVENT, event.namespace, event.name, repeated, patch_type="merge")
            self._counts[key] = count
        except NotFoundError:
            # The API server keeps Events for an hour only.
            await self._cluster.create(EVENT, event.namespace, self._document(event))
            self._counts[key] = 1

    def _document(self, event: _Event) -> dict[str, Any]:
        return {
            "apiVersion": EVENT.api_version,
            "kind": EVENT.kind,
            "metadata": {"name": event.name, "namespace": event.namespace},
            "involvedObject": event.involved,
            "type": event.type,
            "reason": event.reason,
            "message": event.message,
            "action": event.action,
            "count": 1,
            "firstTimestamp": event.at,
            "lastTimestamp": event.at,
            "source": {"component": self._component},
            "reportingComponent": self._component,
            "reportingInstance": self._component,
        }
