"""The generated CRDs on a real API server: the corpus of tests/api, and the rules that only an update can break."""

from __future__ import annotations

import json
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest
import yaml

from controller.cluster.client import Cluster
from controller.cluster.errors import InvalidError
from controller.cluster.kinds import APPROVAL, EXECUTION, WORKFLOW, kind_of
from controller.local.api import Answer, Api
from controller.local.folder import Folder
from controller.local.plane import Plane

# Statuses are written by hand here; a controller that another file left running would write its own.
pytestmark = pytest.mark.usefixtures("no_controller")

CORPUS = Path(__file__).parents[1] / "data" / "corpus"
GOOD = sorted((CORPUS / "good").glob("*.yaml"))
BAD = sorted((CORPUS / "bad").glob("*.yaml"))
TERMINAL = ["completed", "failed", "rolled_back", "blocked", "degraded"]


def example(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((CORPUS / "good" / f"{name}.yaml").read_text())
    return loaded


def try_to_create(plane: Plane, path: Path) -> Answer:
    document = yaml.safe_load(path.read_text())
    kind = kind_of(document["apiVersion"], document["kind"])
    assert kind is not None
    folder = Folder(plane.state)
    record = folder.read()
    assert record is not None
    user = "controller" if kind is EXECUTION else "admin"
    api = Api(plane.server, record.tokens[user], folder.authority)
    return api.post(kind.path("default") + "?dryRun=All&fieldValidation=Strict", document)


@pytest.mark.parametrize("path", GOOD, ids=lambda path: path.stem)
def test_the_api_server_accepts_a_good_example(plane: Plane, path: Path) -> None:
    answer = try_to_create(plane, path)
    assert answer.status == HTTPStatus.CREATED, answer.document.get("message")


@pytest.mark.parametrize("path", BAD, ids=lambda path: path.stem)
def test_the_api_server_refuses_a_bad_example_and_says_what_is_wrong(plane: Plane, path: Path) -> None:
    expected = path.read_text().splitlines()[0].removeprefix("# expect: ")
    answer = try_to_create(plane, path)
    assert answer.status in {HTTPStatus.BAD_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY}, answer.body
    assert expected in answer.document["message"]


async def test_a_workflow_gets_its_defaults_and_no_timeouts(as_admin: Cluster, namespace: str) -> None:
    made = await as_admin.create(WORKFLOW, namespace, example("workflow-smallest"))
    assert {key: made["spec"][key] for key in ("simulate", "suspend", "ttlSecondsAfterFinished")} == {
        "simulate": False,
        "suspend": False,
        "ttlSecondsAfterFinished": 86400,
    }
    assert made["spec"]["workflowDefinition"]["steps"][0]["criticalStep"] is True
    assert "timeouts" not in made["spec"]


@pytest.mark.parametrize("change", [{"suspend": False}, {"ttlSecondsAfterFinished": 5}], ids=["suspend", "ttl"])
async def test_a_workflow_can_be_paused_and_kept_for_another_time(as_admin: Cluster, namespace: str, change: dict[str, Any]) -> None:
    await as_admin.create(WORKFLOW, namespace, example("workflow-everything"))
    changed = await as_admin.patch(WORKFLOW, namespace, "shop", {"spec": change}, strict=True)
    assert changed["spec"] | change == changed["spec"]


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("workflowDefinition", {"workflowDefinition": {"version": "2"}}),
        ("remediationRequestRef", {"remediationRequestRef": {"name": "other"}}),
        ("requestedBy", {"requestedBy": None}),
        ("executionStrategy", {"executionStrategy": {"maxRetries": 1}}),
        ("executionStrategy", {"executionStrategy": None}),
        ("adaptiveOrchestration", {"adaptiveOrchestration": {"learningFromHistory": True}}),
        ("conditionOverrides", {"conditionOverrides": {"x": {}}}),
        ("timeouts", {"timeouts": {"step": "6m"}}),
        ("alertContext", {"alertContext": {"labels": {"tier": 2}}}),
        ("alertContext", {"alertContext": None}),
        ("simulate", {"simulate": True}),
    ],
)
async def test_the_rest_of_a_workflows_spec_stays_as_it_was_written(
    as_admin: Cluster, namespace: str, field: str, change: dict[str, Any]
) -> None:
    await as_admin.create(WORKFLOW, namespace, example("workflow-everything"))
    with pytest.raises(InvalidError, match=f"{field} cannot be changed after creation; make another workflow"):
        await as_admin.patch(WORKFLOW, namespace, "shop", {"spec": change})


async def test_a_change_inside_a_free_form_patch_is_a_change_too(as_admin: Cluster, namespace: str) -> None:
    await as_admin.create(WORKFLOW, namespace, example("workflow-patches"))
    path = "/spec/workflowDefinition/steps/0/parameters/patchResource/patch/spec/template/metadata/annotations/a"
    with pytest.raises(InvalidError, match="workflowDefinition cannot be changed"):
        await as_admin.patch(WORKFLOW, namespace, "shop", [{"op": "replace", "path": path, "value": "c"}], patch_type="json")


@pytest.mark.parametrize("terminal", TERMINAL)
async def test_a_workflow_that_has_ended_stays_ended(as_admin: Cluster, namespace: str, terminal: str) -> None:
    await as_admin.create(WORKFLOW, namespace, example("workflow-smallest"))
    await as_admin.patch(WORKFLOW, namespace, "shop", {"status": {"phase": terminal}}, subresource="status")
    for status in ({"phase": "executing"}, {"phase": None}, None):
        with pytest.raises(InvalidError, match="has ended"):
            await as_admin.patch(WORKFLOW, namespace, "shop", {"status": status}, subresource="status")
    await as_admin.patch(WORKFLOW, namespace, "shop", {"status": {"message": "the end"}}, subresource="status")


async def test_only_a_degraded_workflow_may_still_be_rolled_back(as_admin: Cluster, namespace: str) -> None:
    await as_admin.create(WORKFLOW, namespace, example("workflow-smallest"))
    for phase in ("degraded", "rolling_back", "rolled_back"):
        await as_admin.patch(WORKFLOW, namespace, "shop", {"status": {"phase": phase}}, subresource="status")
    with pytest.raises(InvalidError, match="has ended"):
        await as_admin.patch(WORKFLOW, namespace, "shop", {"status": {"phase": "rolling_back"}}, subresource="status")


async def test_an_attempt_cannot_be_changed_and_stays_ended(as_admin: Cluster, as_controller: Cluster, namespace: str) -> None:
    await as_controller.create(EXECUTION, namespace, example("execution-smallest"))
    for change in ({"stepNumber": 2}, {"undoOf": "other"}, {"parameters": {"scaleDeployment": {"replicas": 4}}}):
        with pytest.raises(InvalidError, match="an attempt cannot be changed after creation"):
            await as_admin.patch(EXECUTION, namespace, "shop-step-1", {"spec": change})
    await as_admin.patch(EXECUTION, namespace, "shop-step-1", {"status": {"phase": "Completed"}}, subresource="status")
    for status in ({"phase": "failed"}, None):
        with pytest.raises(InvalidError, match="this attempt has ended"):
            await as_admin.patch(EXECUTION, namespace, "shop-step-1", {"status": status}, subresource="status")


async def test_a_decision_cannot_be_changed(as_admin: Cluster, namespace: str) -> None:
    await as_admin.create(APPROVAL, namespace, example("approval"))
    with pytest.raises(InvalidError, match="a decision cannot be changed"):
        await as_admin.patch(APPROVAL, namespace, "shop-by-ann", {"spec": {"decision": "Rejected"}})


async def test_a_whole_workflow_status_is_kept_to_the_last_field(as_admin: Cluster, namespace: str) -> None:
    status = json.loads((CORPUS.parent / "workflow_status.json").read_text())
    await as_admin.create(WORKFLOW, namespace, example("workflow-smallest"))
    written = await as_admin.patch(WORKFLOW, namespace, "shop", {"status": status}, subresource="status", strict=True)
    assert written["status"] == status


async def test_a_whole_attempt_status_is_kept_to_the_last_field(as_admin: Cluster, as_controller: Cluster, namespace: str) -> None:
    status = json.loads((CORPUS.parent / "execution_status.json").read_text())
    await as_controller.create(EXECUTION, namespace, example("execution-smallest"))
    # No merge patch: that would take the null of "no way back" for "leave it out".
    whole = [{"op": "add", "path": "/status", "value": status}]
    written = await as_admin.patch(EXECUTION, namespace, "shop-step-1", whole, patch_type="json", subresource="status", strict=True)
    assert written["status"] == status
