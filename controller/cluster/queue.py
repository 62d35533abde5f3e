"""One work queue for keys: what is to be reconciled, when, and never twice at the same time."""

from __future__ import annotations

import asyncio
import logging
import random
from collections import deque
from collections.abc import Awaitable, Callable, Hashable
from datetime import timedelta
from typing import Generic, TypeVar

from controller.core.errors import PermanentError, RetryableError

K = TypeVar("K", bound=Hashable)

Handler = Callable[[K], Awaitable[timedelta | None]]
"""Reconciles one key; the answer says when to look again, None only when something changes."""
WaitObserver = Callable[[float], None]
"""Called with the seconds that a key was ready before a worker took it."""

log = logging.getLogger(__name__)


class WorkQueue(Generic[K]):
    """Keys that wait for a worker.

    A key is in it at most once; one that is added while a worker has it runs again afterwards. All times are those of the event
    loop's monotonic clock.
    """

    def __init__(self, *, first_delay: float = 0.05, longest_delay: float = 60.0, observer: WaitObserver | None = None) -> None:
        self._first_delay = first_delay
        self._longest_delay = longest_delay
        self._observer = observer
        self._ready: deque[K] = deque()
        self._ready_since: dict[K, float] = {}
        self._timers: dict[K, asyncio.TimerHandle] = {}
        self._active: set[K] = set()
        self._again: set[K] = set()
        self._failures: dict[K, int] = {}
        self._idle: deque[asyncio.Future[None]] = deque()
        self._workers: set[asyncio.Task[None]] = set()
        self._stopping = False

    def __len__(self) -> int:
        """How many keys are ready and wait for a worker: the queue's depth."""
        return len(self._ready)

    @property
    def scheduled(self) -> int:
        """How many keys wait for their time."""
        return len(self._timers)

    def holds(self, key: K) -> bool:
        """Tell whether a key is being worked on, or waits for a worker or for its time."""
        return key in self._active or key in self._ready_since or key in self._timers

    def add(self, key: K) -> None:
        """Make a key ready now; beats any time it was scheduled for."""
        self._unschedule(key)
        if key in self._active:
            self._again.add(key)
        elif key not in self._ready_since:
            self._ready_since[key] = asyncio.get_running_loop().time()
            self._ready.append(key)
            self._wake_one()

    def add_after(self, key: K, seconds: float) -> None:
        """Make a key ready in ``seconds``, unless it is ready, or due earlier, anyway."""
        if seconds <= 0:
            self.add(key)
            return
        if key in self._ready_since:
            return
        loop = asyncio.get_running_loop()
        timer = self._timers.get(key)
        if timer is not None and timer.when() <= loop.time() + seconds:
            return
        self._unschedule(key)
        self._timers[key] = loop.call_later(seconds, self.add, key)

    def retry(self, key: K) -> float:
        """Schedule a key after a failure: exponential, jittered, capped; the answer is the delay."""
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        longest = min(self._longest_delay, self._first_delay * 2.0 ** min(failures, 24))
        delay = longest * random.uniform(0.75, 1.0)  # noqa: S311 - not a secret
        self.add_after(key, delay)
        return delay

    def forget(self, key: K) -> None:
        """Start the backoff of a key afresh."""
        self._failures.pop(key, None)

    async def run(self, workers: int, handler: Handler[K]) -> None:
        """Work until ``stop``; cancelling this cancels the handlers at once."""
        self._workers = {asyncio.create_task(self._work(handler), name=f"worker {n}") for n in range(workers)}
        try:
            await asyncio.gather(*self._workers, return_exceptions=True)
        finally:
            self._cancel_workers()

    async def stop(self, grace: float) -> bool:
        """Take up nothing more, let what runs finish within ``grace`` seconds; False if something had to be cancelled."""
        self._stopping = True
        for key in list(self._timers):
            self._unschedule(key)
        while self._idle:
            self._wake_one()
        running = {worker for worker in self._workers if not worker.done()}
        if not running:
            return True
        _, late = await asyncio.wait(running, timeout=grace)
        self._cancel_workers()
        return not late

    async def _work(self, handler: Handler[K]) -> None:
        while True:
            key = await self._next()
            if key is None:
                return
            try:
                again_after = await handler(key)
            except PermanentError as exc:
                # Whatever changes the input brings the key back; repeating cannot.
                log.warning("reconcile_refused", extra={"fields": {"key": key, "error": str(exc)}})
                self.forget(key)
            except RetryableError as exc:
                delay = self.retry(key) if exc.delay is None else exc.delay.total_seconds()
                self.add_after(key, delay)
                log.info("reconcile_postponed", extra={"fields": {"key": key, "error": str(exc), "delay": round(delay, 3)}})
            except Exception:  # the one place that catches everything: one bad key must not stall the others
                delay = self.retry(key)
                log.exception("reconcile_failed", extra={"fields": {"key": key, "delay": round(delay, 3)}})
            else:
                self.forget(key)
                if again_after is not None:
                    self.add_after(key, again_after.total_seconds())
            finally:
                self._release(key)

    async def _next(self) -> K | None:
        loop = asyncio.get_running_loop()
        while not self._stopping:
            if self._ready:
                key = self._ready.popleft()
                waited = loop.time() - self._ready_since.pop(key)
                self._active.add(key)
                if self._observer is not None:
                    self._observer(waited)
                return key
            turn: asyncio.Future[None] = loop.create_future()
            self._idle.append(turn)
            await turn
        return None

    def _release(self, key: K) -> None:
        self._active.discard(key)
        if key in self._again:
            self._again.discard(key)
            self.add(key)

    def _wake_one(self) -> None:
        while self._idle:
            turn = self._idle.popleft()
            if not turn.done():
                turn.set_result(None)
                return

    def _unschedule(self, key: K) -> None:
        timer = self._timers.pop(key, None)
        if timer is not None:
            timer.cancel()

    def _cancel_workers(self) -> None:
        for worker in self._workers:
            worker.cancel()
