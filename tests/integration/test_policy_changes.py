"""Policies that change under running workflows: every decision belongs to one set that was served, and none is lost."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from support.controller import ControllerProcess
from support.metrics import total
from support.workflows import SYSTEM, World, chain, condition, phase, tell, told, workflow

from controller.cluster.kinds import CONFIG_MAP, EXECUTION, WORKFLOW
from controller.policy.history import read_history

WORKFLOWS = 20
STEPS = 10
CHANGES = 60
Document = dict[str, Any]


def rule(number: int) -> Document:
    """A team's rule, which a change makes another one each time."""
    module = f"package kubernaut.rules.dispatch.churn\n\nlimit contains {number + 10}\n"
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "churn", "labels": {"kubernaut.ai/policy": "rego"}},
        "data": {"churn.rego": module},
    }


def gate_errors(controller: ControllerProcess) -> float:
    """How many decisions could not be had so far."""
    return total(controller.plane, "kubernaut_gate_decisions_total", decision="error")


async def test_under_a_change_every_fifth_of_a_second_each_decision_names_one_set_that_was_served(
    world: World, controller: ControllerProcess
) -> None:
    controller.kill()
    controller.start("--metrics-open")
    before = gate_errors(controller)
    revisions: dict[str, set[str]] = {}

    def note(found: Document) -> None:
        for answer in ((found.get("status") or {}).get("gates") or {}).values():
            revisions.setdefault(answer["decisionId"], set()).add(answer["policyRevision"])

    async def change() -> None:
        for number in range(CHANGES):
            await world.cluster.patch(CONFIG_MAP, SYSTEM, "churn", rule(number), patch_type="apply", force=True)
            await asyncio.sleep(0.2)

    async def follow(name: str) -> Document:
        async for state in world.states_of(WORKFLOW, name, 150):
            note(state)
            if phase(state) in {"completed", "failed", "blocked", "rolled_back", "degraded"}:
                return state
        raise AssertionError(f"{name} did not end")

    changing = asyncio.create_task(change())
    try:
        names = [f"w{n}" for n in range(WORKFLOWS)]
        await asyncio.gather(*(world.create(workflow(name, *chain(*(tell(n) for n in range(1, STEPS + 1))))) for name in names))
        ended = await asyncio.gather(*(follow(name) for name in names))
        await changing
    finally:
        changing.cancel()
        await asyncio.gather(changing, return_exceptions=True)
        await world.cluster.delete(CONFIG_MAP, SYSTEM, "churn")

    assert [phase(found) for found in ended] == ["completed"] * WORKFLOWS, [told(found) for found in ended]
    for execution in (await world.cluster.list(EXECUTION, world.namespace)).items:
        note(execution)
    assert {len(named) for named in revisions.values()} == {1}
    # OPA answers by what it has activated; it can only have activated what it was served.
    log = [json.loads(line) for line in controller.log.read_text().splitlines() if '"policy_served"' in line]
    served = {entry["revision"] for entry in log}
    used = {revision for named in revisions.values() for revision in named}
    assert len(used) > 3
    assert used <= served
    assert gate_errors(controller) == before

    # People can look each of them up.
    def listed(found: Document) -> bool:
        return used <= {entry["revision"] for entry in read_history(found.get("data") or {})}

    await world.within(SYSTEM).until(CONFIG_MAP, "kubernaut-policy-set", listed)


async def test_a_rule_that_errs_on_one_workflow_holds_that_one_and_says_where_it_errs(world: World, controller: ControllerProcess) -> None:
    assert controller.is_running
    system = world.within(SYSTEM)
    helper = 'helper(name) := 1 if name == "errs"\n\nhelper(name) := 2 if name == "errs"\n'
    module = f'package kubernaut.rules.dispatch.erring\n\ndeny contains "x" if helper(input.workflow.metadata.name) == 3\n\n{helper}'
    body = {"metadata": {"name": "erring", "labels": {"kubernaut.ai/policy": "rego"}}, "data": {"errs.rego": module}}
    await world.cluster.create(CONFIG_MAP, SYSTEM, body)
    try:
        await system.until(CONFIG_MAP, "erring", lambda found: '"state": "active"' in str(found["metadata"].get("annotations")))
        await world.create(workflow("errs", tell()), workflow("other", tell()))
        found = await world.until(WORKFLOW, "errs", lambda found: condition(found, "PolicyReady").get("status") == "False")
        assert "erring/errs.rego:" in condition(found, "PolicyReady")["message"]
        assert phase(await world.ended("other")) == "completed"
    finally:
        await world.cluster.delete(CONFIG_MAP, SYSTEM, "erring")
    assert phase(await world.ended("errs")) == "completed"
