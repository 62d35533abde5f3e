"""Go duration strings (``30s``, ``1h30m``, ``1.5h``, ``100ms``), as Kubernetes objects and Rego write them."""

from __future__ import annotations

import re
from datetime import timedelta
from decimal import Decimal

_MILLISECOND, _SECOND, _MINUTE, _HOUR = 1000, 1_000_000, 60_000_000, 3_600_000_000  # in microseconds
_MICROSECONDS = {
    "ns": Decimal("0.001"),
    "us": Decimal(1),
    "µs": Decimal(1),
    "μs": Decimal(1),
    "ms": Decimal(_MILLISECOND),
    "s": Decimal(_SECOND),
    "m": Decimal(_MINUTE),
    "h": Decimal(_HOUR),
}
_TERM = re.compile(r"([0-9]+\.?[0-9]*|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h)")
_LONGEST_TEXT = 64


def parse_duration(text: str) -> timedelta:
    """Read a Go duration; ValueError says what is wrong with it. What is below a microsecond is cut off."""
    sign, rest = (-1, text[1:]) if text.startswith("-") else (1, text.removeprefix("+"))
    if rest == "0":
        return timedelta(0)
    total = Decimal(0)
    at = 0
    while at < len(rest) <= _LONGEST_TEXT:
        term = _TERM.match(rest, at)
        if term is None:
            break
        total += Decimal(term[1]) * _MICROSECONDS[term[2]]
        at = term.end()
    if not rest or at != len(rest):
        message = f"{text[:_LONGEST_TEXT]!r} is not a duration: write a number with a unit, like 30s, 5m or 1h30m"
        raise ValueError(message)
    try:
        return timedelta(microseconds=sign * int(total))
    except OverflowError as exc:
        message = f"{text!r} is longer than any duration this program can hold"
        raise ValueError(message) from exc


def format_duration(duration: timedelta) -> str:
    """Write a duration in its shortest exact form: ``1h30m``, ``1.5s``, ``100ms``; ``0s`` for none.

    (Go would print ``1h30m0s``; Go and Rego read both.)
    """
    micros = duration // timedelta(microseconds=1)
    sign, micros = ("-", -micros) if micros < 0 else ("", micros)
    hours, micros = divmod(micros, _HOUR)
    minutes, micros = divmod(micros, _MINUTE)
    text = (f"{hours}h" if hours else "") + (f"{minutes}m" if minutes else "")
    if micros >= _SECOND or (text and micros):
        text += _decimal(micros, _SECOND) + "s"
    elif micros >= _MILLISECOND:
        text += _decimal(micros, _MILLISECOND) + "ms"
    elif micros:
        text += f"{micros}us"
    return sign + (text or "0s")


def _decimal(micros: int, unit: int) -> str:
    whole, rest = divmod(micros, unit)
    if not rest:
        return str(whole)
    digits = len(str(unit)) - 1
    return f"{whole}.{rest:0{digits}d}".rstrip("0")
