"""What OPA would ignore without a word is refused, with its line and the right spelling."""

from __future__ import annotations

from pathlib import Path

import pytest

from controller.policy.check import Checker
from controller.policy.sources import PolicyProblem, read_config_map


async def judged(opa: Path, text: str, *, package: str = "kubernaut.rules.dispatch.mine", strict: bool = False) -> list[PolicyProblem]:
    source, problems = read_config_map({"metadata": {"name": "team"}, "data": {"mine.rego": f"package {package}\n\n{text}\n"}})
    assert problems == []
    return await Checker(opa, strict=strict).conventions(source)


@pytest.mark.parametrize(
    ("text", "message", "remedy"),
    [
        ("deny if input.x", "deny is a boolean, not a set", "deny contains {"),
        ("deny := true if input.x", "deny is a boolean, not a set", "deny contains {"),
        ('limit := "5"', "limit is a string, not a set", "limit contains 5"),
        ("limit := 5", "limit is a number, not a set", "limit contains 5"),
        ('limit contains "5"', "an entry of limit is a string, which the gate cannot read", "it looks like 5"),
        ("limit contains [5]", "an entry of limit is an array", "it looks like 5"),
        ('limit := {"5"}', "an entry of limit is a string", "it looks like 5"),
        ("deny := [1 | input.x]", "deny is an array, not a set", "deny contains {"),
        ("default deny := false", "deny must be a set", "deny contains {"),
        ("deny[x] contains 1 if some x in input.y", "deny must be a set", "deny contains {"),
        ('deny["x"] := 1', "deny must be a set", "deny contains {"),
        ("deny(x) := x", "deny must be a set", "deny contains {"),
        ("deny contains 3", "an entry of deny is a number", 'it looks like {"code"'),
        ('deny contains "Frozen at night"', "the code 'Frozen at night' is not snake_case", "prose is the message"),
        ('deny contains {"code": "Frozen", "message": "m"}', "the code 'Frozen' is not snake_case", "a stable name"),
        ('deny contains {"message": "m"}', "an entry of deny has no code", 'it looks like {"code"'),
        ('deny contains {"code": "c", "mesage": "m"}', "an entry of deny has a field mesage that nobody reads", "did you mean message?"),
        ('hold contains {"code": "c", "message": "m"}', "an entry of hold has no step", '"step": 1'),
        ('facts contains {"verb": "get"}', "an entry of facts has no id", '"id"'),
        ('dney contains {"code": "c", "message": "m"}', "gate dispatch knows no rule dney", "did you mean deny?"),
        ("limits contains 3", "gate dispatch knows no rule limits", "did you mean limit?"),
        ('require_approval contains {"reason": "r"}', "gate dispatch knows no rule require_approval", "a helper's name begins with _"),
        ("adjust := true if input.x", "adjust is a boolean, not a set", "adjust contains {"),
        ('adjust contains "more time"', "an entry of adjust is a string, which the gate cannot read", '"timeout"'),
        ('adjust contains {"max_parallel": 2}', "an entry of adjust has no reason", '"reason"'),
        ('adjust contains {"step": 1, "timout": "1h", "reason": "r"}', "an entry of adjust has a field timout", "did you mean timeout?"),
        ('ajust contains {"max_parallel": 2, "reason": "r"}', "gate dispatch knows no rule ajust", "did you mean adjust?"),
        ('overwrite contains {"step": 1, "reason": "r"}', "gate dispatch knows no rule overwrite", "a helper's name begins with _"),
        ("small if input.x < small", "gate dispatch knows no rule small, and nothing here uses it", "a helper's name begins with _"),
    ],
)
async def test_a_rule_that_would_be_ignored_is_refused_with_the_right_spelling(opa: Path, text: str, message: str, remedy: str) -> None:
    (problem,) = await judged(opa, text)
    assert (problem.source, problem.key, problem.line, problem.column, problem.warning) == ("team", "mine.rego", 3, 1, False)
    assert message in problem.message
    assert remedy in problem.remedy


@pytest.mark.parametrize(
    "text",
    [
        "limit contains 5",
        "limit := {5}",
        "limit := {n | some n in input.limits}",
        'deny contains "frozen" if input.x',
        'deny contains {"code": "frozen", "message": sprintf("until %v", [input.now]), "remedy": "wait"}',
        "deny contains entry if some entry in input.entries",
        "deny := helper\n\nhelper contains x if some x in input.y",
        "deny contains data.kubernaut.rules.dispatch.mine.helper\n\nhelper := input.x",
        'wait contains "late" if late(input.now)\n\nlate(t) if t > "2026"',
        "_anything := 3",
        'facts contains {"id": "ns", "verb": "get", "apiVersion": "v1", "kind": "Namespace", "name": "x", "optional": true}',
        'skip contains {"step": 1, "code": "c", "message": "m"}',
        'adjust contains {"max_parallel": 2, "reason": "r"}',
        'adjust contains {"step": 1, "parameter": "replicas", "value": 3, "one_of": [3, 4], "reason": "r"}',
        'deny contains {"code": "c", "message": "m", "policy": "sre", "ticket": "OPS-1"}',
    ],
)
async def test_what_the_gate_can_read_passes(opa: Path, text: str) -> None:
    assert await judged(opa, text) == []


async def test_a_rule_on_trial_is_held_to_the_same(opa: Path) -> None:
    (problem,) = await judged(opa, "deny if input.x", package="kubernaut.shadow.approval.mine")
    assert "not a set" in problem.message
    for entry in ('{"reason": "r", "count": 2}', '"two teams are touched"', '{"groups": ["dba"]}'):
        assert await judged(opa, f"require_approval contains {entry}", package="kubernaut.shadow.approval.mine") == []
    (problem,) = await judged(opa, 'require_approval contains {"group": ["dba"]}', package="kubernaut.rules.approval.mine")
    assert problem.remedy.startswith("did you mean groups?")


async def test_what_a_team_adds_to_rollback_is_held_to_the_same(opa: Path) -> None:
    package = "kubernaut.rules.rollback.mine"
    for good in (
        'overwrite contains {"step": 1, "reason": "r"}',
        'stop contains "data_at_risk"',
        'stop contains {"code": "c", "message": "m"}',
    ):
        assert await judged(opa, good, package=package) == []
    for bad, message in (
        ('overwrite contains {"step": 1}', "an entry of overwrite has no reason"),
        ("overwrite contains 1", "an entry of overwrite is a number"),
        ("stop if input.x", "stop is a boolean, not a set"),
        ('stop contains {"message": "m"}', "an entry of stop has no code"),
        ('skip contains {"step": 1, "code": "c"}', "gate rollback knows no rule skip"),
    ):
        (problem,) = await judged(opa, bad, package=package)
        assert message in problem.message


async def test_a_negation_that_can_fail_open_is_a_warning_with_the_safe_form_and_an_error_where_strict(opa: Path) -> None:
    text = 'deny contains "late" if not input.x == 1'
    (warning,) = await judged(opa, text)
    assert (warning.line, warning.column, warning.warning) == (3, 25, True)
    assert "`not _proven` with a rule of its own" in warning.remedy
    (error,) = await judged(opa, text, strict=True)
    assert not error.warning


async def test_an_action_that_lacks_a_rule_of_the_contract_is_told_which(opa: Path) -> None:
    (problem,) = await judged(opa, 'service_account := "x-sa"\n\nexecutor := "api"', package="kubernaut.actions.mine")
    assert problem.message.startswith("action mine has no holds, operations, permissions,")
    assert "cordon_node.rego" in problem.remedy


async def test_why_a_step_is_not_needed_is_a_set_of_sentences(opa: Path) -> None:
    whole = "\n\n".join(
        f"{name} := []" for name in ("executor", "holds", "operations", "permissions", "postconditions", "preconditions", "reversible")
    )
    whole += '\n\nservice_account := "x-sa"\n\ntarget := {}\n\ntimeout_seconds := 1\n\n'
    package = "kubernaut.actions.mine"
    for good in ('unnecessary contains "it is done" if input.x', 'unnecessary contains sprintf("%s is done", [input.x])'):
        assert await judged(opa, whole + good, package=package) == []
    for bad, message in (
        ("unnecessary if input.x", "unnecessary is a boolean, not a set"),
        ('unnecessary := "it is done"', "unnecessary is a string, not a set"),
        ('unnecessary contains {"code": "done"} if input.x', "an entry of unnecessary is an object"),
        ("unnecessary contains 1 if input.x", "an entry of unnecessary is a number"),
    ):
        (problem,) = await judged(opa, whole + bad, package=package)
        assert message in problem.message


async def test_what_is_not_rego_is_told_with_line_and_column(opa: Path) -> None:
    (problem,) = await judged(opa, "limit contains 1 if input.x == }")
    assert (problem.line, problem.column) == (3, 32)
    assert "unexpected } token" in problem.message
