"""Planning on the real control plane: what order the steps get, what the plan hash sees, and whose terms count for conditions."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import pytest
from support.team import condition, policy, settings
from support.workflows import (
    World,
    codes,
    config_map,
    deployment,
    has_ended,
    phase,
    states,
    step,
    tell,
    told,
    workflow,
    write,
)

from controller import paths
from controller.cluster.kinds import WORKFLOW
from controller.core.times import instant

Document = dict[str, Any]

ACTION = paths.ROOT / "examples" / "annotate-deployment" / "policy" / "annotate_deployment.rego"


async def planned(world: World, document: Document) -> Document:
    """The plan of a workflow that goes no further than it must."""
    document["spec"]["suspend"] = True
    await world.create(document)
    name = document["metadata"]["name"]
    found = await world.until(WORKFLOW, name, lambda w: "executionPlan" in (w.get("status") or {}) or has_ended(w))
    assert "executionPlan" in found["status"], told(found)
    plan: Document = found["status"]["executionPlan"]
    return plan


# The order.


async def test_dependencies_by_number_by_name_and_by_map_count_together_and_are_kept_to(world: World) -> None:
    steps = [tell(1), tell(2), tell(3, dependsOn=[1]), tell(4, dependsOn=["s1"]), tell(5), tell(6)]
    document = workflow("w", *steps)
    document["spec"]["workflowDefinition"]["dependencies"] = {"s3": ["s2", "s1"], "5": ["3"], "s6": ["s4", "5"]}
    found = await world.run(document)
    assert phase(found) == "completed", told(found)
    plan, entries = found["status"]["executionPlan"], {e["stepNumber"]: e for e in found["status"]["stepStatuses"]}
    assert plan["strategy"] == "sequential-with-parallel"
    assert plan["batches"] == [{"batchNumber": i, "steps": steps} for i, steps in enumerate(([1, 2], [3, 4], [5], [6]), start=1)]
    for number, before in {3: [1, 2], 4: [1], 5: [3], 6: [4, 5]}.items():
        assert all(instant(entries[b]["endTime"]) <= instant(entries[number]["startTime"]) for b in before), number


@pytest.mark.parametrize(
    ("after", "strategy", "estimated"),
    [({}, "parallel", "5s"), ({2: [1], 3: [2]}, "sequential", "11s"), ({3: [1, 2]}, "sequential-with-parallel", "10s")],
)
async def test_the_estimate_is_that_of_the_longest_way_through(
    world: World, after: Mapping[int, list[int]], strategy: str, estimated: str
) -> None:
    steps = [tell(1), write(2, "new"), write(3, "newer")]
    plan = await planned(world, workflow("w", *({**s, "dependsOn": after.get(s["stepNumber"], [])} for s in steps)))
    assert (plan["strategy"], plan["estimatedDuration"]) == (strategy, estimated)


# The hash.


def reversed_keys(value: Any) -> Any:
    """The same document, every object in it written the other way round."""
    if isinstance(value, dict):
        return {key: reversed_keys(value[key]) for key in reversed(value)}
    return [reversed_keys(entry) for entry in value] if isinstance(value, list) else value


def hashed(name: str, **changes: Any) -> Document:
    """A workflow with something of everything in its plan."""
    overrides = {"update-configmap": {"postconditions": {"values_written": {"timeout": "20s"}}}}
    document = workflow(name, write(1, "new"), tell(2, dependsOn=["s1"]), conditionOverrides=overrides)
    document["spec"] |= {"executionStrategy": {"rollbackStrategy": "automatic", "maxRetries": 1}, **changes}
    return document


def steps_of(document: Document) -> list[Document]:
    found: list[Document] = document["spec"]["workflowDefinition"]["steps"]
    return found


async def test_the_plan_hash_is_that_of_the_plan_however_it_is_written(world: World) -> None:
    await world.create(config_map())
    first = await planned(world, hashed("w"))
    other = reversed_keys(hashed("other-name"))
    steps_of(other)[0]["action"] = "UpdateConfigmap"
    steps_of(other)[1]["dependsOn"] = [1]
    steps_of(other).reverse()
    assert (await planned(world, other))["planHash"] == first["planHash"]
    by_map = hashed("by-map")
    del steps_of(by_map)[1]["dependsOn"]
    by_map["spec"]["workflowDefinition"]["dependencies"] = {"s2": ["s1"]}
    assert (await planned(world, by_map))["planHash"] == first["planHash"]


async def test_the_plan_hash_changes_with_whatever_an_approval_speaks_for(world: World) -> None:
    await world.create(config_map())
    changed = {name: hashed(name) for name in ("same", "value", "name", "order", "critical", "timeout", "back", "condition", "more")}
    steps = {name: steps_of(document) for name, document in changed.items()}
    steps["value"][0]["parameters"]["updateConfigmap"]["dataUpdates"]["key"] = "newer"
    steps["name"][1]["name"] = "other"
    del steps["order"][1]["dependsOn"]
    steps["critical"][1]["criticalStep"] = False
    steps["timeout"][0]["timeout"] = "1m"
    steps["back"][0]["rollbackSpec"] = {"action": "uncordon-node", "parameters": {"uncordonNode": {"nodeName": "n"}}}
    steps["condition"][0]["postConditions"] = [{"type": "values_written", "timeout": "10s"}]
    steps["more"].append(tell(3))
    changed["strategy"] = hashed("strategy", executionStrategy={"rollbackStrategy": "manual", "maxRetries": 1})
    changed["parallel"] = hashed("parallel", executionStrategy={"rollbackStrategy": "automatic", "maxRetries": 1, "maxParallelSteps": 1})
    changed["overrides"] = hashed("overrides", conditionOverrides={})
    found = {name: (await planned(world, document))["planHash"] for name, document in changed.items()}
    assert len(set(found.values())) == len(found), found


async def test_the_plan_hash_changes_with_the_module_of_an_action_that_it_uses(world: World) -> None:
    custom = {"actionType": "annotate_deployment", "config": {"deployment": "web", "annotation": "example.com/on-call", "value": "ann"}}
    annotate = {"stepNumber": 1, "name": "s1", "action": "annotate-deployment", "parameters": {"custom": custom}}
    text, hashes, others = ACTION.read_text(), [], []
    for turn, module in enumerate((text, text, text + "\n# looked over by the team\n")):
        async with policy(world, {"annotate.rego": module}):
            hashes.append((await planned(world, workflow(f"w-{turn}", copy.deepcopy(annotate))))["planHash"])
            others.append((await planned(world, workflow(f"other-{turn}", tell(1))))["planHash"])
    assert hashes[0] == hashes[1] != hashes[2]
    assert len(set(others)) == 1


# References.

OPEN = 'holds contains "door_open" if input.step.stepNumber > 0'


async def test_a_reference_is_resolved_to_the_rule_of_a_policy_config_map(world: World) -> None:
    async with condition(world, "holds", OPEN) as reference:
        wanted = [{"type": "door_open", "rego": reference}]
        found = await world.run(workflow("w", tell(1, preConditions=wanted, postConditions=wanted)))
    assert phase(found) == "completed", told(found)


@pytest.mark.parametrize("side", ["preConditions", "postConditions"])
@pytest.mark.parametrize("wrong", ["ConfigMap", "key"])
async def test_a_reference_to_what_is_not_there_fails_planning_and_names_step_condition_and_what_is_there(
    world: World, wrong: str, side: str
) -> None:
    async with condition(world, "holds", OPEN) as reference:
        name, key, rule = reference.split(":")
        unknown = f"nobody:{key}:{rule}" if wrong == "ConfigMap" else f"{name}:other.rego:{rule}"
        found = await world.run(workflow("w", tell(1), tell(2, **{side: [{"type": "door_open", "rego": unknown}]})))
    status = found["status"]
    assert (phase(found), status["failureReason"], codes(found, "planning")) == ("failed", "planning_error", ["reference_unknown"])
    assert all(word in status["message"] for word in ("step 2", "door_open", unknown)), status["message"]
    assert f"{name}:{key}" in status["remedy"]
    assert not await world.attempts("w")


# Conditions of the catalogue.


def scale(replicas: int, *, expected: int | None = None, **more: Any) -> Document:
    """A step that scales `web`."""
    return step(
        1, "scale-deployment", {"deployment": "web", "replicas": replicas, **({"expectedReplicas": expected} if expected else {})}, **more
    )


REQUIRED = {"required": True, "timeout": "100ms"}


@pytest.mark.parametrize("by", ["nobody", "the step's entry", "conditionOverrides"])
async def test_a_warning_of_the_catalogue_can_be_made_a_requirement(world: World, by: str) -> None:
    await world.roll_out(deployment())
    entry = {"preConditions": [{"type": "replicas_match", **REQUIRED}]} if by == "the step's entry" else {}
    overrides = (
        {"conditionOverrides": {"scale-deployment": {"preconditions": {"replicas_match": REQUIRED}}}} if by.startswith("cond") else {}
    )
    found = await world.run(workflow("w", scale(2, expected=7, **entry), executionStrategy={"dryRunFirst": False}, **overrides))
    (attempt,) = await world.attempts("w")
    judged = {c["conditionType"]: c for c in attempt["status"]["preConditionResults"]}["replicas_match"]
    assert (judged["passed"], judged["required"]) == (False, by != "nobody")
    if by == "nobody":
        assert phase(found) == "completed", told(found)
    else:
        assert (phase(found), states(found), found["status"]["failureReason"]) == ("blocked", ["blocked"], "precondition_failed"), told(
            found
        )
        assert "replicas_match" in found["status"]["message"]


LOOSE = {
    "not required": {"type": "desired_replicas_running", "required": False},
    "longer": {"type": "desired_replicas_running", "timeout": "3m"},
}


@pytest.mark.parametrize("way", LOOSE)
@pytest.mark.parametrize("where", ["the step's entry", "conditionOverrides"])
async def test_loosening_a_condition_of_the_catalogue_is_denied_in_planning(world: World, where: str, way: str) -> None:
    entry = LOOSE[way]
    terms = {key: value for key, value in entry.items() if key != "type"}
    overrides = {"scale-deployment": {"postconditions": {entry["type"]: terms}}}
    document = (
        workflow("w", scale(2, postConditions=[entry]))
        if where.startswith("the")
        else workflow("w", scale(2), conditionOverrides=overrides)
    )
    found = await world.run(document)
    assert (phase(found), codes(found, "planning")) == ("failed", ["override_not_allowed"]), told(found)
    assert ("step 1" if where.startswith("the") else "conditionOverrides") in found["status"]["message"]
    assert "desired_replicas_running" in found["status"]["message"]
    assert "allow-condition-loosening" in found["status"]["remedy"]


async def test_with_the_setting_a_condition_of_the_catalogue_may_be_loosened(world: World) -> None:
    await world.create(deployment(image="registry.example/web:never-ready"))
    mild = [{"type": kind, "required": False} for kind in ("desired_replicas_running", "deployment_health_check")]
    strategy = {"dryRunFirst": False, "rollbackStrategy": "none", "safetyChecks": [{"type": "health", "required": False}]}
    async with settings(world) as change:
        await change({"allow-condition-loosening": "true"})
        found = await world.run(workflow("w", scale(2, postConditions=mild), executionStrategy=strategy, timeouts={"monitoring": "1s"}))
    (attempt,) = await world.attempts("w")
    judged = {c["conditionType"]: (c["required"], c["passed"]) for c in attempt["status"]["postConditionResults"]}
    assert judged["desired_replicas_running"] == (False, False)
    assert judged["no_crashloop_pods"] == (True, True)
    assert states(found) == ["completed"], told(found)
    assert "desired_replicas_running" in found["status"]["stepStatuses"][0]["message"]
