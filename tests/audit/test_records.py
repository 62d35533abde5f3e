"""What is kept of each document."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from support.audit import NOW, attempt, decided, workflow

from controller.audit.records import LARGEST_DOCUMENT, decision_line, masked, read_record, step_line, workflow_line

AT = datetime(2026, 11, 21, 11, tzinfo=UTC)
HIDDEN = f"sha256:{hashlib.sha256(b'aHVudGVyMg==').hexdigest()}"


def test_a_decision_keeps_its_question_and_knows_whose_it_was() -> None:
    asked = decided("d7")
    table, row = read_record(decision_line(asked))
    assert table == "decisions"
    assert json.loads(row.pop("input")) == json.loads(asked.asked)
    assert json.loads(row.pop("verdict")) == json.loads(asked.verdict.model_dump_json())
    assert row == {
        "decision_id": "d7",
        "time": NOW,
        "gate": "completion",
        "namespace": "shop",
        "workflow": "fix",
        "workflow_uid": "u1",
        "step": 3,
        "attempt": "fix-step-3",
        "decision": "allow",
        "reasons": "[]",
        "revision": "r1",
        "input_digest": "digest",
        "masked": False,
        "truncated": False,
    }


def test_a_question_that_is_too_large_leaves_its_digest_only() -> None:
    _, row = read_record(decision_line(decided(question={"since": {"x": "y" * LARGEST_DOCUMENT}})))
    assert (row["input"], row["truncated"], row["input_digest"], row["workflow_uid"]) == (None, True, "digest", "u1")


@pytest.mark.parametrize(
    "question",
    [
        {"step": {"stepNumber": 1, "parameters": {"updateSecret": {"name": "s", "dataUpdates": {"key": "aHVudGVyMg=="}}}}},
        {"steps": [{"parameters": {"applyManifest": {"manifest": {"kind": "Secret", "data": {"key": "aHVudGVyMg=="}}}}}]},
        {"attempt": {"operations": [{"do": {"kind": "Secret", "body": [{"op": "add", "path": "/data/key", "value": "aHVudGVyMg=="}]}}]}},
        {"attempt": {"operations": [{"do": {"kind": "Secret", "body": {"kind": "Secret", "stringData": {"key": "aHVudGVyMg=="}}}}]}},
        {"undo": [{"do": {"kind": "Secret", "body": {"data": {"key": "aHVudGVyMg=="}}}}]},
    ],
)
def test_values_of_secrets_never_reach_the_disk(question: dict[str, Any]) -> None:
    line = decision_line(decided(question=question))
    assert b"aHVudGVyMg==" not in line
    assert HIDDEN.encode() in line
    assert read_record(line)[1]["masked"] is True


def test_what_kubectl_remembers_of_a_manifest_with_secrets_goes() -> None:
    said = json.dumps({"kind": "Secret", "data": {"key": "aHVudGVyMg=="}}, separators=(",", ":"))
    notes = {"kubectl.kubernetes.io/last-applied-configuration": said, "team": "shop"}
    line = decision_line(decided(question={"workflow": {"metadata": {"uid": "u1", "annotations": notes}}}))
    assert b"aHVudGVyMg==" not in line
    assert b'"team":"shop"' in line


def test_digests_of_facts_stay_as_they_are() -> None:
    secret = {"kind": "Secret", "metadata": {"name": "s"}, "data": {"key": HIDDEN}, "stringData": {}}
    assert masked({"facts": {"it": {"object": secret}}}) == {"facts": {"it": {"object": secret}}}
    assert read_record(decision_line(decided(question={"facts": {"it": {"object": secret}}})))[1]["masked"] is False


def test_a_verdict_is_masked_too() -> None:
    told = replace(decided(), verdict=_Verdict())  # type: ignore[arg-type]
    assert b"aHVudGVyMg==" not in decision_line(told)


class _Verdict:
    """An answer of the gate action, of which only its JSON matters here."""

    decision = "allow"
    reasons: tuple[()] = ()

    def model_dump_json(self) -> str:
        return '{"operations":[{"do":{"kind":"Secret","body":{"data":{"key":"aHVudGVyMg=="}}}}]}'


def test_a_workflow_in_one_row() -> None:
    table, row = read_record(workflow_line(workflow(failedStep=2), AT, deleted=True))
    assert table == "workflows"
    told = {key: row[key] for key in ("uid", "phase", "outcome", "failed_step", "duration_seconds", "deleted_at", "recorded_at")}
    at = "2026-11-21T11:00:00.000Z"
    assert list(told.values()) == ["u1", "completed", "success", 2, 90.5, at, at]


@pytest.mark.parametrize(
    ("spec", "mode"), [({}, "do"), ({"undoOf": "fix-step-1"}, "undo"), ({"simulate": True}, "rehearsal")], ids=["do", "undo", "rehearsal"]
)
def test_an_attempt_says_how_it_counts(spec: dict[str, Any], mode: str) -> None:
    _, row = read_record(step_line(workflow(), attempt(4, 2, **spec), AT))
    assert (row["workflow_uid"], row["step"], row["attempt"], row["mode"]) == ("u1", 4, 2, mode)
    assert (row["target_kind"], row["target_namespace"], row["target_name"]) == ("Deployment", "shop", "web")
    assert (row["success"], row["operations_sent"], row["duration_seconds"]) == (True, 1, 2.0)


def test_an_attempt_of_another_executor_may_say_little_and_oddly() -> None:
    execution = attempt(action="Scale-Deployment")
    execution["status"] = {"phase": "FAILED", "startTime": "yesterday", "completionTime": "2026-11-21T12:00:00+01:00"}
    _, row = read_record(step_line(workflow(), execution, AT))
    assert (row["action"], row["phase"], row["success"], row["target_kind"]) == ("scale_deployment", "failed", False, None)
    assert (row["started_at"], row["ended_at"], row["duration_seconds"]) == (None, "2026-11-21T11:00:00.000Z", None)


def test_what_no_column_takes_is_replaced() -> None:
    execution = attempt(phase="failed")
    execution["status"]["executionResults"]["errorMessage"] = "a\0b\ud800"
    assert read_record(step_line(workflow(), execution, AT))[1]["message"] == "a\ufffdb?"


@pytest.mark.parametrize(
    "line", [b"", b"{", b"[]", b'{"table":"decisions"}', b'{"table":"users","row":{}}', b'{"table":"decisions","row":{}}']
)
def test_half_a_line_is_no_record(line: bytes) -> None:
    with pytest.raises(ValueError, match=r".*"):
        read_record(line)
