"""Failure on the real control plane: every kind of error, what is tried again and when, and what is on record afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from support.controller import ControllerProcess
from support.faults import Seen, between
from support.team import ruled
from support.workflows import (
    CONFIG,
    WEB,
    World,
    chain,
    condition,
    config_map,
    deployment,
    doomed,
    is_waiting,
    parked,
    phase,
    release,
    states,
    step,
    tell,
    told,
    waiting,
    workflow,
    write,
)

from controller.cluster.kinds import EXECUTION, WORKFLOW
from controller.core.durations import parse_duration
from controller.core.times import instant

Document = dict[str, Any]

UNREHEARSED = {"dryRunFirst": False, "maxRetries": 1}


# Kinds of errors.


async def failed_step(world: World, document: Document) -> tuple[Document, Document]:
    """Run a workflow whose only step fails; answers the workflow and the step's line, which must tell the same."""
    found = await world.run(document)
    status, (entry,) = found["status"], found["status"]["stepStatuses"]
    assert (status["failedStep"], status["failedAction"], status["errorType"]) == (1, entry["action"], entry["errorType"]), told(found)
    assert condition(found, "Succeeded")["status"] == "False"
    assert condition(found, "Succeeded")["reason"]
    return found, entry


async def test_what_takes_too_long_is_a_timeout_and_is_tried_again(world: World) -> None:
    slow = waiting(1, timeout="1m") | {"timeout": "1s"}
    found, entry = await failed_step(world, workflow("w", slow, executionStrategy=UNREHEARSED))
    assert (entry["errorType"], found["status"]["failureReason"], entry["retriesAttempted"]) == ("timeout", "timeout", 1), told(found)


async def test_what_does_not_come_true_is_an_execution_error_and_is_tried_again(world: World) -> None:
    found, entry = await failed_step(world, workflow("w", doomed(1), executionStrategy=UNREHEARSED))
    wanted = ("execution_error", "postcondition_failed", 1)
    assert (entry["errorType"], found["status"]["failureReason"], entry["retriesAttempted"]) == wanted, told(found)


async def test_what_the_api_server_finds_invalid_is_a_validation_error_and_is_not_tried_again(world: World) -> None:
    await world.roll_out(deployment())
    parameters = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "patchType": "merge", "patch": {"spec": {"replicas": -1}}}
    terms = {"patch-resource": {"preconditions": {"patch_accepted": {"timeout": "100ms"}}}}
    document = workflow("w", step(1, "patch-resource", parameters), executionStrategy=UNREHEARSED, conditionOverrides=terms)
    found, entry = await failed_step(world, document)
    wanted = ("validation_error", "precondition_failed", 0)
    assert (entry["errorType"], found["status"]["failureReason"], entry["retriesAttempted"]) == wanted, told(found)
    assert "the API server must accept the patch in a dry-run" in entry["errorMessage"]
    assert (await world.read(*WEB))["spec"]["replicas"] == 1


async def test_what_a_team_denies_is_policy_denied_and_is_not_tried_again(world: World) -> None:
    await world.create(config_map())
    frozen = 'deny contains {"code": "frozen", "message": "a freeze is on", "remedy": "wait for Monday"}'
    async with ruled(world, "action", frozen):
        found, entry = await failed_step(world, workflow("w", write(1, "new"), executionStrategy=UNREHEARSED))
    assert (phase(found), states(found)) == ("blocked", ["blocked"]), told(found)
    wanted = ("policy_denied", "policy_denied", 0)
    assert (entry["errorType"], found["status"]["failureReason"], entry["retriesAttempted"]) == wanted, told(found)
    assert ("frozen: a freeze is on" in entry["errorMessage"], entry["remedy"]) == (True, "wait for Monday")
    assert (await world.read(*CONFIG))["data"]["key"] == "old"


def refusing(status: int, times: int, *, dry_run: bool = False) -> Callable[[Seen], Awaitable[int | None]]:
    """Refuses this often to have the target written, or to have that rehearsed."""
    left = [times]

    async def meddle(seen: Seen) -> int | None:
        if seen.method != "PATCH" or seen.dry_run is not dry_run or not left[0]:
            return None
        left[0] -= 1
        return status

    return meddle


def writes(world: World) -> str:
    """What changes the ConfigMap of this test, or asks for it."""
    return f"^(PATCH .*/namespaces/{world.namespace}/configmaps/settings|POST .*/namespaces/{world.namespace}/kubernetesexecutions)$"


async def test_what_is_refused_in_the_rehearsal_of_the_attempt_is_a_validation_error_too(
    world: World, controller: ControllerProcess
) -> None:
    await world.create(config_map())
    async with between(controller, writes(world), "--no-leader-elect", meddler=refusing(422, 1, dry_run=True)):
        found, entry = await failed_step(world, workflow("w", write(1, "new"), executionStrategy=UNREHEARSED))
    wanted = ("validation_error", "dry_run_failed", 0)
    assert (entry["errorType"], found["status"]["failureReason"], entry["retriesAttempted"]) == wanted, told(found)
    assert (await world.read(*CONFIG))["data"]["key"] == "old"


@pytest.mark.parametrize("attempts", [1, 2])
async def test_a_target_that_changes_under_every_try_is_a_resource_conflict_and_is_tried_again(
    world: World, controller: ControllerProcess, attempts: int
) -> None:
    await world.create(config_map())
    async with between(controller, writes(world), "--no-leader-elect", meddler=refusing(409, 3 * attempts)):
        found = await world.run(workflow("w", write(1, "new"), executionStrategy=UNREHEARSED))
    (entry,) = found["status"]["stepStatuses"]
    assert entry["retriesAttempted"] == 1
    first = (await world.attempts("w"))[0]["status"]["executionResults"]
    assert (first["errorType"], first["failureReason"]) == ("resource_conflict", "step_execution_failed")
    if attempts == 1:
        assert phase(found) == "completed", told(found)
        assert (await world.read(*CONFIG))["data"]["key"] == "new"
    else:
        assert (phase(found), entry["errorType"], found["status"]["failureReason"]) == (
            "failed",
            "resource_conflict",
            "step_execution_failed",
        )
        assert (await world.read(*CONFIG))["data"]["key"] == "old"


# Trying again.


async def test_a_retry_is_not_earlier_because_the_controller_was_killed_meanwhile(world: World, controller: ControllerProcess) -> None:
    controller.kill()
    slowly = {"RETRY_BASE_DELAY": "20s"}
    try:
        await asyncio.to_thread(controller.start, environment=slowly)
        await world.create(workflow("w", doomed(1, maxRetries=1), executionStrategy={"dryRunFirst": False}))
        found = await world.until(WORKFLOW, "w", lambda w: phase(w) == "executing" and "nextRetryTime" in w["status"]["stepStatuses"][0])
        due = found["status"]["stepStatuses"][0]["nextRetryTime"]
        controller.kill()
        (first,) = await world.attempts("w")
        # At least half of the delay, counted from when the failure was judged.
        assert (instant(due) - instant(first["status"]["completionTime"])).total_seconds() >= 10
        await asyncio.to_thread(controller.start, environment=slowly)
        found = await world.until(WORKFLOW, "w", lambda w: "next retry" in is_waiting(w))
        assert found["status"]["stepStatuses"][0]["nextRetryTime"] == due
        found = await world.ended("w", seconds=60)
    finally:
        controller.kill()
    (entry,) = found["status"]["stepStatuses"]
    assert (phase(found), entry["attempts"], entry["retriesAttempted"]) == ("failed", 2, 1), told(found)
    again = (await world.attempts("w"))[1]
    assert instant(again["status"]["startTime"]) >= instant(due)


# Siblings.


async def test_siblings_of_a_step_that_failed_finish_and_nothing_new_starts(world: World) -> None:
    await world.create(config_map())
    steps = [doomed(1), parked(2), write(3, "new", dependsOn=[2]), tell(4), write(5, "new", dependsOn=[4, 2])]
    await world.create(workflow("w", *steps))
    found = await world.until(WORKFLOW, "w", lambda w: phase(w) == "executing" and states(w)[0] == "failed")
    assert states(found)[1] == "executing", told(found)
    assert "running steps to end: 2 (s2)" in is_waiting(found)
    await release(world)
    found = await world.ended("w")
    assert (phase(found), states(found)) == ("failed", ["failed", "completed", "pending", "completed", "pending"]), told(found)
    assert (found["status"]["failedStep"], found["status"]["errorType"]) == (1, "execution_error")
    assert (await world.read(*CONFIG))["data"]["key"] == "old"


# What is on record.

IMAGE = ("rollout_complete", "deployment_health_check")


async def test_the_record_of_a_failure_says_what_was_done_where_it_stood_and_what_the_target_was(world: World) -> None:
    await world.roll_out(deployment())
    await world.create(config_map())
    image = {"deployment": "web", "container": "app", "newImage": "registry.example/web:never-ready"}
    steps = chain(
        write(1, "new"),
        step(2, "update-image", image, postConditions=[{"type": kind, "timeout": "500ms"} for kind in IMAGE]),
        tell(3),
    )
    found = await world.run(workflow("w", *steps))
    status = found["status"]
    assert (phase(found), states(found)) == ("rolled_back", ["rolled_back", "rolled_back", "pending"]), told(found)
    snapshot = status["executionSnapshot"]
    assert (snapshot["completedSteps"], snapshot["currentStep"]) == ([1], 2)
    assert set(snapshot["clusterState"]) <= set(IMAGE)
    assert snapshot["clusterState"]
    ((place, before),) = snapshot["resourceSnapshot"].items()
    assert place == f"Deployment {world.namespace}/web"
    assert "registry.example/web:1" in before
    metrics = status["executionMetrics"]
    assert (metrics["stepSuccessRate"], metrics["rollbacksPerformed"], metrics["resourcesAffected"]) == (0.0, 2, 2)
    assert status["workflowResult"]["outcome"] == "failed"
    total = instant(status["completionTime"]) - instant(status["startTime"])
    assert abs((parse_duration(metrics["totalDuration"]) - total).total_seconds()) < 0.002
    actual = instant(status["completionTime"]) - instant(status["executionStartTime"])
    assert abs((parse_duration(status["executionPlan"]["actualDuration"]) - actual).total_seconds()) < 0.002


async def test_a_workflow_that_went_well_is_put_in_figures(world: World) -> None:
    await world.create(config_map())
    steps = [write(1, "new"), write(2, "newer", dependsOn=[1]), doomed(3, criticalStep=False), tell(4, dependsOn=[3])]
    found = await world.run(workflow("w", *steps))
    status = found["status"]
    assert (phase(found), status["workflowResult"]["outcome"]) == ("completed", "partial_success"), told(found)
    metrics = status["executionMetrics"]
    assert (metrics["stepSuccessRate"], metrics["rollbacksPerformed"], metrics["resourcesAffected"]) == (0.6667, 0, 1)
    assert 0 <= status["workflowResult"]["effectivenessScore"] < 1
    assert "failedStep" not in status


# The attempt's own record.

CHECKED = ["desired_replicas_running", "deployment_health_check", "no_crashloop_pods", "resource_usage_acceptable"]


def scale(replicas: int, **more: Any) -> Document:
    """A step that scales `web`."""
    return step(1, "scale-deployment", {"deployment": "web", "replicas": replicas}, **more)


def judged(status: Document, side: str) -> dict[str, tuple[bool, bool]]:
    """Each condition of an attempt: is it required, and did it hold."""
    assert all(c["evaluated"] and c["attempts"] >= 1 and instant(c["evaluationTime"]) and c["message"] for c in status[side])
    return {c["conditionType"]: (c["required"], c["passed"]) for c in status[side]}


async def test_the_record_of_an_attempt_that_went_well(world: World) -> None:
    await world.roll_out(deployment())
    found = await world.run(workflow("w", scale(2)))
    assert phase(found) == "completed", told(found)
    status = (await world.read(EXECUTION, "w-step-1"))["status"]
    validation, results = status["validationResults"], status["executionResults"]
    assert [validation[key] for key in ("parametersValid", "rbacValid", "resourceExists", "dryRunPassed")] == [True] * 4
    assert validation["policy"] == {"decision": "allow", "reasons": []}
    assert "/spec/replicas" in validation["dryRunOutput"]
    assert instant(status["startTime"]) <= instant(validation["validationTime"]) <= instant(results["startTime"])
    assert judged(status, "preConditionResults") == {
        "deployment_exists": (True, True),
        "cluster_capacity_available": (True, True),
        "replicas_match": (False, True),
        "image_pull_secrets_valid": (False, True),
        "node_selector_matches": (False, True),
    }
    assert judged(status, "postConditionResults") == {kind: (kind != CHECKED[-1], True) for kind in CHECKED}
    assert results["success"]
    assert results["validationResult"].startswith("4 of 4 postconditions hold: ")
    (affected,) = results["resourcesAffected"]
    where = {key: affected[key] for key in ("resourceType", "namespace", "name")}
    assert where == {"resourceType": "Deployment", "namespace": world.namespace, "name": "web"}
    assert ("/spec/replicas: 1" in affected["before"], "/spec/replicas: 2" in affected["after"]) == (True, True)
    assert instant(results["startTime"]) <= instant(results["endTime"]) == instant(status["completionTime"])
    took = instant(results["endTime"]) - instant(status["startTime"])
    assert abs((parse_duration(results["duration"]) - took).total_seconds()) < 0.002
    (sent,) = results["operations"]
    assert instant(sent["sentAt"]) <= instant(sent["answeredAt"])
    assert status["rollbackInformation"]["available"]
    assert [o["name"] for o in status["rollbackInformation"]["operations"]] == ["web"]
    assert parse_duration(status["rollbackInformation"]["estimatedDuration"])
    assert status["serviceAccount"] == "scale-deployment-sa"
    assert {c["type"]: c["status"] for c in status["conditions"]} == dict.fromkeys(("Validated", "Sent", "Verified", "Succeeded"), "True")
    assert results["result"]["scaleResult"]["previousReplicas"] == 1


async def test_the_record_of_an_attempt_that_sent_something_and_failed(world: World) -> None:
    await world.create(deployment(image="registry.example/web:never-ready"))
    soon = [{"type": kind, "timeout": "500ms"} for kind in CHECKED[:3]]
    found = await world.run(workflow("w", scale(2, postConditions=soon)))
    assert (phase(found), states(found)) == ("rolled_back", ["rolled_back"]), told(found)
    assert (await world.read(*WEB))["spec"]["replicas"] == 1
    status = (await world.read(EXECUTION, "w-step-1"))["status"]
    results = status["executionResults"]
    assert (results["success"], results["errorType"], results["failureReason"]) == (False, "execution_error", "postcondition_failed")
    assert judged(status, "postConditionResults")["desired_replicas_running"] == (True, False)
    assert judged(status, "preConditionResults")["deployment_exists"] == (True, True)
    assert "desired_replicas_running" in results["errorMessage"]
    assert results["remedy"]
    assert "/spec/replicas: 2" in results["resourcesAffected"][0]["after"]
    assert instant(results["startTime"]) <= instant(results["endTime"])
    assert status["rollbackInformation"]["available"]
    said = {c["type"]: c["status"] for c in status["conditions"]}
    assert (said["Validated"], said["Sent"], said["Verified"], said["Succeeded"]) == ("True", "True", "False", "False")


async def test_the_record_of_an_attempt_that_was_refused_before_it_sent_anything(world: World) -> None:
    await world.roll_out(deployment())
    async with ruled(world, "action", 'deny contains {"code": "frozen", "message": "a freeze is on"}'):
        await world.run(workflow("w", scale(2), executionStrategy=UNREHEARSED))
    status = (await world.read(EXECUTION, "w-step-1"))["status"]
    validation, results = status["validationResults"], status["executionResults"]
    assert (validation["policy"]["decision"], [r["code"] for r in validation["policy"]["reasons"]]) == ("deny", ["frozen"])
    assert (validation["parametersValid"], validation["resourceExists"], validation["dryRunPassed"]) == (True, True, False)
    assert "operations" not in results
    assert not results.get("resourcesAffected")
    assert "rollbackInformation" not in status
    assert {c["type"]: c["status"] for c in status["conditions"]}["Validated"] == "False"
    assert (await world.read(*WEB))["spec"]["replicas"] == 1
