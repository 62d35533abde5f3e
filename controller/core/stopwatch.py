"""Time that does not count: while no decision can be had, or policy says so, the clock of a workflow or an attempt stands still.

Three fields of a status hold it: `clockStoppedSince` (it stands still now), `uncounted` (a Go duration: how much of the time since the
phase or the attempt began does not count) and `conditionSince`, whose instants move on with the time that did not count.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

from controller.core.durations import format_duration, parse_duration
from controller.core.times import instant, stamp

_STOPPED, _UNCOUNTED, _SINCE = "clockStoppedSince", "uncounted", "conditionSince"


def run(status: dict[str, Any], now: datetime) -> None:
    """Let the clock of a status run again, if it stood still."""
    stopped = status.pop(_STOPPED, None)
    if stopped is None:
        return
    stood = max(timedelta(0), now - instant(stopped))
    status[_UNCOUNTED] = format_duration(uncounted(status) + stood)
    if since := status.get(_SINCE):
        status[_SINCE] = {key: stamp(min(now, instant(first) + stood)) for key, first in since.items()}


def stop(status: dict[str, Any], original: Mapping[str, Any], now: datetime) -> None:
    """Stop the clock of a status, or take back that it was let run in this reconcile.

    Args:
        status: the working copy.
        original: what is on record.
        now: when it is seen that time does not count.
    """
    if original.get(_STOPPED):
        for key in (_STOPPED, _UNCOUNTED, _SINCE):
            status.pop(key, None)
            if key in original:
                status[key] = original[key]
    else:
        status[_STOPPED] = stamp(now)


def reset(status: dict[str, Any]) -> None:
    """Begin to count afresh: another phase has begun."""
    status.pop(_STOPPED, None)
    status.pop(_UNCOUNTED, None)


def uncounted(status: Mapping[str, Any], now: datetime | None = None) -> timedelta:
    """How much of the time so far does not count; with ``now``, what is standing still at this moment included."""
    told = timedelta(0)
    # What another executor writes there may be anything.
    with suppress(ValueError):
        told = max(timedelta(0), parse_duration(str(status.get(_UNCOUNTED) or "0s")))
    with suppress(ValueError):
        if now is not None and status.get(_STOPPED):
            told += max(timedelta(0), now - instant(str(status[_STOPPED])))
    return told
