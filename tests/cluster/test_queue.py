"""The work queue's promises, on the event loop's own clock."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from controller.cluster.queue import WorkQueue
from controller.core.errors import PermanentError, RetryableError


async def drained(queue: WorkQueue[str], handler: object, *, workers: int = 2, seconds: float = 0.3) -> None:
    running = asyncio.create_task(queue.run(workers, handler))  # type: ignore[arg-type]
    await asyncio.sleep(seconds)
    assert await queue.stop(1.0)
    await running


async def test_a_key_that_is_added_twice_runs_once() -> None:
    queue: WorkQueue[str] = WorkQueue()
    ran: list[str] = []

    async def handler(key: str) -> None:
        ran.append(key)

    for key in ("a", "b", "a"):
        queue.add(key)
    assert len(queue) == 2
    await drained(queue, handler, seconds=0.02)
    assert ran == ["a", "b"]


async def test_a_key_is_never_with_two_workers_and_runs_again_when_added_meanwhile() -> None:
    queue: WorkQueue[str] = WorkQueue()
    active = 0
    most = 0
    runs = 0

    async def handler(key: str) -> None:
        nonlocal active, most, runs
        active, runs = active + 1, runs + 1
        most = max(most, active)
        if runs == 1:
            queue.add(key)
            queue.add(key)
        await asyncio.sleep(0.02)
        active -= 1

    queue.add("a")
    await drained(queue, handler, workers=4, seconds=0.1)
    assert (most, runs) == (1, 2)


async def test_the_earlier_of_two_due_times_wins_and_add_beats_both() -> None:
    queue: WorkQueue[str] = WorkQueue()
    loop = asyncio.get_running_loop()
    began = loop.time()
    at: dict[str, list[float]] = {"early": [], "now": []}

    async def handler(key: str) -> None:
        at[key].append(loop.time() - began)

    queue.add_after("early", 0.2)
    queue.add_after("early", 0.05)
    queue.add_after("early", 0.4)
    queue.add_after("now", 0.1)
    queue.add("now")
    await drained(queue, handler, seconds=0.5)
    assert len(at["early"]) == 1
    assert 0.04 < at["early"][0] < 0.15
    assert len(at["now"]) == 1
    assert at["now"][0] < 0.04


async def test_failures_back_off_exponentially_up_to_the_cap_and_success_forgets_them() -> None:
    queue: WorkQueue[str] = WorkQueue(first_delay=0.1, longest_delay=1.0)
    delays = [queue.retry("a") for _ in range(8)]
    assert delays[0] <= 0.1 < delays[2]
    assert all(0.75 <= delay <= 1.0 for delay in delays[5:])
    queue.forget("a")
    assert queue.retry("a") <= 0.1


async def test_one_failing_key_does_not_stall_the_others() -> None:
    queue: WorkQueue[str] = WorkQueue(first_delay=0.01)
    ran: list[str] = []

    async def handler(key: str) -> None:
        ran.append(key)
        match key:
            case "poison":
                raise KeyError(key)
            case "refused":
                raise PermanentError(key)
            case "later" if ran.count("later") == 1:
                raise RetryableError(key, delay=timedelta(seconds=0.05))
            case _:
                pass

    for key in ("poison", "refused", "later", "fine"):
        queue.add(key)
    await drained(queue, handler, workers=1, seconds=0.2)
    assert ran.count("fine") == 1
    assert ran.count("refused") == 1
    assert ran.count("later") == 2
    assert ran.count("poison") > 2


async def test_what_a_handler_answers_is_when_it_runs_again() -> None:
    queue: WorkQueue[str] = WorkQueue()
    runs = 0

    async def handler(_: str) -> timedelta | None:
        nonlocal runs
        runs += 1
        return timedelta(milliseconds=20) if runs < 3 else None

    queue.add("a")
    await drained(queue, handler, seconds=0.2)
    assert runs == 3


@pytest.mark.parametrize(("work", "grace", "finished"), [(0.05, 1.0, True), (5.0, 0.05, False)])
async def test_stopping_lets_a_running_handler_finish_within_the_grace_period(work: float, grace: float, finished: bool) -> None:
    queue: WorkQueue[str] = WorkQueue()
    ended: list[str] = []

    async def handler(key: str) -> None:
        await asyncio.sleep(work)
        ended.append(key)

    running = asyncio.create_task(queue.run(1, handler))
    queue.add("running")
    queue.add("waiting")
    await asyncio.sleep(0.01)
    assert await queue.stop(grace) is finished
    await running
    assert ended == (["running"] if finished else [])
