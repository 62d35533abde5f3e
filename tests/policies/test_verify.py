from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from controller import paths
from controller.policy import verify

Spoil = Callable[[Path], object]


@pytest.fixture
def tree(opa: Path, regal: Path, tmp_path: Path) -> verify.Tree:
    """A copy of what ships, to be spoilt."""
    shutil.copytree(paths.POLICIES, tmp_path / "policies")
    shutil.copytree(paths.ROOT / ".regal", tmp_path / ".regal")
    return verify.Tree(tmp_path / "policies", paths.SCHEMAS, opa, regal)


def _append(file: str, text: str) -> Spoil:
    def spoil(policies: Path) -> None:
        path = policies / file
        path.write_text(path.read_text() + text)

    return spoil


def _remove(file: str) -> Spoil:
    return lambda policies: (policies / file).unlink()


def _replace(file: str, old: str, new: str) -> Spoil:
    def spoil(policies: Path) -> None:
        text = (policies / file).read_text()
        assert old in text
        (policies / file).write_text(text.replace(old, new))

    return spoil


_UNTESTED = '\n# METADATA\n# description: Nobody asks for this.\nextra := 1 if input.gate == "never"\n'


@pytest.mark.parametrize(
    ("check", "spoil", "told"),
    [
        ("format", _append("gates/rollback.rego", "\n\n\n\nx  :=   1\n"), "policies/gates/rollback.rego: not formatted"),
        ("types", _append("gates/rollback.rego", "\n_x := input.stepz\n"), "undefined ref: input.stepz"),
        ("negation", _append("gates/rollback.rego", "\n_x if not input.steps\n"), "policies/gates/rollback.rego:"),
        ("negation", _append("gates/rollback.rego", "\nnot rego\n"), "cannot be parsed"),
        ("conventions", _remove("tests/gates/rollback_test.rego"), "write policies/tests/gates/rollback_test.rego"),
        ("conventions", _remove("tests/actions/cordon_node_test.rego"), "write policies/tests/actions/cordon_node_test.rego"),
        ("conventions", _append("lib/undo.rego", "\nextra := 1\n"), "the public rule extra has no METADATA description"),
        ("conventions", _replace("gates/rollback.rego", "# entrypoint: true\nshadow", "shadow"), "gate rollback has no entrypoint shadow"),
        ("tests", _append("gates/rollback.rego", _UNTESTED), "no test reaches"),
        ("tests", _replace("gates/rollback.rego", "array.concat(_failed, _completed)", "array.concat(_completed, _failed)"), "FAIL"),
        ("lint", _append("gates/rollback.rego", "\n_Camel := 1\n"), "prefer-snake-case"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(tree: verify.Tree, check: str, spoil: Spoil, told: str) -> None:
    spoil(tree.policies)
    problems = verify.CHECKS[check](tree)
    assert any(told in problem for problem in problems), problems


_TABLES = """package a_test

test_full[note] if {
	some note, tc in {"one": {"in": 1}, "two": {"in": 2}}
	tc.in > 0
}

test_empty[note] if {
	some note, tc in {"one": {"in": 1}, "two": {"in": input.nowhere}}
	tc.in > 0
}
"""


def test_a_table_that_an_undefined_cell_empties_is_told_though_opa_lets_it_pass(opa: Path, regal: Path, tmp_path: Path) -> None:
    file = tmp_path / "policies" / "tests" / "a_test.rego"
    file.parent.mkdir(parents=True)
    file.write_text(_TABLES)
    problems = verify.CHECKS["tests"](verify.Tree(tmp_path / "policies", paths.SCHEMAS, opa, regal))
    assert problems == [
        "policies/tests/a_test.rego:8: test_empty[note] has no case: one undefined cell empties its whole table; give every cell a value"
    ]


def test_every_check_is_made_whatever_fails_first(tree: verify.Tree, capsys: pytest.CaptureFixture[str]) -> None:
    _append("gates/rollback.rego", "\n\n\n\nx  :=   1\n")(tree.policies)
    found = verify.verify(tree, ["format", "negation", "conventions"])
    assert [bool(problems) for problems in found.values()] == [True, False, True]
    said = capsys.readouterr().out
    assert "format       1 to mend" in said
    assert "negation     ok" in said


def test_a_program_that_cannot_be_run_is_a_failed_check(tree: verify.Tree, tmp_path: Path) -> None:
    gone = verify.Tree(tree.policies, tree.schemas, tmp_path / "no-opa", tree.regal)
    assert verify.verify(gone, ["format"])["format"][0].startswith("the check could not be made")
