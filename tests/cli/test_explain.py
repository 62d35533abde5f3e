"""`phasegate explain`: why a workflow waits or failed, from what is on record, and against the real control plane."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from support.commands import Phasegate, Said
from support.controller import ControllerProcess
from support.planes import kubeconfig
from support.workflows import (
    SYSTEM,
    World,
    chain,
    condition,
    config_map,
    delete,
    doomed,
    is_waiting,
    phase,
    seen_by,
    states,
    step,
    tell,
    told,
    waiting,
    workflow,
    write,
)

from controller.cli import explain as command
from controller.cli._explain import explain
from controller.cli._explanation import Explanation
from controller.cluster.kinds import CONFIG_MAP, EXECUTION, WORKFLOW
from controller.core.times import instant
from controller.local.plane import Plane

Document = dict[str, Any]

NOW = instant("2026-11-21T10:01:00Z")
BEGAN = "2026-11-21T10:00:00Z"
FACT = "deployment: get apps/v1 Deployment shop/web: found, resourceVersion 123"


# from what is on record


def seen(*steps: Document, spec: Document | None = None, metadata: Document | None = None, **status: Any) -> Document:
    document = workflow("w", *(steps or (tell(),)), **(spec or {}))
    document["metadata"] |= {"namespace": "shop", "uid": "u", "creationTimestamp": BEGAN, **(metadata or {})}
    document["status"] = {"phase": "executing", "startTime": BEGAN, "executionStartTime": BEGAN, **status}
    return document


def line(number: int = 1, status: str = "executing", **more: Any) -> Document:
    reference = {"name": f"w-step-{number}", "namespace": "shop"}
    entry = {"stepNumber": number, "name": f"s{number}", "action": "notify_only", "status": status, "attempts": 1, "startTime": BEGAN}
    return {**entry, "k8sExecutionRef": reference, **more}


def attempt(name: str = "w-step-1", **status: Any) -> Document:
    spec = {"stepNumber": 1, "action": "notify_only", "workflowExecutionRef": {"name": "w", "uid": "u"}}
    return {"metadata": {"name": name, "namespace": "shop"}, "spec": spec, "status": {"phase": "verifying", **status}}


def verdict(decision: str, code: str, policy: str = "dispatch", **more: Any) -> Document:
    reason = {"code": code, "message": f"about {code}", "policy": policy, **more}
    return {"decision": decision, "reasons": [reason], "time": BEGAN, "facts": [FACT]}


def explained(document: Document, *attempts: Document, sources: dict[str, str] | None = None) -> Explanation:
    return explain(document, attempts, NOW, sources or {})


def codes(found: Explanation) -> list[str]:
    return [cause.code for cause in found.why]


def commands(found: Explanation) -> list[str]:
    return [h.command for h in found.helps if h.command]


def text(found: Explanation) -> str:
    return "\n".join(found.lines(NOW))


def test_a_workflow_that_runs_well_says_so_and_what_runs() -> None:
    found = explained(seen(totalSteps=1, stepStatuses=[line()]), attempt())
    assert (found.state, found.why, found.helps) == ("running", (), ())
    assert found.what == (
        "workflow shop/w is executing since 2026-11-21T10:00:00Z (1m00s ago)",
        "0 of 1 steps are completed",
        "step 1 (s1) runs notify_only since 2026-11-21T10:00:00Z (1m00s ago)",
        "it runs well: nothing holds it up",
    )


def test_a_rule_that_holds_it_up_is_named_with_its_facts_and_with_the_config_map_to_change() -> None:
    gates = {"dispatch": verdict("wait", "change_freeze", "rules.dispatch.freeze", remedy="wait until Monday")}
    document = seen(waitingFor="change_freeze: about change_freeze", gates=gates)
    found = explained(document, sources={"rules.dispatch.freeze": "shop-rules"})
    (cause,) = found.why
    assert (cause.gate, cause.policy, cause.code, cause.facts, cause.since) == (
        "dispatch",
        "rules.dispatch.freeze",
        "change_freeze",
        (FACT,),
        BEGAN,
    )
    assert found.state == "waiting"
    assert found.helps[0].text == "wait until Monday"
    assert commands(found) == ["kubectl edit configmap shop-rules -n kubernaut-system"]
    assert commands(explained(document)) == ["phasegate policy status -o json"]


def test_what_a_gate_said_once_holds_nothing_up_any_more() -> None:
    found = explained(seen(gates={"dispatch": verdict("wait", "parallel_limit")}, stepStatuses=[line()]), attempt())
    assert (found.state, found.why) == ("running", ())


def test_an_approval_says_who_may_give_it_how_many_are_missing_and_until_when() -> None:
    approval = {
        "required": True,
        "requestedAt": BEGAN,
        "expiresAt": "2026-11-21T11:00:00Z",
        "planHash": "aa",
        "count": 2,
        "received": 1,
        "groups": ["on-call"],
        "notRequester": True,
        "reasons": [{"code": "four_eyes", "message": "two agree", "policy": "rules.approval.team"}],
        "decisions": [{"approver": "eve", "decision": "Approved", "planHash": "bb", "time": BEGAN}],
    }
    document = seen(
        phase="validating", validationStartTime=BEGAN, approval=approval, waitingFor="four_eyes: two agree", spec={"requestedBy": "ann"}
    )
    found = explained(document)
    assert codes(found) == ["four_eyes", "approvals_missing", "decision"]
    assert (found.why[0].since, found.why[0].until) == (BEGAN, "2026-11-21T11:00:00Z")
    assert "1 of 2 people" in found.why[1].message
    assert found.why[2].message == "eve said Approved, about another plan: it does not count"
    assert commands(found)[-2:] == ["phasegate approve w -n shop", "phasegate reject w -n shop"]
    assert "groups on-call and who is not ann" in text(found)


def test_an_approval_that_was_given_is_no_reason_any_more() -> None:
    approval = {"required": True, "requestedAt": BEGAN}
    assert codes(explained(seen(phase="validating", approval=approval, validationResults={"approvalReceived": True}))) == []


def test_a_suspended_workflow_is_let_go_on_by_a_command() -> None:
    gates = {"dispatch": verdict("wait", "suspended")}
    document = seen(
        spec={"suspend": True}, waitingFor="suspended: the workflow is suspended", remedy="set spec.suspend to false", gates=gates
    )
    found = explained(document)
    assert (codes(found), found.why[0].since) == (["suspended"], BEGAN)
    assert commands(found) == ["""kubectl patch wfe w -n shop --type merge -p '{"spec":{"suspend":false}}'"""]


def test_a_condition_that_does_not_hold_yet_is_named_with_the_time_that_it_has() -> None:
    terms = [{"type": "ready", "timeout": "2m"}]
    results = [
        {"conditionType": "ready", "required": True, "passed": False, "message": "0 of 3 are ready"},
        {"conditionType": "nice", "required": False, "passed": False, "message": "not nice"},
        {"conditionType": "found", "required": True, "passed": True, "message": ""},
    ]
    gates = {"verify": verdict("wait", "postcondition_unmet", "catalogue.notify_only")}
    running = attempt(postConditionResults=results, conditionSince={"ready": BEGAN}, gates=gates)
    found = explained(seen(tell(1, postConditions=terms), stepStatuses=[line()]), running)
    (cause,) = found.why
    assert (cause.code, cause.gate, cause.policy, cause.step, cause.facts) == ("ready", "verify", "catalogue.notify_only", 1, (FACT,))
    assert (cause.since, cause.until) == (BEGAN, "2026-11-21T10:02:00.000Z")
    assert commands(found) == ["kubectl describe ke w-step-1 -n shop"]


def test_where_an_attempt_has_no_conditions_on_record_every_reason_of_its_gate_is_told() -> None:
    two = verdict("wait", "first", "action")
    two["reasons"] += verdict("wait", "second", "rules.action.team")["reasons"]
    found = explained(seen(stepStatuses=[line()]), attempt(phase="validating", gates={"action": two}))
    assert codes(found) == ["first", "second"]


def test_without_a_time_of_its_own_a_condition_has_that_of_its_step() -> None:
    running = attempt(postConditionResults=[{"conditionType": "ready", "required": True, "passed": False, "message": "no"}])
    found = explained(seen(stepStatuses=[line()], spec={"timeouts": {"step": "90s"}}), running)
    assert found.why[0].until == "2026-11-21T10:01:30.000Z"


def test_a_right_that_is_missing_names_the_service_account() -> None:
    running = attempt(phase="validating", conditionSince={"right": BEGAN}, executionResults={"message": "forbidden: cannot patch"})
    found = explained(seen(stepStatuses=[line()]), running)
    assert (codes(found), found.why[0].since) == (["right_missing"], BEGAN)
    assert "kubernaut-system/notify-only-sa" in text(found)


def test_a_retry_says_what_failed_which_try_it_was_and_when_the_next_one_comes() -> None:
    entry = line(status="pending", attempts=2, retriesAttempted=2, nextRetryTime="2026-11-21T10:01:08Z", errorType="timeout")
    failed = attempt(phase="failed", executionResults={"errorMessage": "no answer", "remedy": "look at the node"})
    found = explained(seen(tell(1, maxRetries=3), waitingFor="the next retry", stepStatuses=[entry]), failed)
    assert (found.why[0].message, found.why[0].code, found.why[0].until) == (
        "try 2 of 4 failed: no answer",
        "timeout",
        "2026-11-21T10:01:08Z",
    )
    assert {"look at the node", "nothing needs to be done: step 1 is tried again by itself in 8s"} <= {h.text for h in found.helps}


def test_no_decision_is_explained_by_the_policy_set_and_by_nothing_that_is_outdated() -> None:
    ready = {
        "type": "PolicyReady",
        "status": "False",
        "reason": "NoDecision",
        "message": "gate dispatch: no answer",
        "lastTransitionTime": BEGAN,
    }
    gates = {"dispatch": verdict("wait", "parallel_limit")}
    found = explained(seen(conditions=[ready], waitingFor="a policy decision: parallel_limit", remedy="see /readyz", gates=gates))
    assert (codes(found), found.why[0].since) == (["no_decision"], BEGAN)
    assert "phasegate policy status" in commands(found)


def test_a_failure_on_its_way_says_what_comes_next() -> None:
    halting = {"action": "rollback", "message": "step 1 timed out", "remedy": "look"}
    found = explained(seen(halting=halting, failureReason="timeout", failedStep=1, waitingFor="running steps to end: 2 (s2)"))
    assert found.why[0].message == "step 1 timed out; what runs finishes first, then it turns to rollback"


def test_a_cancelled_workflow_says_who_it_waits_for() -> None:
    found = explained(seen(metadata={"annotations": {"kubernaut.ai/cancel": "wrong cluster"}}, stepStatuses=[line()]), attempt())
    assert codes(found) == ["cancelled"]


def test_a_failed_workflow_names_the_step_its_conditions_and_the_verdict() -> None:
    entry = line(status="failed", errorMessage="it never got ready", errorType="execution_error", remedy="look at its events")
    results = [{"conditionType": "ready", "required": True, "passed": False, "message": "0 of 3 are ready"}]
    failed = attempt(phase="failed", postConditionResults=results, gates={"verify": verdict("deny", "postcondition_failed", "verify")})
    document = seen(
        phase="failed",
        message="step 1 failed",
        failureReason="postcondition_failed",
        failedStep=1,
        failedAction="notify_only",
        stepStatuses=[entry],
    )
    found = explained(document, failed)
    assert codes(found) == ["execution_error", "ready", "postcondition_failed"]
    assert found.state == "ended"
    assert "reason: postcondition_failed at step 1 (notify_only)" in found.what
    assert {"look at its events", "mend what is named above, and apply the workflow under a new name: this one has ended"} <= {
        h.text for h in found.helps
    }


def test_a_workflow_that_was_refused_names_the_gate() -> None:
    found = explained(
        seen(phase="failed", failureReason="policy_denied", gates={"safety": verdict("deny", "too_wild", "rules.safety.team")})
    )
    assert (found.why[0].gate, found.why[0].policy, found.why[0].code) == ("safety", "rules.safety.team", "too_wild")


def test_a_workflow_that_could_not_be_planned_says_why() -> None:
    found = explained(seen(phase="failed", message="a → b → a", failureReason="dependency_resolution_failed"))
    assert [(c.code, c.message) for c in found.why] == [("dependency_resolution_failed", "a → b → a")]


def test_a_degraded_workflow_can_be_rolled_back() -> None:
    assert "phasegate rollback w -n shop --reason WHY" in commands(explained(seen(phase="degraded")))


def test_a_partial_rollback_says_what_was_not_undone() -> None:
    entry = line(status="rollback_failed", errorMessage="changed since", rollbackRef={"name": "w-rollback-1"})
    found = explained(seen(phase="failed", failureReason="rollback_failed", stepStatuses=[entry]), attempt("w-rollback-1", phase="failed"))
    assert (found.why[0].message, found.why[0].attempt) == ("it could not be taken back: changed since", "w-rollback-1")


def test_a_completed_workflow_tells_its_outcome() -> None:
    result = {"outcome": "success", "effectivenessScore": 1.0, "resourceHealth": "healthy", "recommendedActions": ["sleep well"]}
    found = explained(seen(phase="completed", completionTime=BEGAN, message="1 of 1 steps completed", workflowResult=result))
    assert (found.state, found.why) == ("ended", ())
    assert "outcome success, effectiveness 1, resources healthy" in found.what
    assert [h.text for h in found.helps] == ["sleep well"]


def test_a_deleted_workflow_names_its_finalizers_and_what_still_runs() -> None:
    metadata = {
        "deletionTimestamp": "2026-11-21T10:00:50Z",
        "finalizers": ["workflowexecution.kubernaut.ai/workflowexecution-cleanup", "their.own/one"],
    }
    found = explained(seen(metadata=metadata, stepStatuses=[line()]), attempt())
    assert (found.state, codes(found)) == ("deleting", ["attempt_runs", "finalizer", "finalizer"])
    assert "their.own/one is not the controller's" in text(found)
    assert commands(found) == []
    late = explained(seen(metadata={**metadata, "deletionTimestamp": "2026-11-21T09:00:00Z"}))
    assert commands(late) == ["kubectl get deployment workflow-controller -n kubernaut-system"]


def test_a_workflow_that_no_controller_has_looked_at_says_where_to_look() -> None:
    document = workflow("w", tell())
    document["metadata"] |= {"namespace": "shop", "creationTimestamp": BEGAN}
    found = explained(document)
    assert (found.state, codes(found)) == ("new", ["not_looked_at"])
    changed = explained(seen(metadata={"generation": 2}, observedGeneration=1))
    assert codes(changed) == ["not_looked_at"]


def test_a_hold_names_what_is_on_record_of_it() -> None:
    found = explained(seen(waitingFor="held back: 1 (s1): busy: the shop is open"))
    assert (found.why[0].gate, found.why[0].message) == ("dispatch", "held back: 1 (s1): busy: the shop is open")


def test_what_others_wrote_cannot_steer_the_terminal() -> None:
    document = seen(phase="failed", message="\x1b[2J", failureReason="x", stepStatuses=[line(status="failed", errorMessage="\x1b]0;x\x07")])
    assert "\x1b" not in text(explained(document))


def test_the_document_leaves_out_what_is_not_known() -> None:
    document = explained(seen(phase="failed", failureReason="cancelled", message="why")).document()
    assert document["why"] == [{"message": "why", "code": "cancelled"}]


# the real thing


async def asked(world: World, phasegate: Phasegate, name: str = "w", user: str = "viewer") -> tuple[str, Document]:
    """What it says to people, and to programs."""
    for_people = await phasegate("explain", name, "-n", world.namespace, user=user)
    for_programs = await phasegate("explain", name, "-n", world.namespace, "-o", "json", user=user)
    assert [(s.code, s.err) for s in (for_people, for_programs)] == [(0, ""), (0, "")], (for_people, for_programs)
    return for_people.out, json.loads(for_programs.out)


@asynccontextmanager
async def rule(world: World, gate: str, body: str) -> AsyncIterator[str]:
    """A team's rule, from when it decides until it is taken away; answers the name of its ConfigMap."""
    name = f"{gate}-{world.namespace}"
    package = name.replace("-", "_")
    system = world.within(SYSTEM)
    module = f'package kubernaut.rules.{gate}.{package}\n\n{body} if input.workflow.metadata.namespace == "{world.namespace}"\n'
    document = config_map(name, **{f"{package}.rego": module})
    document["metadata"] = {"name": name, "labels": {"kubernaut.ai/policy": "rego"}}
    await system.create(document)
    await system.until(
        CONFIG_MAP, name, lambda c: '"active"' in (c["metadata"].get("annotations") or {}).get("kubernaut.ai/policy-status", "")
    )
    try:
        yield name
    finally:
        await delete(system, CONFIG_MAP, name)


async def test_waiting_for_approval_is_explained_by_the_command_that_ends_it(world: World, phasegate: Phasegate) -> None:
    await world.create(workflow("w", tell(), executionStrategy={"approvalRequired": True}))
    await world.until(WORKFLOW, "w", lambda w: "approval_required" in is_waiting(w))
    people, programs = await asked(world, phasegate)
    assert "gate approval" in people
    assert programs["why"][0]["code"] == "approval_required"
    assert programs["why"][0]["until"] > programs["why"][0]["since"]
    command = next(h["command"] for h in programs["helps"] if "approve" in h["command"])
    said = await phasegate(*command.split()[1:], user="approver")
    assert said.code == 0, said
    assert phase(await world.ended("w")) == "completed"
    people, programs = await asked(world, phasegate)
    assert (programs["state"], programs["why"]) == ("ended", [])


async def test_a_teams_rule_that_holds_a_workflow_is_named_with_its_config_map(world: World, phasegate: Phasegate) -> None:
    body = 'wait contains {"code": "change_freeze", "message": "nothing moves", "remedy": "wait until Monday"}'
    async with rule(world, "dispatch", body) as name:
        await world.create(workflow("w", tell()))
        await world.until(WORKFLOW, "w", lambda w: "change_freeze" in is_waiting(w))
        people, programs = await asked(world, phasegate)
        (cause,) = programs["why"]
        assert (cause["gate"], cause["code"], cause["policy"]) == ("dispatch", "change_freeze", f"rules.dispatch.{name.replace('-', '_')}")
        assert "wait until Monday" in people
        assert f"kubectl edit configmap {name} -n kubernaut-system" in people


async def test_a_suspended_workflow_is_explained(world: World, phasegate: Phasegate) -> None:
    await world.create(workflow("w", tell(), suspend=True))
    await world.until(WORKFLOW, "w", lambda w: "suspended" in is_waiting(w))
    people, programs = await asked(world, phasegate)
    assert [cause["code"] for cause in programs["why"]] == ["suspended"]
    assert f"kubectl patch wfe w -n {world.namespace} --type merge" in people


async def test_a_condition_that_does_not_hold_yet_is_explained(world: World, phasegate: Phasegate) -> None:
    await world.create(workflow("w", waiting(1, timeout="1m")))
    await world.until(EXECUTION, "w-step-1", lambda a: phase(a) == "verifying")
    people, programs = await asked(world, phasegate)
    assert (programs["state"], [c["code"] for c in programs["why"]]) == ("waiting", ["condition_reached"]), people
    assert any("Service" in fact and "nobody" in fact for fact in programs["why"][0]["facts"]), people
    assert programs["why"][0]["until"] > programs["why"][0]["since"]


async def test_a_target_that_is_not_there_is_explained(world: World, phasegate: Phasegate) -> None:
    missing = step(1, "scale-deployment", {"deployment": "nobody", "replicas": 2})
    end = await world.run(workflow("w", missing, executionStrategy={"dryRunFirst": False}))
    assert phase(end) in {"failed", "blocked"}, told(end)
    people, programs = await asked(world, phasegate)
    assert programs["state"] == "ended"
    assert programs["why"], people
    assert "nobody" in people, people


async def test_a_precondition_of_a_team_is_explained_while_it_is_waited_for_and_when_it_failed(world: World, phasegate: Phasegate) -> None:
    system, name = world.within(SYSTEM), f"door-{world.namespace}"
    package = name.replace("-", "_")
    document = config_map(name, **{"door.rego": f"package kubernaut.conditions.{package}\n\nopen if input.workflow.spec.open\n"})
    document["metadata"] = {"name": name, "labels": {"kubernaut.ai/policy": "rego"}}
    await system.create(document)
    try:
        await system.until(
            CONFIG_MAP, name, lambda c: '"active"' in (c["metadata"].get("annotations") or {}).get("kubernaut.ai/policy-status", "")
        )
        wanted = {"type": "door_open", "rego": f"{name}:door.rego:open"}
        await world.create(workflow("w", tell(1, preConditions=[{**wanted, "timeout": "5m"}])))
        await world.until(WORKFLOW, "w", lambda w: phase(w) == "executing" and is_waiting(w))
        people, programs = await asked(world, phasegate)
        own = [c for c in programs["why"] if c["code"] == "door_open"]
        assert [(c["gate"], c["step"], c["until"] > c["since"]) for c in own] == [("dispatch", 1, True)], people
        end = await world.run(workflow("late", tell(1, preConditions=[{**wanted, "timeout": "100ms"}])))
        assert phase(end) == "blocked", told(end)
        people, programs = await asked(world, phasegate, "late")
        assert ("precondition_failed" in people, programs["why"][0]["step"]) == (True, 1), people
    finally:
        await delete(system, CONFIG_MAP, name)


async def test_an_outage_of_opa_is_explained(world: World, plane: Plane, phasegate: Phasegate) -> None:
    await world.create(workflow("w", tell(), suspend=True))
    await world.until(WORKFLOW, "w", lambda w: "suspended" in is_waiting(w))
    plane.stop("opa")
    try:
        await world.patch(WORKFLOW, "w", {"spec": {"suspend": False}})
        await world.until(WORKFLOW, "w", lambda w: condition(w, "PolicyReady").get("status") == "False")
        people, programs = await asked(world, phasegate)
        assert [c["code"] for c in programs["why"]] == ["no_decision"], people
        assert "-c opa" in people
    finally:
        plane.start("opa")
    assert phase(await world.ended("w")) == "completed"


async def test_a_retry_is_explained(world: World, controller: ControllerProcess, phasegate: Phasegate) -> None:
    controller.kill()
    controller.start(environment={"RETRY_BASE_DELAY": "1m", "RETRY_MAX_DELAY": "2m"})
    try:
        await world.create(workflow("w", doomed(1, maxRetries=2)))
        found = await world.until(
            WORKFLOW, "w", lambda w: any(e.get("nextRetryTime") for e in (w.get("status") or {}).get("stepStatuses") or [])
        )
        people, programs = await asked(world, phasegate)
        assert "try 1 of 3 failed" in people, told(found)
        assert programs["why"][0]["until"] == found["status"]["stepStatuses"][0]["nextRetryTime"]
    finally:
        controller.restart()


async def test_a_failure_that_was_rolled_back_is_explained(world: World, phasegate: Phasegate) -> None:
    await world.create(config_map())
    end = await world.run(workflow("w", *chain(write(1, "new"), doomed(2))))
    assert states(end) == ["rolled_back", "failed"]
    people, programs = await asked(world, phasegate)
    assert (programs["phase"], programs["why"][0]["step"], programs["why"][0]["attempt"]) == ("rolled_back", 2, "w-step-2")
    assert "condition_reached" in [c["code"] for c in programs["why"]], people
    assert "undone: 1" in people


async def test_a_deletion_that_waits_is_explained(world: World, phasegate: Phasegate) -> None:
    document = workflow("w", tell())
    document["metadata"]["finalizers"] = ["test.example/keep"]
    await world.run(document)
    await world.cluster.delete(WORKFLOW, world.namespace, "w")
    await world.until(WORKFLOW, "w", lambda w: w["metadata"].get("deletionTimestamp"))
    try:
        people, programs = await asked(world, phasegate)
        assert programs["state"] == "deleting"
        assert "test.example/keep is not the controller's" in people
    finally:
        await world.patch(WORKFLOW, "w", {"metadata": {"finalizers": None}})


async def refused(phasegate: Phasegate, *words: str, **more: Any) -> Said:
    said = await phasegate("explain", *words, **more)
    assert said.out == ""
    return said


async def test_a_name_that_is_nearly_right_is_answered_by_the_right_one(world: World, phasegate: Phasegate) -> None:
    assert "there is no workflow in namespace" in (await refused(phasegate, "w", "-n", world.namespace)).err
    await world.create(workflow("payment-upgrade", tell(), suspend=True))
    said = await refused(phasegate, "payment-upgrad", "-n", world.namespace)
    assert (said.code, "did you mean payment-upgrade?" in said.err) == (2, True), said


async def test_hints_that_this_user_may_not_look_up_are_left_out(world: World, plane: Plane, tmp_path: Path) -> None:
    stranger = kubeconfig(plane.users["viewer"], tmp_path / "kubeconfig", token="nobody's")
    async with seen_by(stranger, world.namespace) as seen_by_a_stranger:
        assert await command._sources(seen_by_a_stranger.cluster, {"rules.dispatch.team"}) == {}
        assert await command._nearest(seen_by_a_stranger.cluster, world.namespace, "w") == ""


async def test_an_api_server_that_does_not_answer_is_its_own_exit_code(plane: Plane, phasegate: Phasegate, tmp_path: Path) -> None:
    elsewhere = kubeconfig(plane.users["viewer"], tmp_path / "kubeconfig", server="https://127.0.0.1:1")
    said = await refused(phasegate, "w", "-n", "default", kubeconfig=elsewhere)
    assert (said.code, "no answer" in said.err) == (3, True), said
