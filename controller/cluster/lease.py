"""Leader election by Lease, with the semantics of client-go: one holder, who renews it; the others wait until it is over.

Whether another's Lease is over is told by this process's own monotonic clock alone: no change seen for as long as the Lease says.
Nobody's timestamps are compared. Each write carries the resourceVersion that was read, so of two candidates one gets it. A holder
that cannot renew in time stops leading before anyone else may begin, and stands as a candidate again.

Nothing is safe because of a Lease: it spares two processes the same work. What keeps counts at one are the guards of each write.
"""

from __future__ import annotations

import asyncio
import random
import secrets
import socket
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from controller.cluster import process
from controller.cluster.client import Cluster
from controller.cluster.errors import AlreadyExistsError, ApiError, ConflictError, NotFoundError
from controller.cluster.kinds import LEASE
from controller.core.errors import RetryableError
from controller.core.names import SYSTEM_NAMESPACE
from controller.observe.logs import events

log = events(__name__)

Document = dict[str, Any]
LeaderObserver = Callable[[], None]
"""Called whenever the process has begun to lead, or leads no longer: ``leads`` tells which."""

_PROCESS_ANNOTATION = "kubernaut.ai/holder-process"
_RELEASE_SECONDS = 2.0
_JITTER = 0.2


@dataclass(frozen=True, slots=True)
class Timing:
    """How long a Lease lasts, in whole seconds; the rest follows in client-go's proportions (15, 10, 2)."""

    lease_seconds: int = 15

    @property
    def renew_deadline(self) -> float:
        """Seconds after the last renewal in which the holder may think that it leads."""
        return self.lease_seconds * 2 / 3

    @property
    def retry(self) -> float:
        """Seconds between two attempts, of the holder to renew and of the others to get it."""
        return self.lease_seconds * 2 / 15


def new_identity() -> str:
    """A name for this process that no other one has, and that says where it runs."""
    return f"{socket.gethostname()}_{secrets.token_hex(4)}"


class Candidate:
    """Stands for one Lease in kubernaut-system from ``run`` on, until that is cancelled; ``release`` gives it back."""

    def __init__(self, cluster: Cluster, name: str, identity: str, timing: Timing, observer: LeaderObserver) -> None:
        self.name = name
        self.holder = ""
        self._cluster = cluster
        self._identity = identity
        self._timing = timing
        self._observer = observer
        self._process = process.this_process()
        self._leading = False
        self._until = 0.0
        self._own: Document | None = None
        self._seen: Document = {}
        self._seen_at = 0.0
        self._failure: ApiError | None = None

    @property
    def leads(self) -> bool:
        """Whether the Lease is this process's, which a process that was stopped for a while must not believe any longer."""
        return self._leading and asyncio.get_running_loop().time() < self._until

    @property
    def refusal(self) -> str | None:
        """Why it cannot get the Lease whatever the others do: a right is missing, or the namespace."""
        return str(self._failure) if self._failure is not None and not isinstance(self._failure, RetryableError) else None

    async def run(self) -> None:
        """Get the Lease and keep it, over and over, until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            await self._attempt()
            pause = self._timing.retry * random.uniform(1 - _JITTER, 1 + _JITTER)  # noqa: S311 - not a secret
            await asyncio.sleep(min(pause, max(0.0, self._until - loop.time())) if self._leading else pause)
            self._expire()

    async def release(self) -> None:
        """Give the Lease back if it is ours, so that the next one need not wait; ``run`` must have ended."""
        try:
            async with asyncio.timeout(_RELEASE_SECONDS):
                lease = await self._cluster.get(LEASE, SYSTEM_NAMESPACE, self.name)
                spec = lease.get("spec") or {}
                if spec.get("holderIdentity") == self._identity:
                    spec |= {"holderIdentity": "", "leaseDurationSeconds": 1, "renewTime": _micro_time()}
                    await self._cluster.replace(LEASE, SYSTEM_NAMESPACE, self.name, lease | {"spec": spec})
                    log.info("lease_released", lease=self.name)
        except (ApiError, TimeoutError) as exc:
            log.warning("lease_not_released", lease=self.name, error=str(exc) or "no answer in time")
        self._stop_leading()

    async def _attempt(self) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            async with asyncio.timeout_at(self._until if self._leading else began + self._timing.renew_deadline):
                held = await self._renew() or await self._acquire()
        except (ConflictError, AlreadyExistsError):
            # Someone was faster; the next attempt sees who.
            return
        except TimeoutError:
            return
        except ApiError as exc:
            self._complain(exc)
            return
        finally:
            self._expire()
        self._failure = None
        if not held:
            self._lose(f"{self.holder} holds it")
            return
        self._until = began + self._timing.renew_deadline
        if not self._leading and loop.time() < self._until:
            self._leading = True
            log.info("leading", lease=self.name, identity=self._identity)
            self._observer()

    async def _renew(self) -> bool:
        """One write, no read, as long as nobody else has touched the Lease."""
        if not self._leading or self._own is None:
            return False
        own, self._own = self._own, None
        try:
            await self._write(own)
        except (ConflictError, NotFoundError):
            return False
        return True

    async def _acquire(self) -> bool:
        """Look who holds the Lease, and take it if nobody does any longer."""
        try:
            lease = await self._cluster.get(LEASE, SYSTEM_NAMESPACE, self.name)
        except NotFoundError:
            body = {"apiVersion": LEASE.api_version, "kind": LEASE.kind, "metadata": {"name": self.name}, "spec": {}}
            self._own = await self._cluster.create(LEASE, SYSTEM_NAMESPACE, self._ours(body))
            return True
        if not self._is_free(lease):
            return False
        await self._write(lease)
        return True

    async def _write(self, lease: Document) -> None:
        self._own = await self._cluster.replace(LEASE, SYSTEM_NAMESPACE, self.name, self._ours(lease))

    def _is_free(self, lease: Document) -> bool:
        now = asyncio.get_running_loop().time()
        spec = lease.get("spec") or {}
        if spec != self._seen:
            self._seen, self._seen_at = spec, now
        self.holder = spec.get("holderIdentity") or ""
        if self.holder in {"", self._identity}:
            return True
        lasts = spec.get("leaseDurationSeconds") or self._timing.lease_seconds
        if now >= self._seen_at + lasts:
            return True
        return process.is_gone((lease["metadata"].get("annotations") or {}).get(_PROCESS_ANNOTATION, ""))

    def _ours(self, lease: Document) -> Document:
        """The Lease with this process as its holder; its metadata, and with it the resourceVersion, stay."""
        now, spec, metadata = _micro_time(), lease.get("spec") or {}, lease["metadata"]
        taken = spec.get("holderIdentity") != self._identity
        transitions = (spec.get("leaseTransitions") or 0) + 1 if taken and spec else spec.get("leaseTransitions") or 0
        return lease | {
            "metadata": metadata | {"annotations": (metadata.get("annotations") or {}) | {_PROCESS_ANNOTATION: self._process}},
            "spec": {
                "holderIdentity": self._identity,
                "leaseDurationSeconds": self._timing.lease_seconds,
                "acquireTime": now if taken else spec.get("acquireTime", now),
                "renewTime": now,
                "leaseTransitions": transitions,
            },
        }

    def _expire(self) -> None:
        if self._leading and not self.leads:
            self._lose("it was not renewed in time")

    def _lose(self, why: str) -> None:
        if self._leading:
            log.warning("not_leading", lease=self.name, why=why)
            self._stop_leading()

    def _stop_leading(self) -> None:
        self._leading = False
        self._observer()

    def _complain(self, failure: ApiError) -> None:
        """Say it once, not at each attempt."""
        if type(failure) is not type(self._failure):
            log.warning("lease_not_to_be_had", lease=self.name, error=str(failure))
        self._failure = failure


def _micro_time() -> str:
    """For people only: nobody decides by it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
