from __future__ import annotations

from pathlib import Path

import pytest

from controller import paths
from controller.policy import negation, syntax

_HEAD = "package a\n\nimport data.kubernaut.lib.verdict as v\n\nproven if input.x\n\nkeyed[n] if some n in input.ready\n\n"


def _unsafe(opa: Path, *roots: Path) -> list[negation.UnsafeNegation]:
    return negation.find_unsafe([(str(file), syntax.parse_file(opa, file)) for file in syntax.policy_files(roots)])


def _found(opa: Path, folder: Path, rule: str) -> list[negation.UnsafeNegation]:
    file = folder / "a.rego"
    file.write_text(_HEAD + rule + "\n")
    return _unsafe(opa, file)


@pytest.mark.parametrize(
    "rule",
    [
        pytest.param("ok if not proven", id="the name of a rule"),
        pytest.param("ok if {\n\tsome n in input.ready\n\tnot keyed[n]\n}", id="a rule by a bound variable"),
        pytest.param('ok if not keyed["a"]', id="a rule by a constant"),
        pytest.param("ok if {\n\tsome n in input.ready\n\tnot n.passed\n}", id="a path below a bound variable"),
        pytest.param("ok(n) if not keyed[n].deep.down", id="a rule by an argument"),
        pytest.param("ok if {\n\tevery n in input.ready {\n\t\tnot keyed[n]\n\t}\n}", id="inside every"),
        pytest.param("ok if {\n\tsome n in input.ready\n\tnot keyed[n] with input as n\n}", id="with a bound value"),
    ],
)
def test_a_safe_negation_is_not_reported(opa: Path, tmp_path: Path, rule: str) -> None:
    assert _found(opa, tmp_path, rule) == []


@pytest.mark.parametrize(
    "rule",
    [
        pytest.param("bad if not input.x", id="a path below input"),
        pytest.param("bad if not data.m.x", id="a path below data"),
        pytest.param("bad if not input.x > 1", id="a comparison"),
        pytest.param("bad if not count(input.x)", id="a call"),
        pytest.param("bad if not v.settled(1, 2)", id="a call of another package"),
        pytest.param("bad if not v.thing", id="a rule of another package"),
        pytest.param("bad if {\n\tsome n in input.ready\n\tnot n in input.held\n}", id="membership"),
        pytest.param("bad if not keyed[_]", id="any key"),
        pytest.param("bad if not keyed[input.x]", id="a key that may be missing"),
        pytest.param("bad if not keyed[proven]", id="a key that is a rule, which may be missing"),
        pytest.param("bad if {\n\tsome n in input.ready\n\tnot keyed[n.deep]\n}", id="a key below a variable"),
        pytest.param("bad if not proven with input as input.y", id="with a value that may be missing"),
        pytest.param("bad := [1 | some n in input.z; not input.y[n]]", id="inside a comprehension"),
        pytest.param("bad := 1 if {\n\tproven\n} else := 2 if {\n\tnot input.z\n}", id="inside else"),
        pytest.param("bad if {\n\tevery n in input.ready {\n\t\tnot is_number(n)\n\t}\n}", id="inside every"),
    ],
)
def test_an_unsafe_negation_is_reported(opa: Path, tmp_path: Path, rule: str) -> None:
    assert len(_found(opa, tmp_path, rule)) == 1


def test_the_report_names_the_place_and_the_safe_form(opa: Path, tmp_path: Path) -> None:
    (found,) = _found(opa, tmp_path, "bad if {\n\tsome n in input.ready\n\tnot input.held[n]\n}")
    assert (found.line, found.column) == (11, 2)
    assert str(found).startswith(f"{tmp_path}/a.rego:11:2: `not input.held[n]` can be undefined")
    assert "`not _proven[n]`" in found.safe_form
    assert "`_proven[n] if input.held[n]`" in found.safe_form


def test_rules_of_one_package_are_known_in_all_its_files(opa: Path, tmp_path: Path) -> None:
    (tmp_path / "a.rego").write_text("package p\n\nok if not elsewhere\n")
    (tmp_path / "b.rego").write_text("package p\n\nelsewhere if input.x\n")
    assert _unsafe(opa, tmp_path) == []
    # The name alone, in another package, is nothing that could be negated.
    (tmp_path / "b.rego").write_text("package q\n\nelsewhere if input.x\n")
    (tmp_path / "a.rego").write_text("package p\n\nimport data.q\n\nok if not q.elsewhere\n")
    assert len(_unsafe(opa, tmp_path)) == 1


def test_tests_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "a_test.rego").write_text("package p_test\n")
    assert syntax.policy_files([tmp_path]) == []


def test_what_is_not_rego_is_told_with_its_file(opa: Path, tmp_path: Path) -> None:
    (tmp_path / "a.rego").write_text("no rego\n")
    with pytest.raises(syntax.ParseError, match=r"a\.rego cannot be parsed"):
        _unsafe(opa, tmp_path / "a.rego")


def test_the_shipped_set_negates_safely(opa: Path) -> None:
    assert _unsafe(opa, paths.POLICIES) == []
