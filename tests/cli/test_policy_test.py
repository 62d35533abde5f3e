"""`phasegate policy test` on the real opa: tests, what they print, coverage, and every exit code."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from support.policy_files import GOOD, UNSAFE, PolicyCommand, manifest, write

from controller.cli._exits import Exit

RULE = """package kubernaut.rules.dispatch.team

limit contains 1 if input.workflow.metadata.namespace == "shop"

limit contains 2 if _big

_big if {
	count(input.steps) > 100
}
"""
TEST = """package kubernaut.rules.dispatch.team_test

import data.kubernaut.gates.dispatch
import data.kubernaut.testing.questions

test_shop_runs_one_at_a_time if dispatch.verdict.max_parallel == 1 with input as questions.dispatch
"""
FAILING = """
test_limits[note] if {
	some note, tc in {"right": {"want": 1}, "wrong": {"want": 7}}
	print("wanted", tc.want)
	dispatch.verdict.max_parallel == tc.want with input as questions.dispatch
}

todo_test_later if false
"""


def test_tests_that_pass_are_counted_and_the_lines_that_none_reaches_are_named(say: PolicyCommand) -> None:
    write("team/rule.rego", RULE)
    write("team/rule_test.rego", TEST)
    code, out, err = say("test", "team")
    assert (code, err) == (Exit.DONE, "")
    assert out.splitlines() == [
        "✔ team: 1 of 1 tests pass",
        "  team/rule.rego: 50 % reached; not reached: 5, 7",
        "coverage 50.0 %",
    ]


def test_a_failure_tells_where_which_case_and_what_was_printed(say: PolicyCommand) -> None:
    write("team/rule.rego", RULE)
    write("team/rule_test.rego", TEST + FAILING)
    code, out, _ = say("test", "team")
    assert code == Exit.NO
    lines = out.splitlines()
    assert lines[0] == "team/rule_test.rego:8:1: error: test_limits fails for wrong"
    assert lines[1:3] == ["  8 | test_limits[note] if {", "    | ^"]
    assert {"  it printed: ✔ right", "  it printed: ✘ wrong", "  it printed: wanted 7"} <= set(lines)
    assert lines[-2:] == ["✘ team: 1 of 3 tests pass, 1 to do", "coverage is measured once everything passes"]


def test_every_format_names_each_test(say: PolicyCommand) -> None:
    write("team/rule.rego", RULE)
    write("team/rule_test.rego", TEST + FAILING)
    code, out, _ = say("test", "-o", "json", "team")
    document = json.loads(out)
    assert (code, document["passed"], document["coverage"]) == (Exit.NO, False, None)
    told = {test["name"]: (test["passed"], test["skipped"], test["cases"], test["file"], test["line"]) for test in document["tests"]}
    assert told == {
        "test_shop_runs_one_at_a_time": (True, False, {}, "team/rule_test.rego", 6),
        "test_limits": (False, False, {"right": True, "wrong": False}, "team/rule_test.rego", 8),
        "todo_test_later": (False, True, {}, "team/rule_test.rego", 14),
    }
    _, out, _ = say("test", "-o", "junit", "team")
    (suite,) = ET.fromstring(out.encode())  # noqa: S314 - our own
    assert (suite.attrib["tests"], suite.attrib["failures"], suite.attrib["skipped"]) == ("4", "1", "1")
    failed = suite.find("testcase[failure]")
    assert failed is not None
    assert failed.attrib["name"] == "kubernaut.rules.dispatch.team_test.test_limits"
    assert "wanted 7" in str(failed.findtext("system-out"))
    _, out, _ = say("test", "-o", "github", "team")
    (error,) = (line for line in out.splitlines() if line.startswith("::"))
    assert error.startswith("::error file=team/rule_test.rego,line=8,col=1,title=team::test_limits fails for wrong%0A→ ")


def test_verbose_lists_every_test_and_case(say: PolicyCommand) -> None:
    write("team/rule.rego", RULE)
    write("team/rule_test.rego", TEST + FAILING.replace("7", "1"))
    code, out, _ = say("test", "-v", "team")
    assert code == Exit.DONE
    names = [line.split(" (")[0] for line in out.splitlines()]
    assert "✔ team: kubernaut.rules.dispatch.team_test.test_limits" in names
    assert "    ✔ wrong" in names
    assert "- team: kubernaut.rules.dispatch.team_test.todo_test_later" in names


def test_run_selects_by_package_and_name(say: PolicyCommand) -> None:
    write("team/rule.rego", RULE)
    write("team/rule_test.rego", TEST + FAILING)
    assert say("test", "--run", "one_at_a_time$", "team") == (Exit.DONE, "✔ team: 1 of 1 tests pass\n", "")
    code, _, err = say("test", "--run", "nothing", "team")
    assert (code, err) == (Exit.USAGE, "phasegate: --run: no test matches 'nothing'\n")
    # Go's regular expressions, not Python's.
    assert say("test", "--run", r"one_\pL+_a_time\z", "team")[0] == Exit.DONE
    for odd in ("(", "(?=x)y"):
        code, _, err = say("test", "--run", odd, "team")
        assert (code, err.startswith(f"phasegate: --run: {odd!r} is no regular expression: ")) == (Exit.USAGE, True), err
    code, _, err = say("test", "--run", "x", "--threshold", "5", "team")
    assert (code, "does not go with --run" in err) == (Exit.USAGE, True)


@pytest.mark.parametrize(("threshold", "code"), [("50", Exit.DONE), ("50.1", Exit.NO), ("101", Exit.USAGE), ("x", Exit.USAGE)])
def test_a_threshold_fails_below_it(say: PolicyCommand, threshold: str, code: Exit) -> None:
    write("team/rule.rego", RULE)
    write("team/rule_test.rego", TEST)
    assert say("test", "--threshold", threshold, "team")[0] == code


@pytest.mark.parametrize("instead", ["exec yes", "exit 1", "kill -XCPU $$"])
def test_a_coverage_that_cannot_be_measured_is_no_test_that_fails(say: PolicyCommand, opa: Path, instead: str) -> None:
    write("team/rule.rego", RULE)
    write("team/rule_test.rego", TEST)
    program = write("opa", f'#!/bin/sh\ncase " $* " in *" --coverage "*) {instead};; esac\nexec {opa} "$@"\n')
    program.chmod(0o755)
    code, out, err = say("test", "--opa=./opa", "team")
    assert (code, out, "coverage" in err) == (Exit.UNREACHABLE, "", True), err
    assert say("test", "--opa=./opa", "--run", "one_at_a_time", "team")[0] == Exit.DONE


def test_no_tests_are_said_and_fail_a_threshold_only(say: PolicyCommand) -> None:
    write("team/rule.rego", GOOD)
    code, out, _ = say("test", "team")
    assert code == Exit.DONE
    assert out.splitlines() == [
        "✔ team: good, but no test was run; they are in files that end in _test.rego",
        "  team/rule.rego: 0 % reached; not reached: 3",
        "coverage 0.0 %",
    ]
    code, out, _ = say("test", "--threshold", "1", "team")
    assert code == Exit.NO
    assert out.startswith("team: error: the tests reach 0.0 % of the lines, fewer than --threshold 1\n")


def test_what_the_check_refuses_is_not_tested(say: PolicyCommand) -> None:
    write("team/rule.rego", UNSAFE)
    write("team/rule_test.rego", TEST)
    code, out, _ = say("test", "team")
    assert code == Exit.NO
    assert out.startswith("team/rule.rego:4:2: error: var missing is unsafe\n")
    assert "✘ team: would be refused, so no test of it was run" in out


def test_a_test_that_does_not_compile_is_named_with_its_line(say: PolicyCommand) -> None:
    write("team/rule.rego", RULE)
    write("team/rule_test.rego", TEST + "\ntest_x if yy\n")
    code, out, _ = say("test", "team")
    assert code == Exit.NO
    assert out.startswith("team/rule_test.rego:8:1: error: var yy is unsafe\n")


def test_a_stricter_rule_of_one_team_breaks_no_test_of_another(say: PolicyCommand) -> None:
    write("team/rule.rego", RULE.replace("contains 1", "contains 4"))
    write("team/rule_test.rego", TEST.replace("== 1", "== 4"))
    write("strict/rule.rego", "package kubernaut.rules.dispatch.strict\n\nlimit contains 1\n")
    code, out, _ = say("test", "team", "strict")
    assert (code, "✔ team: 1 of 1 tests pass" in out) == (Exit.DONE, True), out


def test_coverage_of_a_manifest_names_the_lines_of_the_file(say: PolicyCommand) -> None:
    blocks = [
        line
        for key, text in (("rule.rego", RULE), ("rule_test.rego", TEST))
        for line in (f"  {key}: |", *(f"    {row}" if row else "" for row in text.splitlines()))
    ]
    file = write("all.yaml", manifest("team", *blocks))
    rows = [number for number, row in enumerate(file.read_text().splitlines(), 1) if "contains 2" in row or "_big if" in row]
    code, out, _ = say("test", "-o", "json", "all.yaml")
    assert code == Exit.DONE
    assert json.loads(out)["coverage"] == {"percent": 50.0, "modules": [{"file": "all.yaml", "percent": 50.0, "unreached": rows}]}


def test_a_replaced_library_has_to_pass_the_shipped_tests(say: PolicyCommand) -> None:
    shipped = (Path(__file__).parents[2] / "policies" / "lib" / "clock.rego").read_text()
    write("kubernaut-policy-lib-clock/lib.clock.rego", shipped.replace("/ 1000000000", "/ 500000000"))
    code, out, _ = say("test", "kubernaut-policy-lib-clock")
    assert code == Exit.NO
    assert "✘ shipped-tests: " in out
    assert "✘ kubernaut-policy-lib-clock" in out
