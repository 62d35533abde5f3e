"""The generated crds/: as the models say, structural, described and bounded throughout, and wide enough for what the core writes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from controller.api import crd
from controller.api.kubernetesexecution import KubernetesExecution, KubernetesExecutionStatus
from controller.api.schema import UnstructuralError, structural_schema
from controller.api.workflow_status import WorkflowExecutionStatus
from controller.api.workflowexecution import WorkflowExecution
from controller.core.attempt import AttemptDraft
from controller.core.names import canonical_action, canonical_members
from controller.core.plan import build_plan
from controller.core.status import Draft, Fault
from controller.core.verdict import ActionVerdict, ConditionResult

DATA = Path(__file__).parents[1] / "data"
NOW = datetime(2026, 1, 31, 10, tzinfo=UTC)
KINDS = {kind.model.__name__: kind for kind in crd.KINDS}
# An apply of the whole object is kept in an annotation of it, which may not be larger.
LARGEST_APPLIED = 262144


def nodes(schema: dict[str, Any], place: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every schema inside a schema, with its place."""
    yield place, schema
    for name, field in schema.get("properties", {}).items():
        yield from nodes(field, f"{place}.{name}")
    for key in ("items", "additionalProperties"):
        if key in schema:
            yield from nodes(schema[key], f"{place}[]")


def unknown(schema: dict[str, Any], value: Any, place: str = "") -> list[str]:
    """Name the fields of a document that the API server would drop."""
    if schema.get("x-kubernetes-preserve-unknown-fields"):
        return []
    if isinstance(value, list):
        return [found for item in value for found in unknown(schema["items"], item, f"{place}[]")]
    if not isinstance(value, dict):
        return []
    if "additionalProperties" in schema:
        return [found for item in value.values() for found in unknown(schema["additionalProperties"], item, f"{place}[]")]
    fields = schema.get("properties", {})
    return [f"{place}.{name}" for name in value if name not in fields] + [
        found for name, item in value.items() if name in fields for found in unknown(fields[name], item, f"{place}.{name}")
    ]


def status_schema(model: type[Any]) -> dict[str, Any]:
    schema: dict[str, Any] = structural_schema(model)["properties"]["status"]
    return schema


def test_crds_are_what_the_models_say() -> None:
    assert crd.files().drifted(crd.rendered()) == []


def test_a_changed_a_missing_and_a_foreign_file_are_drift(tmp_path: Path) -> None:
    changed, missing, *_ = rendered = crd.rendered()
    for name in rendered:
        if name != missing:
            (tmp_path / name).write_text(rendered[name] + ("#" if name == changed else ""))
    (tmp_path / "foreign.yaml").write_text("")
    assert crd.files(tmp_path).drifted(rendered) == sorted([changed, missing, "foreign.yaml"])


@pytest.mark.parametrize("name", KINDS)
def test_every_field_is_described(name: str) -> None:
    schema = structural_schema(KINDS[name].model)
    fields = [
        f"{place}.{field}"
        for place, node in nodes(schema, name)
        for field, inner in node.get("properties", {}).items()
        if not inner.get("description") and field != "metadata"
    ]
    assert fields == []


@pytest.mark.parametrize("name", KINDS)
def test_everything_is_bounded(name: str) -> None:
    def is_bounded(node: dict[str, Any]) -> bool:
        if "enum" in node or "x-kubernetes-preserve-unknown-fields" in node:
            return True
        if "x-kubernetes-int-or-string" in node:
            return {"maxLength", "maximum"} <= node.keys()
        bound = {"string": "maxLength", "array": "maxItems", "integer": "maximum", "number": "maximum"}.get(node["type"])
        return bound is None or bound in node

    schema = structural_schema(KINDS[name].model)
    for field in ("apiVersion", "kind"):  # the API server's own
        del schema["properties"][field]
    unbounded = [place for place, node in nodes(schema, name) if not is_bounded(node)]
    unbounded += [place for place, node in nodes(schema, name) if "additionalProperties" in node and "maxProperties" not in node]
    assert unbounded == []


@pytest.mark.parametrize("name", KINDS)
def test_a_definition_fits_into_the_annotation_of_kubectl_apply(name: str) -> None:
    assert len(json.dumps(crd.definition(KINDS[name]))) < LARGEST_APPLIED


def test_only_free_form_objects_keep_what_nobody_declared() -> None:
    kept = {
        place.rpartition(".")[2]
        for kind in crd.KINDS
        for place, node in nodes(structural_schema(kind.model), kind.model.__name__)
        if node.get("x-kubernetes-preserve-unknown-fields")
    }
    # `spec` is that of a NetworkPolicy and of an AIAnalysis, which is another product's.
    free = {"patch", "manifest", "spec", "alertContext", "do", "undo", "operations[]", "originalPayload", "parameters"}
    assert kept == free


def test_kubectl_shows_what_a_workflow_waits_for() -> None:
    columns = crd.definition(KINDS["WorkflowExecution"])["spec"]["versions"][0]["additionalPrinterColumns"]
    assert [column["name"] for column in columns if "priority" not in column] == ["Phase", "Progress", "Waiting-For", "Message", "Age"]
    assert [column["name"] for column in columns if "priority" in column] == ["Remedy", "Steps", "Policy", "Plan"]


def test_a_union_that_no_structural_schema_can_say_is_refused() -> None:
    class Odd(BaseModel):
        apiVersion: str  # noqa: N815 - as in an object
        kind: str
        metadata: str
        value: int | list[str]

    with pytest.raises(UnstructuralError, match=r"Odd\.value"):
        structural_schema(Odd)


@pytest.mark.parametrize(
    "member",
    structural_schema(WorkflowExecution)["properties"]["spec"]["properties"]["workflowDefinition"]["properties"]["steps"]["items"][
        "properties"
    ]["parameters"]["properties"],
)
def test_a_member_is_named_like_its_action(member: str) -> None:
    [spelling] = canonical_members({member: {}})
    first, *rest = canonical_action(member).split("_")
    assert spelling == first + "".join(word.capitalize() for word in rest)


def test_the_crd_keeps_everything_that_the_core_writes_about_a_workflow() -> None:
    steps = [
        {"stepNumber": n, "name": f"s{n}", "action": "notify-only", "parameters": {"notifyOnly": {"message": "x"}}} for n in range(1, 6)
    ]
    workflow = {
        "metadata": {"name": "w", "namespace": "shop", "generation": 1},
        "spec": {"workflowDefinition": {"steps": steps}, "executionStrategy": {"safetyChecks": [{"type": "rbac", "required": True}]}},
    }
    plan = build_plan(workflow["spec"])
    fault = Fault("step_execution_failed", "it broke", remedy="mend it", step=2)
    draft = Draft(workflow, NOW)
    draft.enter("planning")
    draft.planned(plan, workflow["spec"], {"notify_only": "sha"}, "0123456789abcdef", "5s")
    reason = {"code": "a", "message": "b", "policy": "c", "remedy": "d"}
    draft.judged(
        "planning",
        {
            "decision": "deny",
            "reasons": [reason],
            "decisionId": "x",
            "policyRevision": "r",
            "inputDigest": "y",
            "time": "2026-01-31T10:00:00Z",
        },
    )
    draft.wait("for rain", "look outside")
    for phase in ("validating", "executing"):
        draft.enter(phase)
    for number in (1, 2, 3, 4):
        draft.start(number)
        draft.seen(number, "uid")
    draft.completed(1, "done")
    draft.failed(2, fault)
    draft.retry(3, fault, NOW)
    draft.skip(5, "not needed")
    draft.since("4/ready", unmet=True)
    draft.halt("rollback", fault)
    halted = draft.final()
    draft.enter("rolling_back", "because")
    draft.undone(1, "back")
    draft.undo_failed(2, "no")
    draft.enter("failed")
    schema = status_schema(WorkflowExecution)
    for status in (halted, draft.final()):
        assert unknown(schema, status) == []
        WorkflowExecutionStatus.model_validate(status)


def test_the_crd_keeps_everything_that_the_core_writes_about_an_attempt() -> None:
    draft = AttemptDraft({"metadata": {"name": "a"}, "spec": {}}, NOW)
    do = {"verb": "patch", "apiVersion": "v1", "kind": "ConfigMap", "namespace": "shop", "name": "c", "patchType": "json", "body": []}
    verdict = ActionVerdict.model_validate(
        {
            "decision": "allow",
            "reasons": [],
            "warnings": [],
            "facts": [],
            "operations": [{"do": do, "undo": do}, {"do": do, "undo": None}],
            "conditions": [],
            "service_account": "x-sa",
            "executor": "api",
            "timeout_seconds": 60,
            "parameters_valid": True,
            "resource_exists": True,
            "reversible": True,
        }
    )
    draft.conditions("preConditionResults", [ConditionResult(type="there", required=True, passed=False, message="no")])
    draft.hold("validating", "waits")
    draft.without_policy("OPA is away")
    away = draft.final()
    draft.validated(verdict, {"decision": "allow", "reasons": [], "time": "2026-11-21T12:00:00.000Z"})
    draft.rehearsed(verdict.operations)
    draft.intend(verdict)
    draft.answered(0, NOW, version="7", uid="u")
    held = draft.final()
    draft.fail(Fault("timeout", "too late", remedy="wait longer"), NOW)
    schema = status_schema(KubernetesExecution)
    for status in (away, held, draft.final()):
        assert unknown(schema, status) == []
        KubernetesExecutionStatus.model_validate(status)


def test_the_golden_statuses_hold_every_field() -> None:
    def missing(schema: dict[str, Any], value: Any, place: str) -> list[str]:
        if isinstance(value, list):
            return missing(schema["items"], value[0], place)
        if "additionalProperties" in schema:
            return missing(schema["additionalProperties"], next(iter(value.values())), place)
        fields = schema.get("properties", {})
        return [f"{place}.{name}" for name in fields if name not in value] + [
            found for name, field in fields.items() if name in value for found in missing(field, value[name], f"{place}.{name}")
        ]

    for model, name in ((WorkflowExecution, "workflow"), (KubernetesExecution, "execution")):
        golden = json.loads((DATA / f"{name}_status.json").read_text())
        assert missing(status_schema(model), golden, name) == []
        assert unknown(status_schema(model), golden) == []


def test_a_status_of_a_newer_writer_is_read_all_the_same() -> None:
    assert WorkflowExecutionStatus.model_validate({"phase": "executing", "fromTheFuture": 1}).phase == "executing"


def test_the_file_says_that_it_is_generated() -> None:
    for name, text in crd.rendered().items():
        assert text.startswith("# generated"), name
        assert yaml.safe_load(text)["kind"] == "CustomResourceDefinition"
