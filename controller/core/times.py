"""Instants as the API writes them: RFC 3339 in UTC with milliseconds, because timeouts of conditions are measured from them."""

from __future__ import annotations

from datetime import UTC, datetime


def stamp(instant: datetime) -> str:
    """Write an aware instant, for example ``2026-11-21T10:27:00.125Z``."""
    return instant.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def instant(text: str) -> datetime:
    """Read an RFC 3339 time.

    Raises:
        ValueError: the text is no such time.
    """
    return datetime.fromisoformat(text).astimezone(UTC)
