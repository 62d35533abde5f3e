"""The controller's clock against one that is set forth and back."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest

from controller.clock import SteadyClock

START = datetime(2026, 11, 21, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


@dataclass
class World:
    """Time as it passes, and what the wall clock makes of it."""

    passed: float = 1000.0
    wrong_by: timedelta = field(default_factory=timedelta)

    def wall(self) -> datetime:
        return START + timedelta(seconds=self.passed - 1000) + self.wrong_by

    def elapsed(self) -> float:
        return self.passed


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def clock(world: World) -> SteadyClock:
    return SteadyClock(world.wall, world.elapsed)


def test_it_starts_at_the_wall_clocks_time_and_goes_on_with_it(world: World, clock: SteadyClock, caplog: pytest.LogCaptureFixture) -> None:
    assert clock() == START
    world.passed += 90
    assert clock() == START + timedelta(seconds=90) == world.wall()
    assert not caplog.records


@pytest.mark.parametrize("jump", [HOUR, -HOUR])
def test_a_wall_clock_that_jumps_does_not_take_it_along(world: World, clock: SteadyClock, jump: timedelta) -> None:
    world.wrong_by = jump
    assert clock() == START
    world.passed += 1
    assert clock() == START + timedelta(seconds=1)


@pytest.mark.parametrize(("seconds", "warnings"), [(0, 0), (5, 0), (-5, 0), (5.1, 1), (-5.1, 1), (3600, 1)])
def test_it_warns_once_when_the_two_have_parted(
    world: World, clock: SteadyClock, caplog: pytest.LogCaptureFixture, seconds: float, warnings: int
) -> None:
    world.wrong_by = timedelta(seconds=seconds)
    for _ in range(3):
        clock()
    assert [record.message for record in caplog.records] == ["wall_clock_jumped"] * warnings


def test_the_real_one_shows_the_time() -> None:
    before = datetime.now(UTC)
    assert before <= SteadyClock()() <= datetime.now(UTC)
