"""Quantiles of what was measured one by one."""

from __future__ import annotations

import math
from collections.abc import Sequence

_FEWEST = 100


def quantile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least ``share`` of all values do not exceed, rounded to a tenth."""
    return round(sorted(values)[math.ceil(share * len(values)) - 1], 1)


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median, 99th percentile and maximum.

    Raises:
        ValueError: with fewer than 100 values the 99th percentile would be the maximum by another name.
    """
    if len(values) < _FEWEST:
        raise ValueError(f"{len(values)} values have no 99th percentile; {_FEWEST} do")
    return {"p50": quantile(values, 0.5), "p99": quantile(values, 0.99), "max": round(max(values), 1), "samples": len(values)}
