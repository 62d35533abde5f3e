"""The demo's three workflows under a controller that is killed again and again: same end, each operation once."""

from __future__ import annotations

import asyncio
import random
import re
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.forking import ForkServer
from support.history import watched
from support.patience import until
from support.workflows import DEPLOYMENT, known

from controller.cluster.client import Cluster, connect
from controller.cluster.kinds import APPROVAL, CONFIG_MAP, EXECUTION, WORKFLOW, Kind
from controller.core.phases import TERMINAL
from controller.local.plane import Plane
from controller.paths import ROOT

Document = dict[str, Any]
EXAMPLES = ROOT / "examples" / "payment-api"
KILLS = 6
# Its steps 2 and 3 patch one Deployment at the same time.
CONTENDED = "1-remediation.yaml"


def documents(name: str, namespace: str) -> list[Document]:
    """An example, moved into a namespace of the test's own."""
    text = (EXAMPLES / name).read_text()
    found = list(yaml.safe_load_all(text))
    for document in found:
        if document["kind"] == "Namespace":
            document["metadata"]["name"] = namespace
        else:
            document["metadata"]["namespace"] = namespace
    return found


@dataclass(slots=True)
class History:
    """Every value that each field of interest has had, in order, without repetitions; and every attempt that was made."""

    fields: dict[str, list[Any]] = field(default_factory=dict)
    attempts: set[str] = field(default_factory=set)
    status: Document = field(default_factory=dict)

    def note(self, name: str, value: object) -> None:
        seen = self.fields.setdefault(name, [])
        if not seen or seen[-1] != value:
            seen.append(value)

    def take(self, kind: Kind, what: str, obj: Document) -> None:
        if what == "DELETED":
            return
        name = obj["metadata"]["name"]
        if kind is EXECUTION:
            self.attempts.add(name)
        elif kind is WORKFLOW:
            self.status = obj.get("status") or {}
        elif kind is CONFIG_MAP and name == "payment-config":
            self.note(name, obj["data"])
        elif kind is DEPLOYMENT:
            container = obj["spec"]["template"]["spec"]["containers"][0]
            marks = obj["spec"]["template"]["metadata"].get("annotations") or {}
            self.note(f"{name} replicas", obj["spec"]["replicas"])
            self.note(f"{name} image", container["image"])
            self.note(f"{name} memory", (container.get("resources") or {}).get("limits"))
            self.note(f"{name} is marked as restarted", bool(marks))

    def outcome(self, *, contended: bool) -> Document:
        """What must be the same however often the controller died.

        Where two steps write one object side by side (``contended``), whoever was interrupted may find neither the old state nor the new
        one, which is a conflict that the step's retries are for; there, and only there, the number of tries is left out. That nothing was
        done twice is seen in the fields.
        """
        return {
            "phase": self.status.get("phase"),
            "steps": {
                e["stepNumber"]: (e["status"], None if contended else e.get("attempts")) for e in self.status.get("stepStatuses") or []
            },
            "failure": (self.status.get("failureReason"), self.status.get("failedStep")),
            "attempts": {re.sub(r"-r\d+$", "", name) for name in self.attempts} if contended else self.attempts,
            "fields": self.fields,
        }


async def approve(cluster: Cluster, namespace: str, history: History) -> None:
    """Say yes as soon as the workflow waits for it."""
    await until(
        lambda: (history.status.get("approval") or {}).get("requestedAt") or history.status.get("phase") in TERMINAL, 40, "a request"
    )
    if history.status.get("phase") in TERMINAL or not history.status["approval"].get("required"):
        return
    workflow = (await cluster.list(WORKFLOW, namespace)).items[0]
    name, uid = workflow["metadata"]["name"], workflow["metadata"]["uid"]
    spec = {
        "workflowRef": {"name": name, "uid": uid},
        "decision": "Approved",
        "planHash": history.status["executionPlan"]["planHash"],
        "approver": "approver",
    }
    body = {"apiVersion": APPROVAL.api_version, "kind": APPROVAL.kind, "metadata": {"name": f"{name}-yes"}, "spec": spec}
    await cluster.create(APPROVAL, namespace, body)


@dataclass(frozen=True, slots=True)
class Stage:
    admin: Cluster
    approver: Cluster
    forks: ForkServer
    kubeconfig: Path


async def play(stage: Stage, example: str, *, kills: int, seed: int) -> Document:
    """Run one example from a fresh application on, and kill the controller ``kills`` times at moments that ``seed`` picks."""
    namespace, rng = f"demo-{secrets.token_hex(4)}", random.Random(seed)  # noqa: S311 - repeatable moments
    for document in documents("app.yaml", namespace):
        kind = known(document["apiVersion"], document["kind"])
        await stage.admin.create(kind, None if document["kind"] == "Namespace" else namespace, document)
    history = History()
    async with watched(stage.admin, namespace, (WORKFLOW, EXECUTION, CONFIG_MAP, DEPLOYMENT), history.take) as caught_up:
        await stage.admin.create(WORKFLOW, namespace, documents(example, namespace)[0])
        approval = asyncio.create_task(approve(stage.approver, namespace, history))
        pid = stage.forks.start(stage.kubeconfig)
        try:
            for _ in range(kills):
                await asyncio.sleep(rng.uniform(0.3, 0.9))
                if history.status.get("phase") in TERMINAL:
                    break
                stage.forks.kill(pid)
                pid = stage.forks.start(stage.kubeconfig)
            await approval
            await until(lambda: history.status.get("phase") in TERMINAL, 60, f"the end of {example}")
            await asyncio.sleep(0.1)
            await caught_up()
        finally:
            approval.cancel()
            stage.forks.kill(pid)
        outcome = history.outcome(contended=example == CONTENDED)
    await stage.admin.delete(known("v1", "Namespace"), None, namespace)
    return outcome


@pytest.mark.parametrize("example", ["1-remediation.yaml", "2-forbidden.yaml", "3-eleven-steps.yaml"])
async def test_a_demo_workflow_ends_the_same_however_often_the_controller_is_killed(plane: Plane, forks: ForkServer, example: str) -> None:
    admin, approver = await connect(plane.kubeconfig), await connect(plane.users["approver"])
    async with admin, approver:
        stage = Stage(admin, approver, forks, plane.controller_kubeconfig)
        undisturbed = await play(stage, example, kills=0, seed=0)
        assert undisturbed["phase"] in TERMINAL
        assert await play(stage, example, kills=KILLS, seed=1) == undisturbed
