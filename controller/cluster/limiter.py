"""A client-side token bucket: how fast this process may ask the API server."""

from __future__ import annotations

import asyncio


class Limiter:
    """Lets ``burst`` requests through at once and ``qps`` a second after that; a ``qps`` of 0 lets everything through.

    Waiting is first come, first served: a request reserves its token when it arrives and sleeps until that token is due.
    """

    def __init__(self, qps: float = 0, burst: int = 1) -> None:
        self._qps = qps
        self._burst = max(1, burst)
        self._tokens = float(self._burst)
        self._counted_at: float | None = None

    def limit(self, qps: float, burst: int) -> None:
        """Change the limits from now on; a change to more burst starts with a full bucket, less is cut."""
        grown = max(1, burst) - self._burst
        self._qps = qps
        self._burst = max(1, burst)
        self._tokens = min(self._tokens + max(0, grown), float(self._burst))

    async def take(self) -> float:
        """Wait for one token; the answer is how many seconds that took."""
        if self._qps <= 0:
            return 0.0
        now = asyncio.get_running_loop().time()
        if self._counted_at is not None:
            self._tokens = min(float(self._burst), self._tokens + (now - self._counted_at) * self._qps)
        self._counted_at = now
        self._tokens -= 1
        if self._tokens >= 0:
            return 0.0
        wait = -self._tokens / self._qps
        try:
            await asyncio.sleep(wait)
        except asyncio.CancelledError:
            self._tokens += 1
            raise
        return wait
