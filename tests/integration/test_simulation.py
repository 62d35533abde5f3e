"""A simulated workflow asks every gate, rehearses every operation, reports step by step, and changes nothing."""

from __future__ import annotations

from typing import Any

from support.team import condition, ruled
from support.workflows import (
    CONFIG,
    DEPLOYMENT,
    POD,
    REPLICA_SET,
    World,
    chain,
    config_map,
    deployment,
    phase,
    states,
    step,
    tell,
    told,
    workflow,
    write,
)

from controller.cluster.kinds import APPROVAL, CONFIG_MAP, EXECUTION

Document = dict[str, Any]

GATES = {"planning", "action", "safety", "approval", "dispatch", "verify", "completion", "failure", "monitoring", "rollback"}


async def versions(world: World) -> dict[str, str]:
    """The resourceVersion of everything in the namespace that a workflow could touch."""
    found = {}
    for kind in (CONFIG_MAP, DEPLOYMENT, REPLICA_SET, POD, EXECUTION, APPROVAL):
        page = await world.cluster.list(kind, world.namespace)
        found |= {f"{kind.kind}/{o['metadata']['name']}": str(o["metadata"]["resourceVersion"]) for o in page.items}
    return found


def scale(number: int, replicas: int, **more: Any) -> Document:
    return step(number, "scale-deployment", {"deployment": "web", "replicas": replicas}, **more)


def report(found: Document) -> Document:
    return dict(found["status"]["validationResults"]["dryRunResults"])


def issues(found: Document, word: str) -> list[Document]:
    return [issue for issue in report(found)["potentialIssues"] if word in issue["description"]]


async def test_every_gate_is_asked_each_step_is_reported_and_nothing_is_changed(world: World) -> None:
    await world.create(config_map())
    await world.roll_out(deployment(replicas=2))
    before = await versions(world)
    found = await world.run(workflow("w", *chain(scale(1, 4), write(2, "new")), simulate=True))
    assert (phase(found), states(found)) == ("completed", ["pending", "pending"]), told(found)
    assert found["status"]["gates"].keys() == GATES - {"action", "verify"} | {"verify"}, "those of an attempt are told in the report"
    assert await versions(world) == before
    assert [r["wouldSucceed"] for r in report(found)["stepResults"]] == [True, True]
    changes = {c["resourceName"]: c for c in report(found)["resourceChanges"]}
    assert changes["web"]["changeType"] == "scale"
    assert (changes["web"]["beforeState"]["/spec/replicas"], changes["web"]["afterState"]["/spec/replicas"]) == ("2", "4")
    assert (changes["settings"]["beforeState"], changes["settings"]["afterState"]) == ({"/data/key": "old"}, {"/data/key": "new"})
    assert "2 of 2 steps would succeed" in found["status"]["message"]
    assert found["status"]["workflowResult"]["outcome"] == "unknown"


async def test_what_would_stand_in_the_way_is_told_with_its_step_and_what_would_help(world: World) -> None:
    rules = (
        'hold contains {"step": 1, "code": "frozen", "message": "nothing is released on fridays"}',
        "limit contains 1",
    )
    async with (
        condition(world, "holds", 'holds contains "door_open" if input.step.name == "nobody"') as reference,
        ruled(world, "dispatch", *rules),
        ruled(world, "approval", 'require_approval contains "a person looks at this namespace"'),
    ):
        wanted = [{"type": "door_open", "rego": reference, "timeout": "1m"}]
        found = await world.run(workflow("w", tell(1), tell(2, preConditions=wanted), tell(3), tell(4, dependsOn=[1]), simulate=True))
    assert phase(found) == "completed", told(found)
    (frozen,) = issues(found, "frozen")
    assert (frozen["severity"], frozen["stepNumber"]) == ("medium", 1)
    assert [i["stepNumber"] for i in issues(found, "precondition_unmet")] == [2]
    (approval,) = issues(found, "a person looks at this namespace")
    assert approval["severity"] == "medium"
    assert "phasegate approve" in approval["recommendation"]
    assert found["status"]["approval"]["required"]
    assert issues(found, "would not start as things stand: 4")


async def test_what_cannot_be_taken_back_is_told_before_it_is_done(world: World) -> None:
    await world.roll_out(deployment())
    found = await world.run(workflow("w", step(1, "restart-pod", {"selector": "app=web"}), simulate=True))
    assert phase(found) == "completed", told(found)
    (irreversible,) = issues(found, "irreversible_step")
    assert "step 1 cannot be taken back" in irreversible["description"]


async def test_what_a_failure_would_lead_to_is_told(world: World) -> None:
    await world.create(config_map())
    steps = chain(write(1, "new"), tell(2, criticalStep=False), tell(3, maxRetries=2), write(4, "newer"))
    found = await world.run(workflow("w", *steps, simulate=True))
    told_first = {i["description"].rpartition(": ")[2] for i in issues(found, "what happens first if an attempt")}
    assert told_first == {"rollback", "continue", "retry"}, report(found)["potentialIssues"]


async def test_a_step_that_would_fail_is_reported_and_fails_the_simulation(world: World) -> None:
    await world.create(config_map())
    before = await versions(world)
    found = await world.run(workflow("w", write(1, "new"), scale(2, 3), simulate=True))
    assert (phase(found), found["status"]["failureReason"]) == ("failed", "resource_not_found"), told(found)
    assert [r["wouldSucceed"] for r in report(found)["stepResults"]] == [True, False]
    assert await versions(world) == before
    assert (await world.read(*CONFIG))["data"]["key"] == "old"
