"""Broken questions to the gates `action` and `verify`, for every action of the slice, judged in bulk by one OPA.

Whatever is missing, mistyped, null or huge: there is an answer, it can be parsed, it never allows with a fact unknown, and an
allowed operation touches nothing but the target.
"""

from __future__ import annotations

import copy
import functools
import json
import random
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from controller import paths
from controller.core.verdict import ActionVerdict, Decision, OperationRequest, Verdict, VerifyVerdict, parse
from controller.local import programs

Json = dict[str, Any]

MUTATIONS = 220
GATES: dict[str, type[Verdict]] = {"action": ActionVerdict, "verify": VerifyVerdict}
DATA = {
    "settings": {"trusted-namespaces": ["kubernaut-system"]},
    "modules": {"actions": {}},
}
# One evaluation answers all questions; an answer that is undefined has no entry under its index.
QUERY = """{"action": {i: v | some i, q in input.action; v := data.kubernaut.gates.action.verdict with input as q},
 "verify": {i: v | some i, q in input.verify; v := data.kubernaut.gates.verify.verdict with input as q}}"""


@dataclass(frozen=True, slots=True)
class Case:
    """One action: its parameters, what it reads before and after, and the object it is about."""

    action: str
    member: str
    parameters: Json
    before: Json
    after: Json
    kind: str
    name: str = ""  # the parameter that names the target; empty: the workflow itself
    workflow_namespace: str = "shop"


def found(thing: Json) -> Json:
    return {"available": True, "found": True, "object": thing}


def listed(*items: Json) -> Json:
    return {"available": True, "found": True, "items": list(items), "truncated": False}


def template(image: str, annotations: dict[str, str] | None = None) -> Json:
    containers = [{"name": "app", "image": image, "resources": {"requests": {"cpu": "500m", "memory": "256Mi"}}}]
    metadata: Json = {"labels": {"app": "web"}} | ({"annotations": annotations} if annotations else {})
    return {"metadata": metadata, "spec": {"terminationGracePeriodSeconds": 30, "containers": containers}}


def deployment(replicas: int = 3, image: str = "web:2", annotations: dict[str, str] | None = None) -> Json:
    counts = dict.fromkeys(("replicas", "updatedReplicas", "readyReplicas", "availableReplicas"), replicas)
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": "web",
            "namespace": "shop",
            "uid": "d-1",
            "generation": 4,
            "resourceVersion": "100",
            "annotations": {"deployment.kubernetes.io/revision": "2"},
        },
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": "web"}}, "template": template(image, annotations)},
        "status": {
            "observedGeneration": 4,
            "conditions": [{"type": "Available", "status": "True"}, {"type": "Progressing", "status": "True"}],
            **counts,
        },
    }


def replicaset(revision: int, image: str) -> Json:
    return {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {
            "name": f"web-{revision}",
            "uid": f"rs-{revision}",
            "annotations": {"deployment.kubernetes.io/revision": str(revision)},
            "ownerReferences": [{"kind": "Deployment", "name": "web", "uid": "d-1", "controller": True}],
        },
        "spec": {"replicas": 1, "selector": {"matchLabels": {"app": "web"}}, "template": template(image)},
    }


def pod(name: str) -> Json:
    return {
        "metadata": {
            "name": name,
            "namespace": "shop",
            "uid": f"uid-{name}",
            "ownerReferences": [{"kind": "ReplicaSet", "name": "web-2", "uid": "rs-2", "controller": True}],
        },
        "spec": {"nodeName": "n-1", **template("web:2")["spec"]},
        "status": {
            "phase": "Running",
            "conditions": [{"type": "Ready", "status": "True"}],
            "containerStatuses": [{"name": "app", "state": {"running": {}}}],
        },
    }


def node(*, cordoned: bool = False) -> Json:
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": "n-1", "uid": "n-uid", "resourceVersion": "7"},
        "spec": {"unschedulable": True} if cordoned else {},
        "status": {"allocatable": {"cpu": "4", "memory": "8Gi"}, "conditions": [{"type": "Ready", "status": "True"}]},
    }


def configmap(level: str) -> Json:
    metadata = {"name": "settings", "namespace": "shop", "uid": "c-1", "resourceVersion": "9"}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"level": level}}


def job() -> Json:
    status = {"conditions": [{"type": "Complete", "status": "True"}]}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "j", "namespace": "shop", "uid": "j-1"}, "status": status}


def _cases() -> list[Case]:
    pods = listed(pod("a"), pod("b"), pod("c"))
    web = {"namespace": "shop", "deployment": "web"}
    room = {"nodes": listed(node()), "cluster_pods": pods}
    before = {"deployment": found(deployment()), "pods": pods}
    back = before | {"replicasets": listed(replicaset(1, "web:1"), replicaset(2, "web:2"))}
    patched = found(deployment(4))
    owned = {"owner/ReplicaSet/web-2": found(replicaset(2, "web:2")), "pods/ReplicaSet/web-2": listed(pod("b"))}

    def after(now: Json) -> Json:
        return {"deployment": found(now), "pods": pods}

    def on_deployment(action: str, member: str, more: Json, facts: Json, now: Json) -> Case:
        return Case(action, member, web | more, facts, after(now), "Deployment", "deployment")

    def on_node(action: str, member: str, *, cordon: bool) -> Case:
        facts = ({"node": found(node(cordoned=not cordon))}, {"node": found(node(cordoned=cordon))})
        return Case(action, member, {"nodeName": "n-1"}, *facts, "Node", "nodeName", "kubernaut-system")

    return [
        on_deployment("scale_deployment", "scaleDeployment", {"replicas": 5}, before | room, deployment(5)),
        on_deployment("scale_to_previous", "scaleToPrevious", {"previousReplicas": 2}, before, deployment(2)),
        on_deployment("restart_deployment", "restartDeployment", {}, before, deployment(annotations={"kubernaut.ai/restarted-by": "a-1"})),
        on_deployment("rollback_deployment", "rollbackDeployment", {"revision": 0}, back, deployment(image="web:1")),
        on_deployment("restore_previous_deployment", "restorePreviousDeployment", {"revision": 1}, back, deployment(image="web:1")),
        on_deployment("update_image", "updateImage", {"container": "app", "newImage": "web:3"}, before, deployment(image="web:3")),
        on_node("cordon_node", "cordonNode", cordon=True),
        on_node("uncordon_node", "uncordonNode", cordon=False),
        Case(
            "patch_resource",
            "patchResource",
            {"apiVersion": "apps/v1", "kind": "Deployment", "namespace": "shop", "name": "web", "patch": {"spec": {"replicas": 4}}},
            {"object": found(deployment()), "preview": patched},
            {"object": patched, "pods": pods},
            "Deployment",
            "name",
        ),
        Case(
            "update_configmap",
            "updateConfigmap",
            {"namespace": "shop", "name": "settings", "dataUpdates": {"level": "debug"}},
            {"configmap": found(configmap("info"))},
            {"configmap": found(configmap("debug"))},
            "ConfigMap",
            "name",
        ),
        Case("restart_pod", "restartPod", {"namespace": "shop", "podName": "a"}, {"pod": found(pod("a"))}, owned, "Pod", "podName"),
        Case(
            "verify_health",
            "verifyHealth",
            {"kind": "Deployment", "namespace": "shop", "name": "web"},
            {"workload": found(deployment())},
            {"workload": found(deployment()), "pods": pods},
            "Deployment",
            "name",
        ),
        Case(
            "wait_for_condition",
            "waitForCondition",
            {"apiVersion": "batch/v1", "kind": "Job", "namespace": "shop", "name": "j", "condition": "Complete"},
            {},
            {"object": found(job())},
            "Job",
            "name",
        ),
        Case("notify_only", "notifyOnly", {"message": "look", "severity": "warning"}, {}, {}, "WorkflowExecution"),
    ]


CASES = {case.action: case for case in _cases()}


def question(case: Case, gate: str, operations: list[Json]) -> Json:
    """Ask a question whose answer is allow."""
    facts = case.before if gate == "action" else case.after
    return copy.deepcopy(
        {
            "contract": "v1",
            "gate": gate,
            "now": "2026-01-01T00:10:00Z",
            "workflow": {"metadata": {"name": "w", "namespace": case.workflow_namespace, "uid": "w-1"}, "spec": {}, "status": {}},
            "step": {"stepNumber": 1, "name": "s", "action": case.action, "parameters": {case.member: case.parameters}},
            "attempt": {"name": "w-step-1", "uid": "a-1", "number": 0, "owned": True, "operations": operations},
            "facts": facts,
        }
    )


def _places(document: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inside = document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    return [place for key, value in inside for place in [(*at, key), *_places(value, (*at, key))]]


def mutated(base: Json, chance: random.Random) -> Json:
    """Damage a question in one to three places."""
    broken = copy.deepcopy(base)
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        *way, last = chance.choice(_places(broken))
        holder: Any = functools.reduce(lambda inside, key: inside[key], way, broken)
        match chance.randrange(6):
            case 0 | 1:
                del holder[last]
            case 2:
                holder[last] = None
            case 3:
                holder[last] = chance.choice((10**30, -(10**30), "x" * 20_000, [{"name": "x"}] * 500, {str(i): i for i in range(500)}))
            case _:
                holder[last] = chance.choice((7, -1, 0.5, "", "other", "../x", True, False, [], {}, [None], {"name": "other"}))
    return broken


def judged(questions: dict[str, list[Json]], folder: Path) -> dict[str, list[Json | None]]:
    """Let one OPA answer all questions of both gates; None where the answer is undefined."""
    data = folder / "data.json"
    data.write_text(json.dumps({"kubernaut": DATA}), encoding="utf-8")
    policies = [paths.POLICIES / part for part in ("lib", "actions", "rules", "gates/action.rego", "gates/verify.rego")]
    command = [
        str(programs.provide("opa")["opa"]),
        "eval",
        "--stdin-input",
        "--format=json",
        *(f"--data={path}" for path in [*policies, data]),
    ]
    done = subprocess.run([*command, QUERY], input=json.dumps(questions), capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, (done.stdout + done.stderr)[:1200]
    answers = json.loads(done.stdout)["result"][0]["expressions"][0]["value"]
    return {gate: [answers[gate].get(str(index)) for index in range(len(asked))] for gate, asked in questions.items()}


Answered = dict[tuple[str, str], list[tuple[Json, Json | None]]]


def answered(questions: dict[tuple[str, str], list[Json]], folder: Path) -> Answered:
    """Judge questions by (action, gate), all at once."""
    in_bulk: dict[str, list[Json]] = {gate: [q for (_, g), asked in questions.items() if g == gate for q in asked] for gate in GATES}
    answers = {gate: iter(verdicts) for gate, verdicts in judged(in_bulk, folder).items()}
    return {key: [(asked, next(answers[key[1]])) for asked in group] for key, group in questions.items()}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Answered:
    """The undamaged questions, answered; `verify` is asked with the operations that `action` gave."""
    folder = tmp_path_factory.mktemp("whole")
    first = answered({(name, "action"): [question(case, "action", [])] for name, case in CASES.items()}, folder)
    operations = {name: (first[name, "action"][0][1] or {}).get("operations", []) for name in CASES}
    return first | answered({(name, "verify"): [question(case, "verify", operations[name])] for name, case in CASES.items()}, folder)


@pytest.fixture(scope="module")
def broken(whole: Answered, tmp_path_factory: pytest.TempPathFactory) -> Answered:
    """The damaged questions, answered."""
    chances = {key: random.Random("/".join(key)) for key in whole}  # noqa: S311 - repeatable, not secret
    questions = {key: [mutated(asked[0][0], chances[key]) for _ in range(MUTATIONS)] for key, asked in whole.items()}
    return answered(questions, tmp_path_factory.mktemp("broken"))


every = pytest.mark.parametrize(("action", "gate"), [(action, gate) for action in sorted(CASES) for gate in GATES])


@every
def test_the_undamaged_question_is_allowed(action: str, gate: str, whole: Answered) -> None:
    ((_, verdict),) = whole[action, gate]
    assert verdict is not None
    assert (verdict["decision"], verdict["reasons"]) == ("allow", [])


@every
def test_every_broken_question_has_an_answer_that_can_be_parsed(action: str, gate: str, broken: Answered) -> None:
    assert len(broken[action, gate]) >= 200
    for asked, verdict in broken[action, gate]:
        assert verdict is not None, f"undefined for {json.dumps(asked)[:2000]}"
        parse(GATES[gate], verdict)


@every
def test_nothing_is_allowed_while_a_fact_is_unknown(action: str, gate: str, broken: Answered) -> None:
    for asked, verdict in broken[action, gate]:
        answer = parse(GATES[gate], verdict)
        if answer.decision is Decision.ALLOW:
            wanted = [request.id for request in answer.facts if not request.optional]
            assert [name for name in wanted if asked["facts"][name]["available"] is not True] == []


@pytest.mark.parametrize("action", sorted(CASES))
def test_an_allowed_operation_touches_nothing_but_the_target(action: str, broken: Answered) -> None:
    case = CASES[action]
    for asked, verdict in broken[action, "action"]:
        answer = parse(ActionVerdict, verdict)
        if answer.decision is not Decision.ALLOW:
            assert answer.operations == []
            continue
        for request in [request for operation in answer.operations for request in (operation.do, operation.undo) if request]:
            parameters = asked["step"]["parameters"][case.member]
            here = asked["workflow"]["metadata"]["namespace"]
            namespace = None if case.kind == "Node" else parameters.get("namespace") or here
            assert (request.kind, request.namespace, request.name) == (case.kind, namespace, parameters[case.name])
            assert here in {request.namespace, "kubernaut-system"}
            assert _names_only_the_target(request)


def _names_only_the_target(request: OperationRequest) -> bool:
    """Tell whether the body, where it is an object, says nothing of another one."""
    metadata = request.body.get("metadata", {}) if isinstance(request.body, dict) else {}
    return metadata.get("name", request.name) == request.name and metadata.get("namespace", request.namespace) == request.namespace
