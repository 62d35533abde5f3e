"""Which requests may be sent at all, and what a look at the target tells after an ambiguous answer."""

from __future__ import annotations

from typing import Any

import pytest

from controller.core.operations import Sight, forbidden, forbidden_among, look, without_value_tests
from controller.core.verdict import Operation, OperationRequest

TARGET = {"apiVersion": "apps/v1", "kind": "Deployment", "namespace": "a", "name": "d"}


def request(**fields: Any) -> OperationRequest:
    return OperationRequest.model_validate({"verb": "patch", "patchType": "json", "body": [], **TARGET, **fields})


def scale(before: int, after: int, generation: int = 3) -> OperationRequest:
    return request(
        body=[
            {"op": "test", "path": "/metadata/uid", "value": "u"},
            {"op": "test", "path": "/metadata/generation", "value": generation},
            {"op": "test", "path": "/spec/replicas", "value": before},
            {"op": "replace", "path": "/spec/replicas", "value": after},
        ]
    )


def append(item: str, generation: int = 3) -> OperationRequest:
    """A patch that would be seen if it were done twice."""
    return request(
        body=[
            {"op": "test", "path": "/metadata/uid", "value": "u"},
            {"op": "test", "path": "/metadata/generation", "value": generation},
            {"op": "add", "path": "/metadata/finalizers/-", "value": item},
        ]
    )


def deployment(replicas: int, *, uid: str = "u", generation: int = 3, **metadata: Any) -> dict[str, Any]:
    return {"metadata": {"uid": uid, "generation": generation, "resourceVersion": "7", **metadata}, "spec": {"replicas": replicas}}


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        pytest.param({}, "", id="a patch of a Deployment"),
        pytest.param({"kind": "ClusterRole", "apiVersion": "rbac.authorization.k8s.io/v1"}, "not among the kinds", id="RBAC"),
        pytest.param(
            {"kind": "WorkflowExecution", "apiVersion": "workflowexecution.kubernaut.ai/v1alpha1"}, "not among the kinds", id="ours"
        ),
        pytest.param({"kind": "Pod", "apiVersion": "v1", "subresource": "exec"}, "subresource 'exec'", id="exec"),
        pytest.param({"kind": "Deployment", "subresource": "status"}, "subresource 'status'", id="status"),
        pytest.param({"namespace": None}, "a namespace is missing", id="no namespace"),
        pytest.param({"kind": "Node", "apiVersion": "v1"}, "takes no namespace", id="a node in a namespace"),
        pytest.param({"kind": "Node", "apiVersion": "v1", "namespace": None}, "", id="a node"),
        pytest.param({"verb": "delete"}, "needs the uid", id="a deletion without uid"),
        pytest.param({"verb": "create", "body": None}, "needs the object", id="a creation of nothing"),
        pytest.param({"verb": "create", "body": {"metadata": {"name": "d"}}}, "", id="a creation"),
        pytest.param({"verb": "create", "body": {"metadata": {"name": "d", "namespace": "a"}}}, "", id="a creation in its namespace"),
        pytest.param({"verb": "create", "body": {"metadata": {"name": "e"}}}, "that it names", id="a creation of another object"),
        pytest.param({"verb": "create", "body": {"metadata": {"name": "d", "namespace": "b"}}}, "that it names", id="a creation elsewhere"),
        pytest.param({"verb": "create", "body": {"metadata": {"generateName": "d-"}}}, "that it names", id="a creation under any name"),
        pytest.param({"verb": "create", "body": {"metadata": "d"}}, "that it names", id="a creation without metadata"),
        pytest.param({"name": ".."}, "must be names", id="a name that climbs to the namespace"),
        pytest.param({"name": "."}, "must be names", id="a name that means the collection"),
        pytest.param({"name": ""}, "must be names", id="no name"),
        pytest.param({"name": "d/status"}, "must be names", id="a name with a slash"),
        pytest.param({"namespace": ".."}, "must be names", id="a namespace that climbs"),
        pytest.param({"kind": "Node", "apiVersion": "v1", "namespace": None, "name": ".."}, "must be names", id="a node that climbs"),
        pytest.param(
            {"verb": "create", "kind": "Secret", "apiVersion": "v1", "body": {"metadata": {"name": "d"}, "type": "Opaque"}},
            "",
            id="a Secret",
        ),
        pytest.param(
            {"kind": "Secret", "apiVersion": "v1", "patchType": "apply", "body": {"type": "kubernetes.io/service-account-token"}},
            "would hold a token",
            id="a Secret that the server puts a token into",
        ),
        pytest.param({"kind": "Secret", "apiVersion": "v1", "subresource": "token"}, "subresource 'token'", id="a token"),
        pytest.param(
            {"kind": "ServiceAccount", "apiVersion": "v1", "subresource": "token"}, "not among the kinds", id="an account's token"
        ),
        pytest.param({"body": None}, "needs patchType and body", id="an empty patch"),
    ],
)
def test_a_request_out_of_bounds_is_refused_whatever_policy_said(fields: dict[str, Any], said: str) -> None:
    fault = forbidden(request(**fields))
    assert (said in fault) if said else fault == ""


@pytest.mark.parametrize(
    ("operation", "live", "sight"),
    [
        pytest.param(scale(3, 5), deployment(5, generation=4), Sight.APPLIED, id="the new value is there"),
        pytest.param(scale(3, 5), deployment(3), Sight.NOT_APPLIED, id="value and generation are as recorded"),
        pytest.param(scale(3, 5), deployment(3, generation=5), Sight.CHANGED, id="the old value came back, generation moved on"),
        pytest.param(scale(3, 5), deployment(9, generation=4), Sight.CHANGED, id="a third value"),
        pytest.param(scale(3, 5), deployment(5, uid="other"), Sight.CHANGED, id="another object of the same name"),
        pytest.param(scale(3, 5), None, Sight.CHANGED, id="the object is gone"),
        pytest.param(append("b"), deployment(1, generation=4, finalizers=["a", "b"]), Sight.APPLIED, id="the appended item is there"),
        pytest.param(append("b"), deployment(1, finalizers=["a", "b"]), Sight.NOT_APPLIED, id="an equal item was there before"),
        pytest.param(append("b"), deployment(1, generation=4, finalizers=["a"]), Sight.CHANGED, id="something else was changed"),
        pytest.param(
            request(body=[{"op": "test", "path": "/metadata/uid", "value": "v"}, {"op": "move", "from": "/spec/a", "path": "/spec/b"}]),
            deployment(1, uid="v"),
            Sight.NOT_APPLIED,
            id="what is moved shows in nothing but its tests",
        ),
        pytest.param(
            request(body=[{"op": "remove", "path": "/metadata/annotations/kubernaut.ai~1mark"}]),
            deployment(1, annotations={"other": "x"}),
            Sight.APPLIED,
            id="a removed key is gone",
        ),
        pytest.param(
            request(patchType="merge", body={"metadata": {"uid": "u", "resourceVersion": "7"}, "spec": {"replicas": 2}}),
            deployment(1),
            Sight.NOT_APPLIED,
            id="a merge patch at the recorded version",
        ),
        pytest.param(
            request(patchType="merge", body={"metadata": {"uid": "u", "resourceVersion": "6"}, "spec": {"replicas": 1, "paused": None}}),
            deployment(1),
            Sight.APPLIED,
            id="a merge patch whose values are there, null meaning absent",
        ),
        pytest.param(request(verb="delete", uid="u"), None, Sight.APPLIED, id="deleted"),
        pytest.param(request(verb="delete", uid="u"), deployment(1, uid="other"), Sight.APPLIED, id="deleted and replaced by another"),
        pytest.param(request(verb="delete", uid="u"), deployment(1), Sight.NOT_APPLIED, id="not deleted yet"),
        pytest.param(request(verb="create", body={}), None, Sight.NOT_APPLIED, id="not created"),
        pytest.param(
            request(verb="create", body={}),
            deployment(1, annotations={"kubernaut.ai/attempt": "me"}),
            Sight.APPLIED,
            id="created by this attempt",
        ),
        pytest.param(request(verb="create", body={}), deployment(1), Sight.CHANGED, id="created by someone else"),
    ],
)
def test_a_look_tells_whether_a_request_was_carried_out(operation: OperationRequest, live: dict[str, Any] | None, sight: Sight) -> None:
    assert look(operation, live, "me") is sight


def test_an_undo_that_may_overwrite_still_tests_the_identity() -> None:
    kept = without_value_tests(scale(3, 5)).body
    assert isinstance(kept, list)
    assert [entry["path"] for entry in kept] == ["/metadata/uid", "/spec/replicas"]


def test_a_way_back_is_bounded_like_the_way_there() -> None:
    good = request()
    assert forbidden_among([Operation(do=good, undo=good), Operation(do=good, undo=None)]) == ""
    assert "not among the kinds" in forbidden_among([Operation(do=good, undo=request(kind="ClusterRole"))])
