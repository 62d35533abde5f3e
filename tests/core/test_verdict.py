"""Only a whole, well-typed verdict is a verdict."""

from __future__ import annotations

from typing import Any

import pytest

from controller.core.verdict import CompletionVerdict, Decision, DispatchVerdict, MalformedVerdictError, PlanningVerdict, parse

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


def test_a_verdict_says_its_first_reasons_in_one_line_and_the_first_way_out() -> None:
    reasons = [
        {"code": f"code_{n}", "message": f"why {n}", "policy": "dispatch"} | ({"remedy": f"do {n}"} if n > 1 else {}) for n in range(7)
    ]
    verdict = parse(PlanningVerdict, {"decision": "deny", "reasons": reasons, "warnings": [], "facts": []})
    assert verdict.why == "code_0: why 0; code_1: why 1; code_2: why 2; code_3: why 3; code_4: why 4; and 2 more"
    assert verdict.remedy == "do 2"
    silent = parse(PlanningVerdict, {"decision": "allow", "reasons": [], "warnings": [], "facts": []})
    assert (silent.why, silent.remedy) == ("", "")
