"""The shipped admission policies and roles for people, on a real API server; who writes policies is in test_policy_writers."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable
from typing import Any

import pytest

Kubectl = Callable[..., str]
SYSTEM = "kubernaut-system"


def workflow(name: str = "shop", **spec: Any) -> dict[str, Any]:
    step = {"stepNumber": 1, "name": "tell", "action": "notify-only", "parameters": {"notifyOnly": {"message": "hello"}}}
    return {
        "apiVersion": "workflowexecution.kubernaut.ai/v1alpha1",
        "kind": "WorkflowExecution",
        "metadata": {"name": name},
        "spec": {"workflowDefinition": {"steps": [step]}, **spec},
    }


def owner(name: str, uid: str) -> dict[str, str]:
    return {"apiVersion": "workflowexecution.kubernaut.ai/v1alpha1", "kind": "WorkflowExecution", "name": name, "uid": uid}


def approval(name: str = "shop-by-approver", **spec: Any) -> dict[str, Any]:
    decision = {"workflowRef": {"name": "shop", "uid": "3f0a"}, "decision": "Approved", "planHash": "0123456789abcdef"}
    return {
        "apiVersion": "workflowexecution.kubernaut.ai/v1alpha1",
        "kind": "WorkflowApproval",
        "metadata": {"name": name},
        "spec": {**decision, "approver": "approver", **spec},
    }


def attempt() -> dict[str, Any]:
    return {
        "apiVersion": "kubernetesexecution.kubernaut.ai/v1alpha1",
        "kind": "KubernetesExecution",
        "metadata": {"name": "shop-step-1"},
        "spec": {
            "workflowExecutionRef": {"name": "shop", "uid": "3f0a"},
            "stepNumber": 1,
            "action": "notify_only",
            "parameters": {"notifyOnly": {"message": "hello"}},
        },
    }


@pytest.fixture
def create(kubectl: Kubectl, namespace: str) -> Callable[..., str]:
    """Create an object in the test's namespace as somebody; answers what kubectl said."""

    def run(document: dict[str, Any], user: str = "admin", *, expect: int = 0, options: tuple[str, ...] = ()) -> str:
        place = document["metadata"].get("namespace", namespace)
        return kubectl("create", "-f", "-", "-n", place, *options, user=user, manifest=json.dumps(document), expect=expect)

    return run


# Decisions.


def test_an_approver_decides_in_their_own_name(create: Callable[..., str]) -> None:
    create(workflow(), "author")
    create(approval(approverGroups=["on-call"]), "approver")


def test_nobody_decides_in_the_name_of_another(create: Callable[..., str]) -> None:
    said = create(approval(approver="admin"), "approver", expect=1)
    assert "spec.approver is admin, but you are approver" in said


def test_nobody_claims_a_group_that_they_are_not_in(create: Callable[..., str]) -> None:
    said = create(approval(approverGroups=["on-call", "directors"]), "approver", expect=1)
    assert "names a group that approver is not in" in said


def test_a_right_to_create_approvals_is_not_the_right_to_approve(kubectl: Kubectl, create: Callable[..., str], namespace: str) -> None:
    kubectl("create", "role", "writer", "-n", namespace, "--verb=create", "--resource=workflowapprovals.workflowexecution.kubernaut.ai")
    kubectl("create", "rolebinding", "writer", "-n", namespace, "--role=writer", "--user=author")
    said = create(approval(approver="author"), "author", expect=1)
    assert "author may not approve or reject workflow shop" in said
    assert "ask for the role workflow-approver" in said


def test_an_author_may_not_even_create_an_approval(create: Callable[..., str]) -> None:
    assert "forbidden" in create(approval(approver="author"), "author", expect=1).lower()


@pytest.mark.parametrize("user", ["admin"])
def test_a_decision_is_neither_deleted_nor_relabelled_by_anyone(
    kubectl: Kubectl, create: Callable[..., str], namespace: str, user: str
) -> None:
    create(approval(), "approver")
    said = kubectl("delete", "wfa", "shop-by-approver", "-n", namespace, user=user, expect=1)
    assert "a decision is neither changed nor deleted" in said
    said = kubectl("label", "wfa", "shop-by-approver", "-n", namespace, "a=b", user=user, expect=1)
    assert "a decision is neither changed nor deleted" in said


def test_a_decision_goes_with_its_workflow(kubectl: Kubectl, create: Callable[..., str], namespace: str) -> None:
    create(workflow())
    uid = kubectl("get", "wfe", "shop", "-n", namespace, "-o", "jsonpath={.metadata.uid}")
    owned = approval(workflowRef={"name": "shop", "uid": uid})
    owned["metadata"]["ownerReferences"] = [owner("shop", uid)]
    create(owned, "approver")
    kubectl("delete", "wfe", "shop", "-n", namespace)
    deadline = time.monotonic() + 30
    while kubectl("get", "wfa", "-n", namespace, "-o", "name"):
        assert time.monotonic() < deadline, "the garbage collector could not delete the decision"
        time.sleep(0.2)


@pytest.mark.parametrize(
    "forged",
    [
        [owner("shop", "another")],
        [owner("other", "3f0a")],
        [{**owner("shop", "3f0a"), "kind": "WorkflowApproval"}],
        [{"apiVersion": "v1", "kind": "ConfigMap", "name": "shop", "uid": "3f0a"}],
        [owner("shop", "3f0a"), owner("shop", "another")],
    ],
    ids=["uid", "name", "kind", "group", "one-more"],
)
def test_a_decision_has_no_other_owner_than_its_workflow(create: Callable[..., str], forged: list[dict[str, str]]) -> None:
    owned = approval()
    owned["metadata"]["ownerReferences"] = forged
    said = create(owned, "approver", expect=1)
    assert "metadata.ownerReferences names another object than spec.workflowRef, WorkflowExecution shop with uid 3f0a" in said


@pytest.mark.parametrize(
    "collector",
    [
        "system:serviceaccount:kube-system:generic-garbage-collector",
        "system:serviceaccount:kube-system:namespace-controller",
        "system:kube-controller-manager",
    ],
)
def test_only_the_collectors_of_a_cluster_delete_a_decision(
    kubectl: Kubectl, create: Callable[..., str], namespace: str, collector: str
) -> None:
    right = ("--verb=get,delete", "--resource=workflowapprovals.workflowexecution.kubernaut.ai")
    kubectl("create", "role", "deleter", "-n", namespace, *right)
    kubectl("create", "rolebinding", "deleter", "-n", namespace, "--role=deleter", "--user=someone", f"--user={collector}")
    create(approval(), "approver")
    delete = ("delete", "wfa", "shop-by-approver", "-n", namespace)
    assert "a decision is neither changed nor deleted" in kubectl(*delete, "--as=someone", expect=1)
    kubectl(*delete, f"--as={collector}")


def test_a_namespace_with_decisions_and_attempts_can_be_deleted(kubectl: Kubectl, create: Callable[..., str]) -> None:
    name = f"test-{secrets.token_hex(4)}"
    kubectl("create", "namespace", name)
    document = approval()
    document["metadata"]["namespace"] = name
    create(document, "approver")
    kubectl("delete", "namespace", name, "--timeout=50s")


# Who asks, and who approved by annotation.


def test_an_author_asks_in_their_own_name_only(create: Callable[..., str]) -> None:
    create(workflow("own", requestedBy="author"), "author")
    create(workflow("unsaid"), "author")
    said = create(workflow("other", requestedBy="admin"), "author", expect=1)
    assert "spec.requestedBy is admin, but you are author" in said


def test_an_author_cannot_approve_by_annotation(kubectl: Kubectl, create: Callable[..., str], namespace: str) -> None:
    create(workflow(), "author")
    for name in ("author", "approver"):
        said = kubectl("annotate", "wfe", "shop", "-n", namespace, f"kubernaut.ai/approved-by={name}", user="author", expect=1)
        assert "kubernaut.ai/approved-by" in said
    annotated = workflow("born-approved")
    annotated["metadata"]["annotations"] = {"kubernaut.ai/approved-by": "author"}
    assert "may not set or take away the annotation" in create(annotated, "author", expect=1)


def test_an_approver_approves_by_annotation_in_their_own_name(kubectl: Kubectl, create: Callable[..., str], namespace: str) -> None:
    create(workflow(), "author")
    said = kubectl("annotate", "wfe", "shop", "-n", namespace, "kubernaut.ai/approved-by=admin", user="approver", expect=1)
    assert "says admin, but you are approver" in said
    kubectl("annotate", "wfe", "shop", "-n", namespace, "kubernaut.ai/approved-by=approver", user="approver")
    # Whoever may edit the workflow goes on as before, but cannot take the decision away.
    kubectl("annotate", "wfe", "shop", "-n", namespace, "kubernaut.ai/cancel=enough", user="author")
    said = kubectl("annotate", "wfe", "shop", "-n", namespace, "kubernaut.ai/approved-by-", user="author", expect=1)
    assert "may not set or take away" in said


def test_people_cannot_write_a_status(kubectl: Kubectl, create: Callable[..., str], namespace: str) -> None:
    create(workflow(), "author")
    patch = '{"status":{"phase":"completed"}}'
    for user in ("author", "approver", "viewer"):
        said = kubectl("patch", "wfe", "shop", "-n", namespace, "--subresource=status", "--type=merge", "-p", patch, user=user, expect=1)
        assert "forbidden" in said.lower()


# Attempts.


@pytest.mark.parametrize("user", ["author", "approver", "viewer"])
def test_people_have_no_right_to_create_an_attempt(create: Callable[..., str], user: str) -> None:
    assert "forbidden" in create(attempt(), user, expect=1).lower()


def test_even_an_administrator_does_not_create_an_attempt_by_hand(create: Callable[..., str]) -> None:
    said = create(attempt(), "admin", expect=1)
    assert "admin may not create KubernetesExecutions" in said
    assert "setting execution-creators" in said


def test_the_controller_creates_attempts(create: Callable[..., str]) -> None:
    account = f"--as=system:serviceaccount:{SYSTEM}:workflow-controller"
    create(attempt(), "admin", options=(account,))
