"""How an action went before: answers the fact verb `history` from the attempts of workflows that have ended."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from controller.audit.store import Row, Store
from controller.core.names import canonical_action
from controller.core.times import stamp
from controller.core.verdict import FactRequest

Fact = dict[str, Any]

_LATEST = 50


def history_fact(store: Store, request: FactRequest, now: datetime) -> Fact:
    """Answer one request; it blocks.

    Attempts that took something back or only tried their requests are left out. ``durationSeconds`` is of the latest 50 attempts.
    A target is that of an attempt's first operation.

    Raises:
        StoreAwayError: the store cannot be used now.
    """
    if not request.action:
        return unavailable("invalid_request", f"fact {request.id!r}: a history is that of an action; name it", now)
    target = {"kind": request.kind, "namespace": request.namespace, "name": request.name}
    action = canonical_action(request.action)
    former = store.former(action, **target, latest=_LATEST)
    fact: Fact = {
        "available": True,
        "found": former.count > 0,
        "observedAt": stamp(now),
        "action": action,
        "target": {key: value for key, value in target.items() if value is not None},
        "count": former.count,
        "successes": former.successes,
    }
    if former.count:
        fact["successRate"] = former.successes / former.count
        fact["last"] = _outcome(former.latest[0])
    durations = sorted(row["duration_seconds"] for row in former.latest if row["duration_seconds"] is not None)
    if durations:
        fact["durationSeconds"] = {"p50": _percentile(durations, 50), "p95": _percentile(durations, 95)}
    return fact


def unavailable(reason: str, message: str, now: datetime) -> Fact:
    """What is not known."""
    return {"available": False, "reason": reason, "message": message[:1024], "observedAt": stamp(now)}


def _outcome(row: Row) -> Fact:
    """One attempt in short; what it lacks is left out, because null would be truthy in a policy."""
    fields = {
        "success": row["success"],
        "endedAt": row["ended_at"],
        "namespace": row["namespace"],
        "workflow": row["workflow"],
        "errorType": row["error_type"],
        "failureReason": row["failure_reason"],
    }
    return {key: value for key, value in fields.items() if value is not None}


def _percentile(ordered: Sequence[float], percent: int) -> float:
    """The nearest rank: a duration that there was, not one between two."""
    return ordered[math.ceil(len(ordered) * percent / 100) - 1]
