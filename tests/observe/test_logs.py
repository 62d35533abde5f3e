"""One event per line, with fields."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest

from controller.observe import logs


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    root = logging.getLogger()
    before = (root.handlers[:], root.level)
    yield
    root.handlers[:], root.level = before[0], before[1]


def test_a_json_line_has_time_level_event_module_and_the_fields() -> None:
    stream = io.StringIO()
    logs.start_logging("json", stream=stream)
    log = logs.events("controller.x").bind(workflow="ns/fix")
    log.debug("not_shown")
    log.info("step_started", step=3)
    line = json.loads(stream.getvalue())
    assert line.pop("time").endswith("Z")
    assert line == {"level": "info", "event": "step_started", "module": "controller.x", "workflow": "ns/fix", "step": 3}


def test_a_text_line_is_for_people() -> None:
    stream = io.StringIO()
    logs.start_logging("text", stream=stream)
    logs.events("x").warning("gate_denied", gate="action")
    assert stream.getvalue()[8:] == " WARNING gate_denied  gate=action\n"


def test_an_exception_brings_its_traceback_and_a_huge_value_is_cut() -> None:
    stream = io.StringIO()
    logs.start_logging(stream=stream)
    try:
        {}["x"]
    except KeyError:
        logs.events("x").exception("reconcile_failed", body="y" * 10_000, key=("a", "b"))
    line = json.loads(stream.getvalue())
    assert "KeyError" in line["traceback"]
    assert len(line["body"]) == 4096
    assert line["key"] == ["a", "b"]
