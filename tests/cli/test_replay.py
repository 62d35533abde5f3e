"""`phasegate replay` on the real opa: what would be decided otherwise, and what cannot be told."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from copy import copy
from pathlib import Path

import pytest
from support.policy_files import UNSAFE, manifest, write
from support.recorded import Recorded

from controller import paths
from controller.cli import main
from controller.cli._exits import Exit

NIGHT = 'package kubernaut.rules.dispatch.team\n\nwait contains "not_now" if input.workflow.metadata.namespace\n'
LIMIT = "package kubernaut.rules.dispatch.team\n\nlimit contains 1\n"
READS = """package kubernaut.rules.dispatch.team

facts contains {"id": "team_quota", "verb": "list", "apiVersion": "v1", "kind": "ResourceQuota", "namespace": "shop"}
"""

CONFLICT = """package kubernaut.rules.dispatch.team

limit contains _n

_n := 3 if input.workflow.metadata.name

_n := 4 if input.workflow.metadata.namespace
"""

Replay = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def all_gates(opa: Path, tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    return Recorded(opa, tmp_path_factory.mktemp("recorded"))


@pytest.fixture
def recorded(all_gates: Recorded, tmp_path: Path) -> Recorded:
    """A store of the test's own."""
    own = copy(all_gates)
    own.url = f"sqlite:///{tmp_path / 'audit.db'}"
    shutil.copy(all_gates.url.removeprefix("sqlite:///"), tmp_path / "audit.db")
    return own


@pytest.fixture
def replay(recorded: Recorded, opa: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Replay:
    """``replay("team")`` answers exit code, stdout and stderr; in an empty folder, of everything that is recorded."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PHASEGATE_AUDIT_URL", recorded.url)

    def run(policies: str | Path, *words: str) -> tuple[int, str, str]:
        try:
            code = main(["replay", f"--policies={policies}", f"--opa={opa}", "--since=36500d", *words])
        except SystemExit as ended:
            code = int(ended.code or 0)
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def test_the_policies_that_decided_would_decide_the_same(replay: Replay, recorded: Recorded) -> None:
    code, out, err = replay(paths.POLICIES)
    assert (code, err) == (Exit.DONE, ""), out + err
    assert re.fullmatch(rf"{len(recorded.answers)} decisions since \S+: 0 would change, 0 cannot be told\n", out)


def test_a_rule_of_a_team_changes_the_decisions_that_it_is_about(replay: Replay) -> None:
    write("team/a.rego", NIGHT)
    code, out, _ = replay("team")
    assert code == Exit.NO
    lines = out.splitlines()
    assert "dispatch shop/" in lines[0], lines
    assert lines[0].endswith("(dispatch1): changes")
    assert "    decision: allow → wait" in lines
    assert "    reason not_now of rules.dispatch.team: nothing → given" in lines
    assert lines[-1].endswith(": 1 would change, 0 cannot be told")


def test_a_change_that_is_no_change_of_the_decision_is_told_too(replay: Replay) -> None:
    write("team/a.rego", LIMIT)
    code, out, _ = replay("team", "-o", "json")
    document = json.loads(out)
    assert (code, document["unknown"]) == (Exit.NO, [])
    (changed,) = document["changed"]
    assert changed["decision_id"] == "dispatch1"
    assert {"what": "max_parallel", "change": "changed", "before": 5, "after": 1} in changed["changes"]


def test_a_changed_gate_in_a_whole_set(replay: Replay, tmp_path: Path) -> None:
    shutil.copytree(paths.POLICIES, tmp_path / "set")
    gate = tmp_path / "set" / "lib" / "verdict.rego"
    gate.write_text(gate.read_text().replace('"allow"', '"wait"'))
    code, out, _ = replay("set")
    assert code == Exit.NO
    assert "decision: allow → wait" in out


def test_one_gate_and_a_time_narrow_it_down(replay: Replay) -> None:
    write("team/a.rego", NIGHT)
    assert replay("team", "--gate=planning")[0] == Exit.DONE
    assert json.loads(replay("team", "--gate=dispatch", "-o", "json")[1])["asked"] == 1
    code, out, _ = replay("team", "--since=0s")
    assert (code, out.startswith("no decision was recorded since ")) == (Exit.DONE, True)


def test_a_fact_that_was_not_read_then_cannot_be_told(replay: Replay) -> None:
    write("team/a.rego", READS)
    code, out, _ = replay("team")
    assert code == Exit.NO
    assert "(dispatch1): it asks for facts that were not read then: team_quota" in out
    assert out.endswith(": 0 would change, 1 cannot be told\n")


def test_the_same_id_for_another_read_cannot_be_told_either(replay: Replay, recorded: Recorded) -> None:
    request = {"id": "team_quota", "verb": "list", "apiVersion": "v1", "kind": "LimitRange", "namespace": "shop"}
    facts = {**recorded.answers["dispatch"][0].get("facts", {}), "team_quota": {"available": True, "found": True, "items": []}}
    known = recorded.answers["dispatch"][1]["facts"]
    recorded.add("dispatch", "dispatch2", question={"facts": facts}, verdict={"facts": [*known, request]})
    write("team/a.rego", READS)
    assert "(dispatch2): it asks for facts" in replay("team")[1]
    write("team/a.rego", READS.replace("ResourceQuota", "LimitRange"))
    assert "dispatch2" not in replay("team")[1]


def test_a_question_that_was_not_kept_or_is_masked_cannot_be_told(replay: Replay, recorded: Recorded) -> None:
    recorded.add("dispatch", "large", question={"since": {"1/x": "y" * (64 << 10)}})
    secret = {"parameters": {"updateSecret": {"name": "s", "namespace": "shop", "dataUpdates": {"key": "aHVudGVyMg=="}}}}
    steps = [{**step, **secret} for step in recorded.answers["dispatch"][0]["steps"]]
    recorded.add("dispatch", "secret", question={"steps": steps})
    write("team/a.rego", NIGHT)
    lines = replay("team")[1].splitlines()
    assert any("(large): its question was too large to be kept" in line for line in lines)
    assert any("(secret): its question is about values of a Secret, which are digests here" in line for line in lines)
    assert lines[-1].endswith(": 1 would change, 2 cannot be told")


def test_a_rule_that_breaks_down_over_a_question_is_a_change(replay: Replay) -> None:
    write("team/a.rego", CONFLICT)
    code, out, err = replay("team")
    assert code == Exit.NO, err
    assert "    decision: allow → none: " in out
    assert "team/a.rego:" in out


def test_each_decision_is_repeated_under_its_own_settings(replay: Replay) -> None:
    """Settings that are given with the policies count for all."""
    write(
        "team/a.rego",
        "package kubernaut.rules.dispatch.team\n\n" + 'wait contains "few" if data.kubernaut.settings["max-parallel-steps"] < 5\n',
    )
    assert replay("team")[0] == Exit.DONE
    write("with/a.yaml", manifest("team", "  a.rego: |", *(f"    {line}" for line in Path("team/a.rego").read_text().splitlines())))
    write("with/b.yaml", manifest("kubernaut-workflowexecution-config", '  max-parallel-steps: "4"', labels="{}"))
    code, out, err = replay("with")
    assert (code, "reason few of rules.dispatch.team: nothing → given" in out) == (Exit.NO, True), out + err


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["team", "--since=soon"], Exit.USAGE, "'soon' is not a duration"),
        (["team", "--since=-5m"], Exit.USAGE, "is not how far back one can look"),
        (["team", "--gate=nothing"], Exit.USAGE, "invalid choice: 'nothing'"),
        (["nowhere"], Exit.USAGE, "there is no such file or folder"),
        (["bad"], Exit.USAGE, "var missing is unsafe"),
        (["team", "--audit=mysql://u:hunter2@h/d"], Exit.USAGE, "no audit store can be a mysql"),
        (["team", "--audit=sqlite:///none.db"], Exit.UNREACHABLE, "there is no audit store at sqlite:///none.db"),
        (["team", "--audit=postgresql://u:hunter2@127.0.0.1:1/d"], Exit.UNREACHABLE, "refused"),
        (["team", "--opa=no-such-program"], Exit.UNREACHABLE, "there is no program"),
    ],
)
def test_what_cannot_be_asked_ends_with_its_own_code(replay: Replay, words: list[str], code: Exit, said: str) -> None:
    write("team/a.rego", LIMIT)
    write("bad/a.rego", UNSAFE)
    ended, out, err = replay(*words)
    assert (ended, out, said in err, "hunter2" in err) == (code, "", True, False), err


def test_a_store_has_to_be_named(replay: Replay, monkeypatch: pytest.MonkeyPatch) -> None:
    write("team/a.rego", LIMIT)
    monkeypatch.delenv("PHASEGATE_AUDIT_URL")
    assert replay("team") == (Exit.USAGE, "", "phasegate: name the audit store with --audit, or in the environment's PHASEGATE_AUDIT_URL\n")


@pytest.mark.parametrize("instead", ["exit 7", "exec sleep 1000"])
def test_an_opa_that_does_not_serve_is_no_answer(replay: Replay, opa: Path, monkeypatch: pytest.MonkeyPatch, instead: str) -> None:
    monkeypatch.setattr("controller.cli.replay._START_SECONDS", 2.0)
    write("team/a.rego", LIMIT)
    program = write("opa", f'#!/bin/sh\n[ "$1" = run ] && {instead}\nexec {opa} "$@"\n')
    program.chmod(0o755)
    code, out, err = replay("team", "--opa=./opa")
    assert (code, out) == (Exit.UNREACHABLE, "")
    assert "opa ended with 7" in err or "opa was not ready within 2 s" in err
