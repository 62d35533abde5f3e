"""The one face of the audit store: what the controller tells it, and what it answers. Nothing here raises, or waits for a database."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from controller.audit.history import Fact, history_fact, unavailable
from controller.audit.journal import Journal
from controller.audit.records import decision_line, policy_set_line, step_line, workflow_line
from controller.audit.store import Store, StoreAwayError
from controller.audit.writer import Writer
from controller.core.verdict import FactRequest
from controller.gates.client import Decided
from controller.observe.logs import events

log = events(__name__)

Json = Mapping[str, Any]

_READERS = 2


class Audit:
    """Keeps what was decided and done.

    Args:
        url: of the database, see ``Store``.
        spool: folder for what is not in the database yet; it should outlive the process.
        retention_days: how long records are kept.

    Raises:
        AuditUrlError: the URL names no store that this program can use.
    """

    def __init__(
        self, url: str, spool: Path, retention_days: int = 90, *, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._clock = clock
        self._store = Store(url)
        self._journal = Journal(spool)
        self._writer = Writer(self._journal, self._store, keep=timedelta(days=retention_days), clock=clock)
        self._readers = ThreadPoolExecutor(_READERS, thread_name_prefix="audit-reader")
        self._unwritable = 0

    # what is told

    def decided(self, decided: Decided) -> bool:
        """Record a decision before its effect; False if it could not be recorded."""
        return self._record(lambda: [decision_line(decided)])

    def served(self, revision: str, settings: Json) -> bool:
        """Record with which settings a revision of the policy set decides."""
        return self._record(lambda: [policy_set_line(revision, settings, self._clock())])

    def ended(self, workflow: Json, attempts: Sequence[Json]) -> bool:
        """Record a workflow that has reached a terminal phase, and its attempts; once more changes nothing."""
        return self._ended(workflow, attempts, deleted=False)

    def deleted(self, workflow: Json, attempts: Sequence[Json] = ()) -> bool:
        """Record a workflow that is being deleted as it is now, and the attempts that there are."""
        return self._ended(workflow, attempts, deleted=True)

    # what is asked

    async def history(self, request: FactRequest) -> Fact:
        """Answer the fact verb `history`; a store that is away is not waited for."""
        if self._writer.trouble:
            return unavailable("unreachable", self._writer.trouble, self._clock())
        try:
            return await asyncio.get_running_loop().run_in_executor(self._readers, history_fact, self._store, request, self._clock())
        except StoreAwayError as exc:
            return unavailable("unreachable", str(exc), self._clock())

    @property
    def recorded(self) -> int:
        """Records since the start."""
        return self._journal.recorded

    @property
    def stored(self) -> int:
        """Records that the store has got since the start, those that lay in the spool included."""
        return self._writer.stored

    @property
    def dropped(self) -> int:
        """Records that are lost: there was no room for them, or no database would take them."""
        return self._journal.dropped + self._writer.refused + self._unwritable

    @property
    def lag(self) -> float:
        """Seconds since the oldest record that waits for the store; 0 if none does."""
        return max(0.0, time.time() - self._journal.oldest) if self._journal.oldest else 0.0

    @property
    def trouble(self) -> str:
        """Why the store cannot be used; "" while it can."""
        return self._writer.trouble

    # life

    async def run(self) -> None:
        """Move records into the store, until cancelled."""
        await self._writer.run()

    async def flush(self, seconds: float) -> bool:
        """Move everything into the store within this time; False if something stays in the spool, for the next start."""
        return await self._writer.flush(seconds)

    def close(self) -> None:
        """Close everything; what is in the spool stays there."""
        self._journal.seal()
        self._writer.close()
        self._readers.shutdown(wait=False, cancel_futures=True)
        self._store.close()

    def _ended(self, workflow: Json, attempts: Sequence[Json], *, deleted: bool) -> bool:
        now = self._clock()
        return self._record(
            lambda: [workflow_line(workflow, now, deleted=deleted), *(step_line(workflow, attempt, now) for attempt in attempts)]
        )

    def _record(self, lines: Callable[[], list[bytes]]) -> bool:
        try:
            written = [self._journal.append(line) for line in lines()]
        except (LookupError, TypeError, ValueError, AttributeError) as exc:
            # Documents that other programs write may be of any form; what happens to a workflow does not depend on its audit.
            self._unwritable += 1
            log.warning("audit_record_malformed", error=repr(exc))
            return False
        self._writer.wake()
        return all(written)
