"""One person's decision about the plan of a workflow that waits for approval: what `approve` and `reject` share."""

from __future__ import annotations

import argparse
from typing import Any, Literal

from controller.cli._exits import CommandError, Exit
from controller.cli._output import print_answer
from controller.cli._workflow import Document, add_workflow_arguments, on_cluster, read_workflow, refusals, state_of
from controller.cluster.client import Cluster
from controller.cluster.kinds import APPROVAL, WORKFLOW, Kind
from controller.core.phases import TERMINAL, VALIDATING

Decision = Literal["Approved", "Rejected"]

_VERBS = {"Approved": "approve", "Rejected": "reject"}
# Kept out of the table of kinds: no policy has any business with it.
_SELF_REVIEW = Kind("authentication.k8s.io/v1", "SelfSubjectReview", "selfsubjectreviews", namespaced=False)
_EVERYONE = "system:authenticated"
_MOST_GROUPS = 100


def add_decision(commands: argparse._SubParsersAction[argparse.ArgumentParser], decision: Decision, description: str) -> None:
    """Declare the command that makes this decision."""
    parser = commands.add_parser(_VERBS[decision], description=description, help=description)
    add_workflow_arguments(parser)
    parser.add_argument("--comment", help="for the record: why")
    parser.set_defaults(run=lambda arguments: on_cluster(arguments, lambda cluster: _decide(cluster, arguments, decision)))


async def _decide(cluster: Cluster, arguments: argparse.Namespace, decision: Decision) -> int:
    namespace, name, verb = arguments.namespace, arguments.name, _VERBS[decision]
    workflow = await read_workflow(cluster, namespace, name)
    _expect_waiting(workflow, verb)
    with refusals(f"{verb} workflow {namespace}/{name}", "workflow-approver", namespace):
        user = await who_am_i(cluster)
        body = _approval(workflow, user, decision, arguments.comment)
        made = await _standing(cluster, body)
        already = made is not None
        if made is None:
            made = await cluster.create(APPROVAL, namespace, body, strict=True)
    spec = made["spec"]
    document = {
        "workflow": name,
        "namespace": namespace,
        "decision": spec["decision"],
        "approver": spec["approver"],
        "planHash": spec["planHash"],
        "approval": made["metadata"]["name"],
        "new": not already,
    }
    told = f"{spec['decision'].lower()} by {spec['approver']}" + (" already" if already else "")
    print_answer(
        arguments.output,
        document,
        [f"workflow {namespace}/{name}: plan {spec['planHash']} {told} ({APPROVAL.kind} {document['approval']})"],
    )
    return Exit.DONE


def _expect_waiting(workflow: Document, verb: str) -> None:
    """Refuse to decide where nobody is asked: a decision speaks for a plan that somebody can look at."""
    metadata, status = workflow["metadata"], workflow.get("status") or {}
    name = f"{metadata['namespace']}/{metadata['name']}"
    phase = status.get("phase", "")
    if phase in TERMINAL:
        raise CommandError(f"cannot {verb} workflow {name}: it has ended: {state_of(workflow)}", Exit.NO)
    asked = (status.get("approval") or {}).get("requestedAt")
    if phase != VALIDATING or not asked:
        late = "it waits for no approval any more" if asked else "it is not waiting for approval yet"
        hint = f"`phasegate watch {metadata['name']} -n {metadata['namespace']}` tells when it does"
        raise CommandError(f"cannot {verb} workflow {name}: {late}: {state_of(workflow)}" + ("" if asked else f"; {hint}"), Exit.NO)


async def who_am_i(cluster: Cluster) -> Document:
    """The kubeconfig's user as the API server sees it: {username, groups}."""
    review = {"apiVersion": _SELF_REVIEW.api_version, "kind": _SELF_REVIEW.kind}
    user: Document = (await cluster.create(_SELF_REVIEW, None, review))["status"]["userInfo"]
    return user


def _approval(workflow: Document, user: Document, decision: Decision, comment: str | None) -> Document:
    metadata = workflow["metadata"]
    spec: dict[str, Any] = {
        "workflowRef": {"name": metadata["name"], "uid": metadata["uid"]},
        "decision": decision,
        "planHash": workflow["status"]["approval"]["planHash"],
        "approver": user["username"],
    }
    if groups := [group for group in user.get("groups") or [] if group != _EVERYONE][:_MOST_GROUPS]:
        spec["approverGroups"] = groups
    if comment:
        spec["comment"] = comment
    # By this the decision goes with its workflow; admission takes no other owner.
    owner = {
        "apiVersion": WORKFLOW.api_version,
        "kind": WORKFLOW.kind,
        **spec["workflowRef"],
        "controller": False,
        "blockOwnerDeletion": False,
    }
    return {
        "apiVersion": APPROVAL.api_version,
        "kind": APPROVAL.kind,
        "metadata": {"generateName": f"{metadata['name']}-", "namespace": metadata["namespace"], "ownerReferences": [owner]},
        "spec": spec,
    }


async def _standing(cluster: Cluster, body: Document) -> Document | None:
    """This person's latest decision about this very plan, if it is the same one."""
    spec = body["spec"]
    page = await cluster.list(APPROVAL, body["metadata"]["namespace"])
    same = ("workflowRef", "planHash", "approver")
    own = [a for a in page.items if all(a["spec"].get(key) == spec[key] for key in same)]
    latest = max(own, key=lambda a: (a["metadata"]["creationTimestamp"], int(a["metadata"]["resourceVersion"])), default=None)
    return latest if latest is not None and latest["spec"]["decision"] == spec["decision"] else None
