"""`phasegate export-test` on the real opa: what it writes passes, and fails once the decision is another."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from support.recorded import Recorded

from controller import paths
from controller.cli import main
from controller.cli._exits import Exit
from controller.policy.sources import GATES, Module, read_config_map

Export = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def recorded(opa: Path, tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    return Recorded(opa, tmp_path_factory.mktemp("recorded"))


@pytest.fixture
def export(recorded: Recorded, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Export:
    monkeypatch.chdir(tmp_path)

    def run(*words: str) -> tuple[int, str, str]:
        try:
            code = main(["export-test", f"--audit={recorded.url}", *words])
        except SystemExit as ended:
            code = int(ended.code or 0)
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def opa_test(opa: Path, *files: Path) -> subprocess.CompletedProcess[str]:
    command = [opa, "test", "--run", "test_decides_as_recorded", paths.POLICIES, *files]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_the_test_of_every_gate_passes_and_fails_for_another_decision(export: Export, opa: Path, tmp_path: Path) -> None:
    files = [tmp_path / f"{gate}_test.rego" for gate in sorted(GATES)]
    for gate, file in zip(sorted(GATES), files, strict=True):
        assert export(f"{gate}1", "-o", file.name) == (Exit.DONE, "", "")
    passed = opa_test(opa, *files)
    assert (passed.returncode, passed.stdout) == (0, f"PASS: {len(GATES)}/{len(GATES)}\n"), passed.stdout + passed.stderr
    formatted = subprocess.run([opa, "fmt", "--diff", *files], capture_output=True, text=True, timeout=60, check=False)
    assert (formatted.returncode, formatted.stdout) == (0, "")
    texts = {file: file.read_text() for file in files}
    for expected, other in (
        (r'verdict\.decision == "\w+"', 'verdict.decision == "other"'),
        (r"reasons\} == .+", 'reasons} == {["a", "b"]}'),
    ):
        for file, text in texts.items():
            changed, count = re.subn(expected, other, text)
            assert count == 1
            file.write_text(changed)
        failed = opa_test(opa, *files)
        assert (failed.returncode, f"FAIL: {len(GATES)}/{len(GATES)}" in failed.stdout) == (2, True), failed.stdout + failed.stderr


def test_reasons_are_expected_by_policy_and_code(export: Export, recorded: Recorded, opa: Path, tmp_path: Path) -> None:
    reason = {"code": "nothing_ready", "message": "x", "policy": "dispatch"}
    recorded.add("dispatch", "idle", question={"ready": []}, verdict={"decision": "wait", "reasons": [reason], "start": []})
    code, out, _ = export("idle")
    assert code == Exit.DONE
    assert '{[reason.policy, reason.code] | some reason in verdict.reasons} == {["dispatch", "nothing_ready"]}' in out
    (tmp_path / "idle_test.rego").write_text(out)
    passed = opa_test(opa, tmp_path / "idle_test.rego")
    assert passed.returncode == 0, passed.stdout


def test_an_approved_plan_keeps_its_modules(export: Export, recorded: Recorded, opa: Path, tmp_path: Path) -> None:
    question = recorded.answers["action"][0]
    workflow = {**question["workflow"], "status": {**question["workflow"]["status"], "actionDigests": {question["step"]["action"]: "d-1"}}}
    recorded.add("action", "approved", question={"workflow": workflow})
    assert export("approved", "-o", "approved_test.rego") == (Exit.DONE, "", "")
    passed = opa_test(opa, tmp_path / "approved_test.rego")
    assert (passed.returncode, passed.stdout) == (0, "PASS: 1/1\n")


def test_the_cluster_would_read_it_and_several_go_together(export: Export, opa: Path, tmp_path: Path) -> None:
    texts = {f"{gate}_test.rego": export(f"{gate}1")[1] for gate in ("dispatch", "planning")}
    _, problems = read_config_map({"metadata": {"name": "team"}, "data": texts})
    assert problems == []
    assert len({Module("", "", text).package for text in texts.values()}) == len(texts)
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    assert "PASS: 2/2" in opa_test(opa, *(tmp_path / name for name in texts)).stdout


def test_the_settings_of_its_revision_go_with_it(export: Export, recorded: Recorded) -> None:
    recorded.add("dispatch", "unknown-revision", revision="r9")
    texts = [export(name)[1] for name in ("dispatch1", "unknown-revision")]
    assert ["execution-creators" in text for text in texts] == [False, True], "the defaults have all settings, the examples some"
    assert "package kubernaut.gates.dispatch_recorded_unknown_revision_test\n" in texts[1]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["nothing"], Exit.USAGE, "no decision nothing is recorded in sqlite:///"),
        (["large"], Exit.NO, "the question of decision large was too large to be kept"),
        (["dispatch1", "-o", "x.rego"], Exit.USAGE, "x.rego has to end in _test.rego"),
        (["dispatch1", "-o", "no/such/x_test.rego"], Exit.USAGE, "cannot write no/such/x_test.rego: No such file or directory"),
        (["dispatch1", "--audit=sqlite:///none.db"], Exit.UNREACHABLE, "there is no audit store"),
    ],
)
def test_what_cannot_be_exported_says_why(export: Export, recorded: Recorded, words: list[str], code: Exit, said: str) -> None:
    recorded.add("dispatch", "large", question={"since": {"1/x": "y" * (64 << 10)}})
    ended, out, err = export(*words)
    assert (ended, out, said in err) == (code, "", True), err
