"""The client-side limit."""

from __future__ import annotations

import asyncio
import time

import pytest

from controller.cluster.limiter import Limiter


async def test_the_burst_passes_at_once_and_the_rest_at_the_rate() -> None:
    limiter = Limiter(10, 3)
    began = time.monotonic()
    waits = await asyncio.gather(*(limiter.take() for _ in range(6)))
    took = time.monotonic() - began
    assert waits[:3] == [0.0, 0.0, 0.0]
    assert waits[3:] == pytest.approx([0.1, 0.2, 0.3], abs=0.05)
    assert took > 0.9 * waits[-1]


async def test_a_rate_of_zero_is_no_limit() -> None:
    limiter = Limiter(0, 1)
    assert sum([await limiter.take() for _ in range(100)]) == 0


async def test_requests_that_arrive_together_are_spread_in_their_order() -> None:
    limiter = Limiter(100, 1)
    waits = await asyncio.gather(*(limiter.take() for _ in range(5)))
    assert waits == sorted(waits)
    assert waits[-1] > 0.03


async def test_a_new_limit_counts_from_the_next_request() -> None:
    limiter = Limiter(1, 1)
    await limiter.take()
    limiter.limit(0, 1)
    assert await limiter.take() == 0
