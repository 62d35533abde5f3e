"""From the spool to the store: the one task that moves records, and that forgets what is too old.

It waits for news, lets some more gather, and moves whole files. While the store is away it tries ever more seldom; the spool keeps
what comes meanwhile. What blocks runs in a thread of its own pool, so that a database that hangs takes no thread from anyone else.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

from controller.audit.journal import Journal
from controller.audit.records import Row, read_record
from controller.audit.store import Store, StoreAwayError
from controller.core.times import stamp
from controller.observe.logs import events

log = events(__name__)

_GATHER_SECONDS = 0.5
_FORGET_EVERY = timedelta(minutes=1)
_SHORTEST_PAUSE = 1.0
_LONGEST_PAUSE = 60.0


class Writer:
    """Moves what is in the journal into the store.

    Args:
        keep: how long records are kept.
        clock: the time, in UTC.

    ``stored`` counts records since the start; ``refused`` those that no database would take and lines that were none; ``trouble`` says why
    the store cannot be used, "" while it can.
    """

    def __init__(self, journal: Journal, store: Store, *, keep: timedelta, clock: Callable[[], datetime]) -> None:
        self._journal = journal
        self._store = store
        self._keep = keep
        self._clock = clock
        self._news = asyncio.Event()
        self._moving = asyncio.Lock()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="audit-writer")
        self._prepared = False
        self._forget_after: datetime | None = None
        self.stored = 0
        self.refused = 0
        self.trouble = ""

    def wake(self) -> None:
        """There is something to move."""
        self._news.set()

    async def run(self) -> None:
        """Move what there is and what comes, until cancelled."""
        pause = _SHORTEST_PAUSE
        while True:
            self._news.clear()
            if await self._tried():
                pause = _SHORTEST_PAUSE
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_FORGET_EVERY.total_seconds()):
                        await self._news.wait()
                await asyncio.sleep(_GATHER_SECONDS)
            else:
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)

    async def flush(self, seconds: float) -> bool:
        """Move everything within this time; False if something has to stay in the spool."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._tried()
        self._journal.measure()
        return self._journal.waiting_bytes == 0

    def close(self) -> None:
        """Begin nothing more."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _tried(self) -> bool:
        """Move everything once; the only place that judges how that went."""
        try:
            async with self._moving:
                self._journal.seal()
                await asyncio.get_running_loop().run_in_executor(self._thread, self._move)
        except StoreAwayError as exc:
            self._tell(str(exc))
        except OSError as exc:
            self._tell(f"the spool cannot be emptied: {exc}")
        except Exception as exc:  # nothing that goes wrong with the past may end what happens now
            log.exception("audit_writer_failed")
            self._tell(repr(exc))
        else:
            self._tell("")
        finally:
            self._journal.measure()
        return not self.trouble

    def _move(self) -> None:
        if not self._prepared:
            self._store.prepare()
        # Whatever goes wrong from here on, the store may be another one afterwards.
        self._prepared = False
        for path in self._journal.sealed():
            records = self._records(self._journal.read(path))
            refused = self._store.save(records)
            self.stored += len(records) - refused
            self.refused += refused
            self._journal.remove(path)
        self._forget()
        self._prepared = True

    def _records(self, lines: list[bytes]) -> list[tuple[str, Row]]:
        records = []
        for line in lines:
            try:
                records.append(read_record(line))
            except ValueError as exc:
                self.refused += 1
                log.warning("audit_record_unreadable", error=str(exc))
        return records

    def _forget(self) -> None:
        now = self._clock()
        if self._forget_after is not None and now < self._forget_after:
            return
        deleted = 0
        while rows := self._store.expire(stamp(now - self._keep)):
            deleted += rows
        self._forget_after = now + _FORGET_EVERY
        if deleted:
            log.info("audit_records_expired", rows=deleted)

    def _tell(self, trouble: str) -> None:
        """Say it once when the store goes away, and once when it is back."""
        if trouble and not self.trouble:
            log.warning("audit_store_away", error=trouble, remedy="records wait in the spool meanwhile; mend the database")
        if self.trouble and not trouble:
            log.info("audit_store_back", store=self._store.name)
        self.trouble = trouble
