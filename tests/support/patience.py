"""Waiting for what nobody tells: no event, no watch."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

_BETWEEN_TWO_LOOKS = 0.02


async def until(holds: Callable[[], object], seconds: float = 60.0, what: str = "what the test waits for") -> None:
    """Wait until something holds.

    Raises:
        TimeoutError: it does not within ``seconds``; ``what`` says what was waited for.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while not holds():
        if loop.time() > deadline:
            raise TimeoutError(f"waited {seconds:g} s for {what}")
        await asyncio.sleep(_BETWEEN_TWO_LOOKS)
