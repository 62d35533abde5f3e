"""Go durations."""

from __future__ import annotations

from datetime import timedelta

import pytest

from controller.core.durations import format_duration, parse_duration


@pytest.mark.parametrize(
    ("text", "seconds", "written"),
    [
        ("30s", 30, "30s"),
        ("5m", 300, "5m"),
        ("1h30m", 5400, "1h30m"),
        ("1h30m0s", 5400, "1h30m"),
        ("1.5h", 5400, "1h30m"),
        (".5s", 0.5, "500ms"),
        ("100ms", 0.1, "100ms"),
        ("1.5s", 1.5, "1.5s"),
        ("1m0.25s", 60.25, "1m0.25s"),
        ("250us", 0.00025, "250us"),
        ("3µs", 0.000003, "3us"),
        ("999ns", 0, "0s"),
        ("0", 0, "0s"),
        ("-1m", -60, "-1m"),
        ("+2m", 120, "2m"),
        ("720h", 2592000, "720h"),
    ],
)
def test_a_duration_is_read_and_written_in_its_shortest_form(text: str, seconds: float, written: str) -> None:
    duration = parse_duration(text)
    assert duration == timedelta(seconds=seconds)
    assert format_duration(duration) == written
    assert parse_duration(written) == duration


@pytest.mark.parametrize("text", ["", "5", "s", "-", "1d", "1h 3m", "1e3s", "0x1s", " 1s", "1s ", "--1s", "9" * 70 + "s", "9" * 40 + "h"])
def test_anything_else_is_refused_with_an_example_or_a_reason(text: str) -> None:
    with pytest.raises(ValueError, match=r"like 30s, 5m or 1h30m|longer than any duration"):
        parse_duration(text)
