"""Text for people: what a cluster says made safe for a terminal and cut by columns, and times as people say them."""

from __future__ import annotations

import unicodedata
from datetime import datetime, timedelta

from controller.core.times import instant

_MINUTE, _HOUR, _DAY = 60, 3600, 86400


def clean(text: object) -> str:
    """One line without control characters: a message quotes what a pod or an object says, which must not steer the terminal."""
    return "".join(c if c.isprintable() else "?" for c in " ".join(str(text).split()))


def columns(text: str) -> int:
    """How many columns of a terminal a text takes."""
    return sum(_columns_of(character) for character in text)


def cut(text: str, width: int) -> str:
    """The text in at most ``width`` columns, with an ellipsis where something is missing."""
    if columns(text) <= width:
        return text
    kept, taken = "", 0
    for character in text:
        taken += _columns_of(character)
        if taken >= width:
            break
        kept += character
    return (kept + "…")[: max(0, width)]


def pad(text: str, width: int) -> str:
    """The text in exactly ``width`` columns."""
    text = cut(text, width)
    return text + " " * (width - columns(text))


def spoken(length: timedelta) -> str:
    """A length of time in whole seconds, and no finer than it matters: ``5s``, ``2m05s``, ``3h10m``, ``2d4h``."""
    seconds = max(0, int(length.total_seconds()))
    if seconds < _MINUTE:
        return f"{seconds}s"
    if seconds < _HOUR:
        return f"{seconds // _MINUTE}m{seconds % _MINUTE:02d}s"
    if seconds < _DAY:
        return f"{seconds // _HOUR}h{seconds % _HOUR // _MINUTE:02d}m"
    return f"{seconds // _DAY}d{seconds % _DAY // _HOUR}h"


def known_instant(text: object) -> datetime | None:
    """An instant on record, or None where there is none that can be read."""
    try:
        return instant(text) if isinstance(text, str) else None
    except ValueError:
        return None


def _columns_of(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in {"W", "F"} else 1
