"""Only a whole, well-typed verdict is a verdict."""

from __future__ import annotations

from typing import Any

import pytest

from controller.core.verdict import CompletionVerdict, Decision, DispatchVerdict, MalformedVerdictError, parse

GOOD: dict[str, Any] = {"decision": "allow", "reasons": [], "warnings": [], "facts": [], "conditions": []}


def test_a_whole_verdict_is_read() -> None:
    assert parse(CompletionVerdict, GOOD).decision is Decision.ALLOW


@pytest.mark.parametrize(
    ("answer", "named"),
    [
        pytest.param(None, "whole answer", id="nothing"),
        pytest.param({}, "decision", id="an empty object"),
        pytest.param(GOOD | {"decision": "maybe"}, "decision", id="an unknown decision"),
        pytest.param(GOOD | {"decision": True}, "decision", id="a boolean decision"),
        pytest.param(GOOD | {"reasons": "no"}, "reasons", id="a string where a list belongs"),
        pytest.param(
            GOOD | {"reasons": [{"code": "Bad Code", "message": "m", "policy": "p"}]}, "reasons.0.code", id="a code that is no code"
        ),
        pytest.param(GOOD | {"surprise": 1}, "surprise", id="a field that nobody knows"),
        pytest.param({k: v for k, v in GOOD.items() if k != "facts"}, "facts", id="a missing field"),
    ],
)
def test_anything_else_is_refused_and_the_field_is_named(answer: object, named: str) -> None:
    with pytest.raises(MalformedVerdictError, match=named):
        parse(CompletionVerdict, answer)


def test_numbers_are_not_read_from_strings() -> None:
    with pytest.raises(MalformedVerdictError, match="max_parallel"):
        parse(DispatchVerdict, GOOD | {"start": [], "hold": [], "skip": [], "block": [], "adjustments": [], "max_parallel": "5"})
