"""A gate module of a team that speaks of steps which it was not asked about is no decision, wherever `dispatch` is asked."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest
from gates.conftest import OpaWith

from controller.core.status import Draft
from controller.core.verdict import MalformedVerdictError
from controller.gates.client import GateClient
from controller.gates.facts import FactGatherer
from controller.reconcilers.running import ask_dispatch
from controller.reconcilers.scope import Parts, Scope

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
WORKFLOW: dict[str, Any] = {"metadata": {"name": "w", "namespace": "a", "uid": "u"}, "spec": {"workflowDefinition": {"steps": []}}}
ANSWER = {
    "decision": '"allow"',
    "reasons": "[]",
    "warnings": "[]",
    "facts": "[]",
    "start": "[]",
    "hold": "[]",
    "skip": "[]",
    "block": "[]",
    "max_parallel": "5",
    "conditions": "[]",
    "adjustments": "[]",
}
REASON = '{"code": "odd", "message": "odd", "policy": "team"}'


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("start", "[7]"),
        ("hold", f'[{{"step": 7, "reasons": [{REASON}]}}]'),
        ("block", f'[{{"step": 7, "reasons": [{REASON}]}}]'),
        ("block", '[{"step": 1, "reasons": []}]'),
        ("skip", f'[{{"step": 7, "reason": {REASON}}}]'),
        ("adjustments", '[{"step": 7, "adjustment": "extend it", "reason": "odd"}]'),
        ("next_check_seconds", "1e300"),
    ],
)
async def test_what_was_not_asked_about_is_no_decision(opa_with: OpaWith, field: str, value: str) -> None:
    fields = ", ".join(f'"{key}": {said}' for key, said in {**ANSWER, field: value}.items())
    module = f"package kubernaut.gates.dispatch\n\nverdict := {{{fields}}}\n"
    async with (
        opa_with({"dispatch.rego": module}) as url,
        GateClient(url, token=None, deadline=timedelta(seconds=20), observe=lambda *_: None) as gates,
    ):
        # Neither parts nor facts are used: the question is asked, and its answer refused.
        session = gates.session(cast("FactGatherer", None), NOW)
        scope = Scope(cast("Parts", None), WORKFLOW, Draft(WORKFLOW, NOW), None, session)
        with pytest.raises(MalformedVerdictError):
            await ask_dispatch(scope, [{"stepNumber": 1}], [1], [], {})
