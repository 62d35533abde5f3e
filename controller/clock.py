"""The time that the controller goes by: it starts at the wall's and runs evenly, whatever is done to the wall clock meanwhile.

Timeouts and expiries compare it with stored instants. A wall clock that is set by an hour would end them all at once, or none for an
hour; this one goes on, and says that the two have parted.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from controller.observe.logs import events

log = events(__name__)

_TOLERATED = timedelta(seconds=5)


class SteadyClock:
    """Call it for the present instant, in UTC. ``elapsed`` are seconds that never jump, ``wall`` is the clock that may."""

    def __init__(self, wall: Callable[[], datetime] | None = None, elapsed: Callable[[], float] | None = None) -> None:
        self._wall = wall or _wall
        self._elapsed = elapsed or _elapsed
        self._start, self._start_elapsed = self._wall(), self._elapsed()
        self._warned = False

    def __call__(self) -> datetime:
        """The present instant; says once in the log when the wall clock shows another one."""
        now = self._start + timedelta(seconds=self._elapsed() - self._start_elapsed)
        apart = self._wall() - now
        if abs(apart) > _TOLERATED and not self._warned:
            self._warned = True
            log.warning(
                "wall_clock_jumped",
                seconds=round(apart.total_seconds(), 3),
                remedy="this process goes on with its own time; if the wall clock is right now, restart it at a quiet moment",
            )
        return now


def _wall() -> datetime:
    return datetime.now(UTC)


def _elapsed() -> float:
    """Seconds that go on while the machine is suspended, where it can tell: a timeout does not rest with a laptop."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()
