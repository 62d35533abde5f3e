"""What is kept of a decision, of a workflow and of an attempt: from our documents to one flat row each. Pure.

A record is one line of JSON, `{"table": …, "row": {…}}`, and lies in the spool until the store has it. A decision's line quotes its
question as it stands, because it is written while a reconcile waits; what its row tells of the question is found out when it is stored.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from controller.core import attempt as attempts
from controller.core.names import canonical_action
from controller.core.times import instant, stamp
from controller.gates.client import Decided

Json = Mapping[str, Any]
Row = dict[str, Any]

DECISIONS = "decisions"
WORKFLOWS = "workflows"
STEPS = "steps"
POLICY_SETS = "policy_sets"
TABLES = frozenset({DECISIONS, WORKFLOWS, STEPS, POLICY_SETS})

# How an attempt counts: it did something, it took something back, or it only tried the requests.
DO = "do"
UNDO = "undo"
REHEARSAL = "rehearsal"

LARGEST_DOCUMENT = 64 << 10
"""Bytes of a question or of a verdict; of a larger one only the digest is kept."""

_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
_DIGEST = "sha256:"
# What every document with a value of a Secret holds; with escaped quotes where an annotation holds a manifest as text.
_SIGNS = ('"kind":"Secret"', 'kind\\":\\"Secret', "updateSecret")


def decision_line(decided: Decided) -> bytes:
    """One decision."""
    head = {
        "decision_id": decided.decision_id,
        "time": decided.now,
        "gate": decided.gate,
        "decision": decided.decision,
        "reasons": decided.reasons,
        "revision": decided.revision,
        "input_digest": decided.input_digest,
    }
    question, masked = _masked_text(decided.asked)
    verdict, _ = _masked_text(decided.verdict.model_dump_json())
    # Both are JSON already: to read and write them once more would cost more than everything else here.
    row = f'{_compact(head)[:-1]},"masked":{_compact(masked)},"verdict":{verdict},"input":{question}}}'
    return f'{{"table":"{DECISIONS}","row":{row}}}\n'.encode()


def workflow_line(workflow: Json, now: datetime, *, deleted: bool = False) -> bytes:
    """A workflow as it ended, or as it was when it was deleted."""
    metadata, status = workflow["metadata"], workflow.get("status") or {}
    plan, result = status.get("executionPlan") or {}, status.get("workflowResult") or {}
    return _line(
        WORKFLOWS,
        {
            "uid": metadata["uid"],
            "namespace": metadata["namespace"],
            "name": metadata["name"],
            "phase": status.get("phase", ""),
            "outcome": result.get("outcome"),
            "effectiveness_score": result.get("effectivenessScore"),
            "failure_reason": status.get("failureReason"),
            "failed_step": status.get("failedStep"),
            "failed_action": status.get("failedAction"),
            "plan_hash": plan.get("planHash"),
            "revision": status.get("policyRevision"),
            "steps": status.get("totalSteps"),
            "completed_steps": status.get("completedSteps"),
            **_times(status),
            "deleted_at": stamp(now) if deleted else None,
            "recorded_at": stamp(now),
        },
    )


def step_line(workflow: Json, execution: Json, now: datetime) -> bytes:
    """One attempt; its target is that of its first operation, so one that was refused before has none."""
    metadata, spec, status = workflow["metadata"], execution["spec"], execution.get("status") or {}
    results = status.get("executionResults") or {}
    operations = results.get("operations") or []
    target = operations[0] if operations else {}
    return _line(
        STEPS,
        {
            "workflow_uid": metadata["uid"],
            "step": spec["stepNumber"],
            "attempt": spec.get("attempt", 0),
            "mode": _mode(execution),
            "namespace": metadata["namespace"],
            "workflow": metadata["name"],
            "action": canonical_action(spec["action"]),
            "target_kind": target.get("kind"),
            "target_namespace": target.get("namespace", "") if target else None,
            "target_name": target.get("name"),
            "service_account": status.get("serviceAccount"),
            "phase": attempts.phase_of(execution),
            "success": attempts.phase_of(execution) == attempts.COMPLETED,
            "error_type": results.get("errorType"),
            "failure_reason": results.get("failureReason"),
            "message": results.get("errorMessage") or results.get("message"),
            "operations_sent": len(attempts.sent_operations(execution)),
            **_times(status),
            "recorded_at": stamp(now),
        },
    )


def policy_set_line(revision: str, settings: Json, now: datetime) -> bytes:
    """The settings that a revision of the policy set decides with; without them its decisions could not be repeated."""
    return _line(POLICY_SETS, {"revision": revision, "settings": _compact(settings), "recorded_at": stamp(now)})


def read_record(line: bytes) -> tuple[str, Row]:
    """Table and row of a line.

    Raises:
        ValueError: it is no record, for example because its writer was killed in the middle.
    """
    record = json.loads(line)
    try:
        table, row = record["table"], dict(record["row"])
        if table not in TABLES:
            raise ValueError(f"no record: there is no table {table!r}")
        return table, {name: _storable(value) for name, value in (_decision_row(row) if table == DECISIONS else row).items()}
    except (KeyError, TypeError, AttributeError) as exc:
        raise ValueError(f"no record: {exc!r}") from exc


def masked(document: Any) -> Any:  # noqa: ANN401 - any JSON
    """A document in which every value of a Secret is a digest, wherever it stands: in objects, patches and parameters."""
    if isinstance(document, list):
        return [masked(entry) for entry in document]
    if not isinstance(document, dict):
        return document
    plain = {key: masked(value) for key, value in document.items() if key != _LAST_APPLIED}
    if plain.get("kind") == "Secret":
        return {key: _digested(value) if key in {"data", "stringData", "body", "patch"} else value for key, value in plain.items()}
    if isinstance(update := plain.get("updateSecret"), dict):
        plain["updateSecret"] = {key: _digested(value) if key == "dataUpdates" else value for key, value in update.items()}
    return plain


def _masked_text(text: str) -> tuple[str, bool]:
    """The same document masked, and whether that changed it. Most speak of no Secret, and are not even read."""
    if not any(sign in text for sign in _SIGNS):
        return text, False
    document = json.loads(text)
    hidden = masked(document)
    return (text, False) if hidden == document else (_compact(hidden), True)


def _digested(value: Any) -> Any:  # noqa: ANN401 - any JSON
    """A digest for every text in it; the frame of a manifest or a patch (what it is about) stays readable."""
    if isinstance(value, dict):
        framed = {"op", "path", "from", "kind", "apiVersion", "metadata", "type"} if {"op", "kind"} & value.keys() else set()
        return {key: entry if key in framed else _digested(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_digested(entry) for entry in value]
    if not isinstance(value, str) or value.startswith(_DIGEST):
        return value
    return _DIGEST + hashlib.sha256(value.encode("utf-8", "surrogatepass")).hexdigest()


def _decision_row(row: Row) -> Row:
    question = row.pop("input")
    workflow = (question.get("workflow") or {}).get("metadata") or {}
    asked, verdict = _compact(question), _compact(row["verdict"])
    truncated = len(asked) > LARGEST_DOCUMENT
    return {
        **row,
        "reasons": _compact(row["reasons"]),
        "verdict": None if len(verdict) > LARGEST_DOCUMENT else verdict,
        "workflow_uid": workflow.get("uid"),
        "namespace": workflow.get("namespace"),
        "workflow": workflow.get("name"),
        "step": (question.get("step") or {}).get("stepNumber"),
        "attempt": (question.get("attempt") or {}).get("name"),
        "truncated": truncated,
        "input": None if truncated else asked,
    }


def _mode(execution: Json) -> str:
    if execution["spec"].get("undoOf") or (execution["metadata"].get("labels") or {}).get("kubernaut.ai/rollback") == "true":
        return UNDO
    return REHEARSAL if execution["spec"].get("simulate") else DO


def _times(status: Json) -> Row:
    started, ended = _instant(status.get("startTime")), _instant(status.get("completionTime"))
    return {
        "started_at": stamp(started) if started else None,
        "ended_at": stamp(ended) if ended else None,
        "duration_seconds": max(0.0, (ended - started).total_seconds()) if started and ended else None,
    }


def _instant(text: object) -> datetime | None:
    """Other executors write times as they like; one that cannot be read is none."""
    try:
        return instant(text) if isinstance(text, str) else None
    except (ValueError, OverflowError):
        return None


def _storable(value: Any) -> Any:  # noqa: ANN401 - a value of a column
    """JSON can say what no column takes: half a surrogate pair, the zero character, and a document where a word was expected."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode().replace("\0", "\ufffd")
    return value if value is None or isinstance(value, (bool, int, float)) else _compact(value)


def _line(table: str, row: Json) -> bytes:
    return (_compact({"table": table, "row": row}) + "\n").encode()


def _compact(document: Any) -> str:  # noqa: ANN401 - any JSON
    return json.dumps(document, separators=(",", ":"), sort_keys=True)
