"""Policies on trial on the real control plane: they are heard of, and nothing that they do or fail to do concerns a workflow."""

from __future__ import annotations

import asyncio
import json
import re
import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress

from support.controller import ControllerProcess
from support.metrics import samples
from support.patience import until
from support.team import policy
from support.workflows import NAMESPACE, World, config_map, phase, tell, told, workflow, write

from controller.cluster.kinds import EVENT
from controller.local.api import Api
from controller.local.plane import Plane

# All that a workflow meets on its way to completed.
GATES = ("planning", "safety", "approval", "dispatch", "action", "verify", "completion", "monitoring")
DENIES = 'deny contains {"code": "frozen", "message": "nothing goes while this is on trial"}\n'
ERRS = """deny contains "odd" if half(input.contract) > 0

half(_) := 1

half(text) := 2 if text != ""
"""
NEVER_ENDS = """deny contains "lost" if {
	some i in numbers.range(1, 100000)
	some j in numbers.range(1, 100000)
	i * j == 0.5
}
"""


@asynccontextmanager
async def on_trial(world: World, rules: Mapping[str, str]) -> AsyncIterator[str]:
    """One package on trial for each gate that is named, in one ConfigMap; answers the packages' name once they are active."""
    name = f"trial_{secrets.token_hex(4)}"
    files = {f"{gate}.rego": f"package kubernaut.shadow.{gate}.{name}\n\n{text}" for gate, text in rules.items()}
    async with policy(world, files, name.replace("_", "-")):
        yield name


def counted(plane: Plane, admin: Api, metric: str, **labels: str) -> dict[str, float]:
    """Gate → value of the series of a metric that have these labels, added up."""
    found: dict[str, float] = {}
    for sample in samples(plane, f"kubernaut_{metric}", token=admin.token, **labels):
        found[sample.labels["gate"]] = found.get(sample.labels["gate"], 0.0) + sample.value
    return found


async def verdicts_told(world: World, name: str) -> dict[str, str]:
    """Gate → what the trials' Events of a workflow say."""
    page = await world.cluster.list(EVENT, world.namespace, field_selector=f"involvedObject.name={name},reason=ShadowVerdict")
    messages = [(event["type"], str(event["message"])) for event in page.items]
    assert {kind for kind, _ in messages} <= {"Normal"}
    return {m[1]: message for _, message in messages if (m := re.match(r"on trial at gate (\w+)", message))}


async def all_told(world: World, name: str) -> dict[str, str]:
    """The same, once every gate has been heard of, or nothing more comes."""
    said: dict[str, str] = {}
    with suppress(TimeoutError):
        async with asyncio.timeout(10):
            while set(said := await verdicts_told(world, name)) != set(GATES):  # noqa: ASYNC110 - nobody tells when the last one is there
                await asyncio.sleep(0.1)
    return said


async def test_a_rule_on_trial_that_denies_everything_is_heard_at_every_gate_and_stops_nothing(
    world: World, plane: Plane, admin: Api
) -> None:
    await world.create(config_map())
    async with on_trial(world, dict.fromkeys(GATES, DENIES)) as name:
        said: dict[str, str] = {}
        for turn in range(5):
            # A trial has a second to answer; on a busy machine one of them may miss its turn, and has another with the next workflow.
            found = await world.run(workflow(f"w{turn}", write(1, f"new-{turn}")))
            assert phase(found) == "completed", told(found)
            said |= await all_told(world, f"w{turn}")
            if set(said) == set(GATES):
                break
        assert set(said) == set(GATES)
    assert said["dispatch"] == f"on trial at gate dispatch, deny by shadow.dispatch.{name} (frozen): nothing goes while this is on trial"
    assert said["action"].startswith(f"on trial at gate action, step 1, deny by shadow.action.{name}")
    counts = {
        gate: counted(plane, admin, "shadow_decisions_total", policy=f"shadow.{gate}.{name}", effect="deny", code="frozen")
        for gate in GATES
    }
    assert {gate for gate, count in counts.items() if count.get(gate, 0) >= 1} == set(GATES)


async def test_a_rule_on_trial_that_errs_and_one_that_never_ends_change_no_verdict_and_are_told(
    world: World, plane: Plane, admin: Api, controller: ControllerProcess
) -> None:
    def errors(reason: str) -> float:
        return sum(counted(plane, admin, "shadow_errors_total", reason=reason).values())

    def failures() -> dict[str, str]:
        lines = [json.loads(line) for line in controller.log.read_text().splitlines() if '"policy_trial_failed"' in line]
        return {line["package"]: line["error"] for line in lines}

    before = counted(plane, admin, "gate_decisions_total", decision="error"), errors("evaluation"), errors("timeout")
    async with on_trial(world, {"dispatch": ERRS, "action": ERRS}) as errs, on_trial(world, {"dispatch": NEVER_ENDS}) as endless:
        found = await world.run(workflow("w", tell(1)))
        assert phase(found) == "completed", told(found)
        wanted = {f"kubernaut.shadow.{gate}.{package}" for gate, package in (("action", errs), ("dispatch", errs), ("dispatch", endless))}
        await until(lambda: failures().keys() >= wanted)
        assert (errors("evaluation") > before[1], errors("timeout") > before[2]) == (True, True)
        assert counted(plane, admin, "gate_decisions_total", decision="error") == before[0]
    said = failures()
    config_map_name = errs.replace("_", "-")
    assert re.search(rf"conflicting values .* at {config_map_name}/action\.rego:\d+$", said[f"kubernaut.shadow.action.{errs}"])
    assert re.search(rf"conflicting values .* at {config_map_name}/dispatch\.rego:\d+$", said[f"kubernaut.shadow.dispatch.{errs}"])
    assert said[f"kubernaut.shadow.dispatch.{endless}"].startswith("OPA gave no answer within")


async def test_what_a_rule_on_trial_asks_for_is_read(world: World) -> None:
    rule = f"""facts contains {{"id": "my_namespace", "verb": "get", "apiVersion": "v1", "kind": "Namespace", "name": "{world.namespace}"}}

deny contains {{"code": "known", "message": input.facts.my_namespace.object.metadata.uid}} if input.facts.my_namespace.found
"""
    async with on_trial(world, {"dispatch": rule}):
        found = await world.run(workflow("w", tell(1)))
        assert phase(found) == "completed", told(found)
        message = await world.told("w", "ShadowVerdict")
    assert message.endswith(f"(known): {(await world.read(NAMESPACE, world.namespace))['metadata']['uid']}")
