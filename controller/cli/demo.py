"""`phasegate demo`: three workflows on an embedded control plane, told as they happen, and every promise checked."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from controller import paths
from controller.cli._follow import changes, statuses
from controller.cluster.client import Cluster, connect
from controller.cluster.errors import ApiError
from controller.cluster.kinds import APPROVAL, CONFIG_MAP, EXECUTION, WORKFLOW, kind_of
from controller.local import plane as local
from controller.local.programs import provide
from controller.settings import SETTINGS_CONFIG_MAP, SYSTEM_NAMESPACE

Document = dict[str, Any]

_EXAMPLES = paths.ROOT / "examples" / "payment-api"
_NAMESPACE = "payment"
_WORKFLOW_SECONDS = 60.0
# What the examples ask for.
_SCALED_TO = 5
_FAILING_STEP = 6


class PromiseBrokenError(Exception):
    """Something was not as the demo says it is."""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the closing table."""

    workflow: str
    outcome: str
    steps: str
    gates: int
    seconds: float


@dataclass(slots=True)
class Stage:
    """What the demo plays on."""

    plane: local.Plane
    admin: Cluster
    author: Cluster
    approver: Cluster
    began: float = field(default_factory=time.monotonic)

    def say(self, text: str = "", *, mark: str = " ") -> None:
        """Print one line with the time since the start."""
        print(f"{time.monotonic() - self.began:6.1f}s {mark} {text}", flush=True)

    def title(self, text: str) -> None:
        """Print a heading."""
        print(f"\n{_bold(text)}", flush=True)

    def promise(self, kept: object, what: str) -> None:
        """Check one thing that the demo claims.

        Raises:
            PromiseBrokenError: it is not so.
        """
        if not kept:
            raise PromiseBrokenError(what)
        self.say(_green(f"✔ {what}"))


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    parser = commands.add_parser("demo", help="three workflows on a control plane of its own, live")
    parser.add_argument("--keep", action="store_true", help="leave it running afterwards")
    parser.add_argument("--state", type=Path, help="state folder of the control plane (default: one in the temporary folder)")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Play the demo; 0 if everything was as it says."""
    state = arguments.state or Path(tempfile.gettempdir()) / f"phasegate-demo-{os.getuid()}"
    print(_bold("Phasegate: a workflow runs on a real cluster, and a policy decides every move"))
    provide(*local.PROGRAMS)
    began = time.monotonic()
    print(
        f"control plane in {state}: etcd, kube-apiserver, controller-manager, scheduler, two simulated nodes, OPA, the controller …",
        flush=True,
    )
    local.down(state, purge=True)
    plane = local.up(state)
    print(f"up after {time.monotonic() - began:.1f} s", flush=True)
    try:
        rows = asyncio.run(_play(plane, began))
    except (PromiseBrokenError, TimeoutError, ApiError) as exc:
        print(_red(f"\n✘ not as promised: {exc}"), file=sys.stderr)
        print(f"logs: {plane.logs}", file=sys.stderr)
        return 1
    finally:
        if not arguments.keep:
            local.down(state)
    _table(rows)
    _next_steps(plane, state, keep=arguments.keep)
    return 0


async def _play(plane: local.Plane, began: float) -> list[Row]:
    users = {name: await connect(plane.users[name]) for name in ("admin", "author", "approver")}
    try:
        stage = Stage(plane, users["admin"], users["author"], users["approver"], began)
        await _prepare(stage)
        return [await _remediation(stage), await _forbidden(stage), await _eleven_steps(stage)]
    finally:
        for cluster in users.values():
            await cluster.close()


async def _prepare(stage: Stage) -> None:
    stage.title("A sample application, and a short monitoring window")
    for document in _documents("app.yaml"):
        await _apply(stage.admin, document)
    body = {"data": {"monitoring-stability": "2s"}}
    await stage.admin.patch(CONFIG_MAP, SYSTEM_NAMESPACE, SETTINGS_CONFIG_MAP, body, patch_type="merge")
    stage.say("setting monitoring-stability: 2s instead of 1m, so that you need not wait (only here)")
    await _until_ready(stage, "payment-api", 2)
    await _until_ready(stage, "payment-worker", 1)
    stage.say("payment-api 2/2 and payment-worker 1/1 are ready")


# the three workflows


async def _remediation(stage: Stage) -> Row:
    stage.title("1. Remediation: scale-deployment → (restart-deployment ∥ patch-resource) → verify-health")
    row, end = await _follow(stage, "1-remediation.yaml")
    stage.promise(end["status"]["phase"] == "completed", "completed")
    deployment = await _deployment(stage, "payment-api")
    status = deployment["status"]
    stage.promise(status.get("readyReplicas") == deployment["spec"]["replicas"] == _SCALED_TO, "payment-api really has 5 ready replicas")
    limit = deployment["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]["memory"]
    stage.promise(limit == "2Gi", "its memory limit really is 2Gi")
    batches = end["status"]["executionPlan"]["batches"]
    stage.promise([b["steps"] for b in batches] == [[1], [2, 3], [4]], "steps 2 and 3 were one batch")
    return row


async def _forbidden(stage: Stage) -> Row:
    stage.title("2. A step that policy forbids: to zero replicas, in production")
    before = await _deployment(stage, "payment-api")
    row, end = await _follow(stage, "2-forbidden.yaml")
    status = end["status"]
    reason = status["gates"]["safety"]["reasons"][0]
    stage.say(f"code    {reason['code']}")
    stage.say(f"message {reason['message']}")
    stage.say(f"remedy  {reason.get('remedy', '')}")
    stage.promise(status["phase"] == "failed" and not status.get("executionStartTime"), "refused in validating")
    stage.promise(reason["code"] == "scale_to_zero_in_production" and bool(reason.get("remedy")), "by a rule that says what would be right")
    after = await _deployment(stage, "payment-api")
    stage.promise(after["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"], "before anything was touched")
    _kubectl(stage, "get", "wfe", "-n", _NAMESPACE, "-o", "wide")
    return row


async def _eleven_steps(stage: Stage) -> Row:
    stage.title("3. Eleven steps: a person has to say yes; the sixth step fails; what was done is undone")
    before = await _snapshot(stage)
    follower = asyncio.create_task(_follow(stage, "3-eleven-steps.yaml"))
    try:
        waiting = await _until(stage, "payment-upgrade", lambda s: bool((s.get("approval") or {}).get("requestedAt")))
        await _approve(stage, waiting)
        row, end = await follower
    finally:
        follower.cancel()
    status = end["status"]
    stage.promise(status["phase"] == "rolled_back", "rolled back")
    stage.promise(status["failedStep"] == _FAILING_STEP, "because of step 6")
    starts = {e["stepNumber"]: e["startTime"] for e in status["stepStatuses"] if e.get("startTime")}
    ends = {e["stepNumber"]: e["endTime"] for e in status["stepStatuses"] if e.get("endTime")}
    first, second = sorted((1, 2), key=lambda n: starts[n])
    stage.promise(starts[second] >= ends[first], "the team's rule held: steps 1 and 2 could run side by side, and ran one at a time")
    undone = await _undo_order(stage)
    stage.promise(undone == [6, 5, 4, 3, 2, 1], f"undone in reverse order: {' '.join(map(str, undone))}")
    await _until_ready(stage, "payment-api", before["payment-api"]["replicas"])
    stage.promise(await _snapshot(stage) == before, "every object is as it was")
    return row


async def _approve(stage: Stage, workflow: Document) -> None:
    """Add a team's rule while the workflow waits, let one user be refused, and another approve."""
    await _apply(stage.admin, _documents("team-rule.yaml")[0])
    stage.say("applied examples/payment-api/team-rule.yaml: a ConfigMap with `limit contains 1`", mark="+")
    status = await _policy_status(stage, "payment-team-rules")
    stage.say(f"the rule is {status['state']} in revision {status['revision']}")
    try:
        await _decide(stage.author, workflow, "author")
    except ApiError as exc:
        stage.say(f"author tries to approve: {exc.message}", mark="✘")
    else:
        raise PromiseBrokenError("a user without the right could approve")
    await _decide(stage.approver, workflow, "approver")
    stage.say("approver approves", mark="✔")


async def _decide(cluster: Cluster, workflow: Document, user: str) -> None:
    metadata = workflow["metadata"]
    body = {
        "apiVersion": APPROVAL.api_version,
        "kind": APPROVAL.kind,
        "metadata": {"name": f"{metadata['name']}-{user}", "namespace": metadata["namespace"]},
        "spec": {
            "workflowRef": {"name": metadata["name"], "uid": metadata["uid"]},
            "decision": "Approved",
            "planHash": workflow["status"]["executionPlan"]["planHash"],
            "approver": user,
            "comment": "looks right",
        },
    }
    await cluster.create(APPROVAL, metadata["namespace"], body)


# looking


async def _follow(stage: Stage, example: str) -> tuple[Row, Document]:
    """Apply a workflow as the author and tell what it does until it has ended."""
    workflow = _documents(example)[0]
    name = workflow["metadata"]["name"]
    began = time.monotonic()
    await stage.author.create(WORKFLOW, _NAMESPACE, workflow)
    stage.say(f"author applies examples/payment-api/{example}", mark="+")
    before: Mapping[str, Any] = {}
    end = workflow
    async for seen in statuses(stage.author, _NAMESPACE, name, seconds=_WORKFLOW_SECONDS):
        end = seen
        for change in changes(before, seen.get("status") or {}):
            stage.say(change.text, mark=change.mark)
        before = seen.get("status") or {}
    status = end["status"]
    done = f"{status.get('completedSteps', 0)}/{status.get('totalSteps', len(workflow['spec']['workflowDefinition']['steps']))}"
    gates = await _gates_asked(stage, name, status)
    return Row(name, status["phase"], done, gates, time.monotonic() - began), end


async def _gates_asked(stage: Stage, name: str, status: Document) -> int:
    """Count the distinct gate decisions that are on record for a workflow and its attempts."""
    attempts = (await stage.admin.list(EXECUTION, _NAMESPACE, label_selector=f"kubernaut.ai/workflow={name}")).items
    return len(status.get("gates") or {}) + sum(len((a.get("status") or {}).get("gates") or {}) for a in attempts)


async def _undo_order(stage: Stage) -> list[int]:
    page = await stage.admin.list(EXECUTION, _NAMESPACE, label_selector="kubernaut.ai/workflow=payment-upgrade,kubernaut.ai/rollback=true")
    done = [a for a in page.items if (a.get("status") or {}).get("phase") == "completed"]
    return [a["spec"]["stepNumber"] for a in sorted(done, key=lambda a: a["status"]["completionTime"])]


async def _snapshot(stage: Stage) -> Document:
    """What the workflow may touch: replicas, pod templates, ConfigMap data."""
    taken: Document = {}
    for name in ("payment-api", "payment-worker"):
        deployment = await _deployment(stage, name)
        taken[name] = {"replicas": deployment["spec"]["replicas"], "template": deployment["spec"]["template"]}
    taken["payment-config"] = (await stage.admin.get(CONFIG_MAP, _NAMESPACE, "payment-config"))["data"]
    return taken


async def _deployment(stage: Stage, name: str) -> Document:
    kind = kind_of("apps/v1", "Deployment")
    assert kind is not None
    return await stage.admin.get(kind, _NAMESPACE, name)


async def _until_ready(stage: Stage, name: str, replicas: int) -> None:
    deadline = time.monotonic() + _WORKFLOW_SECONDS
    while time.monotonic() < deadline:
        deployment = await _deployment(stage, name)
        status = deployment.get("status") or {}
        settled = status.get("observedGeneration") == deployment["metadata"]["generation"]
        if settled and status.get("readyReplicas") == status.get("updatedReplicas") == status.get("replicas") == replicas:
            return
        await asyncio.sleep(0.1)
    raise TimeoutError(f"Deployment {_NAMESPACE}/{name} did not reach {replicas} ready replicas")


async def _until(stage: Stage, name: str, holds: Callable[[Document], object]) -> Document:
    deadline = time.monotonic() + _WORKFLOW_SECONDS
    while time.monotonic() < deadline:
        try:
            workflow = await stage.author.get(WORKFLOW, _NAMESPACE, name)
        except ApiError:
            workflow = {}
        if holds(workflow.get("status") or {}):
            return workflow
        await asyncio.sleep(0.05)
    raise TimeoutError(f"workflow {name} did not come so far")


async def _policy_status(stage: Stage, name: str) -> Document:
    """Wait until the loader has said what became of a policy ConfigMap."""
    deadline = time.monotonic() + _WORKFLOW_SECONDS
    while time.monotonic() < deadline:
        config_map = await stage.admin.get(CONFIG_MAP, SYSTEM_NAMESPACE, name)
        if text := (config_map["metadata"].get("annotations") or {}).get("kubernaut.ai/policy-status"):
            status: Document = json.loads(text)
            if status["state"] == "active":
                return status
            if status["state"] == "rejected":
                raise PromiseBrokenError(f"the rule was refused: {status['errors']}")
        await asyncio.sleep(0.02)
    raise TimeoutError(f"ConfigMap {name} was not judged")


async def _apply(cluster: Cluster, document: Document) -> None:
    kind = kind_of(document["apiVersion"], document["kind"])
    assert kind is not None
    metadata = document["metadata"]
    await cluster.patch(kind, metadata.get("namespace"), metadata["name"], document, patch_type="apply", force=True)


def _documents(example: str) -> list[Document]:
    return list(yaml.safe_load_all((_EXAMPLES / example).read_text(encoding="utf-8")))


# telling


def _kubectl(stage: Stage, *arguments: str) -> None:
    kubectl = provide("kubectl")["kubectl"]
    stage.say(_bold(f"$ kubectl {' '.join(arguments)}"))
    done = subprocess.run([kubectl, "--kubeconfig", stage.plane.users["author"], *arguments], capture_output=True, text=True, check=False)
    for line in (done.stdout + done.stderr).splitlines():
        print(f"        {line}")


def _table(rows: list[Row]) -> None:
    print(_bold(f"\n{'workflow':<26} {'outcome':<12} {'steps':<7} {'gates asked':>11} {'duration':>9}"))
    for row in rows:
        print(f"{row.workflow:<26} {row.outcome:<12} {row.steps:<7} {row.gates:>11} {row.seconds:>8.1f}s")


def _next_steps(plane: local.Plane, state: Path, *, keep: bool) -> None:
    kubectl = provide("kubectl")["kubectl"]
    print(_bold("\nWhat to try next"))
    if keep:
        print(f"  {kubectl} --kubeconfig {plane.users['author']} get wfe,ke -n {_NAMESPACE}")
        print(f"  {kubectl} --kubeconfig {plane.users['author']} describe wfe payment-upgrade -n {_NAMESPACE}")
        print(f"  .venv/bin/phasegate local down --state {state} --purge")
    else:
        print("  make demo KEEP=1                                  the same, and it keeps running for you to look at")
        print("  .venv/bin/phasegate local up --state .local       a control plane of your own")
        print("  less policies/actions/scale_deployment.rego       one action, whole, in one file")


def _bold(text: str) -> str:
    return _styled(text, "1")


def _green(text: str) -> str:
    return _styled(text, "32")


def _red(text: str) -> str:
    return _styled(text, "31")


def _styled(text: str, code: str) -> str:
    return f"\x1b[{code}m{text}\x1b[0m" if sys.stdout.isatty() and "NO_COLOR" not in os.environ else text
