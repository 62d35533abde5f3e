from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from controller import paths
from controller.core.verdict import VERDICTS
from controller.gates import schemas
from controller.gates.documents import QUESTIONS

RENDERED = schemas.render()


def _objects(node: Any) -> list[dict[str, Any]]:
    if isinstance(node, dict):
        own = [node] if node.get("type") == "object" else []
        return own + [found for value in node.values() for found in _objects(value)]
    return [found for value in node for found in _objects(value)] if isinstance(node, list) else []


def test_every_gate_has_a_schema_of_its_question_and_of_its_verdict() -> None:
    assert QUESTIONS.keys() == VERDICTS.keys()
    assert set(RENDERED) == {f"{gate}_{side}.json" for gate in VERDICTS for side in ("input", "verdict")}


def test_schemas_is_what_the_models_say() -> None:
    assert schemas.files().drifted(RENDERED) == []


@pytest.mark.parametrize("name", RENDERED)
def test_a_schema_has_nothing_that_opa_would_not_check(name: str) -> None:
    assert not any(word in RENDERED[name] for word in ('"$ref"', '"anyOf"', '"null"'))
    for schema in _objects(json.loads(RENDERED[name])):
        assert "additionalProperties" in schema
        assert "properties" not in schema or schema["additionalProperties"] is False


def test_a_question_promises_nothing_and_a_verdict_promises_what_is_always_there() -> None:
    assert '"required": [' not in RENDERED["action_input.json"]
    assert json.loads(RENDERED["dispatch_verdict.json"])["required"][:4] == ["decision", "reasons", "warnings", "facts"]


def test_gates_see_the_spec_without_its_steps() -> None:
    spec = json.loads(RENDERED["planning_input.json"])["properties"]["workflow"]["properties"]["spec"]["properties"]
    assert "steps" not in spec["workflowDefinition"]["properties"]
    assert "executionStrategy" in spec


def _check(opa: Path, *sources: Path) -> subprocess.CompletedProcess[str]:
    command = [str(opa), "check", "--strict", "--schema", str(paths.SCHEMAS), *map(str, sources)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_the_shipped_set_fits_its_schemas(opa: Path) -> None:
    ended = _check(opa, paths.POLICIES)
    assert ended.returncode == 0, ended.stderr


@pytest.mark.parametrize(
    ("gate", "right", "wrong"),
    [
        ("dispatch", "input.workflow.spec.suspend ", "input.workflow.spec.suspended "),
        ("action", "input.attempt.owned ", "input.attempt.ownd "),
        ("failure", "input.step.maxRetries", "input.step.maxRetry"),
        ("approval", "input.approvals", "input.approval"),
    ],
)
def test_a_misspelt_field_is_found(opa: Path, tmp_path: Path, gate: str, right: str, wrong: str) -> None:
    policies = shutil.copytree(paths.POLICIES, tmp_path / "policies", ignore=shutil.ignore_patterns("tests"))
    file = policies / "gates" / f"{gate}.rego"
    text = file.read_text()
    assert right in text
    file.write_text(text.replace(right, wrong))
    ended = _check(opa, policies)
    assert ended.returncode != 0
    assert "undefined ref" in ended.stderr


def test_the_command_writes_once_and_then_finds_nothing_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert schemas.main(["--check", "--out", str(tmp_path)]) == 1
    assert schemas.main(["--out", str(tmp_path)]) == 0
    (tmp_path / "stale_input.json").write_text("{}")
    assert schemas.main(["--check", "--out", str(tmp_path)]) == 1
    assert schemas.main(["--out", str(tmp_path)]) == 0
    assert not (tmp_path / "stale_input.json").exists()
    assert schemas.main(["--check", "--out", str(tmp_path)]) == 0
    assert "generated" in capsys.readouterr().out
