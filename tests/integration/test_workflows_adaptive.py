"""Adaptive orchestration on the real control plane: what policy changes of a workflow that runs, where its author allows it."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping
from contextlib import suppress
from itertools import pairwise
from typing import Any

import pytest
from support.audit import recorded
from support.controller import ControllerProcess
from support.faults import Moment, between
from support.metrics import samples
from support.patience import until
from support.team import ruled
from support.workflows import (
    WEB,
    World,
    chain,
    codes,
    deployment,
    phase,
    states,
    step,
    tell,
    told,
    waiting,
    workflow,
)

from controller.cluster.kinds import EXECUTION, WORKFLOW
from controller.core.durations import parse_duration
from controller.core.times import instant

Document = dict[str, Any]

SKIP = 'skip contains {"step": 1, "code": "not_today", "message": "the site has it already"}'
LOWER = 'adjust contains {"max_parallel": 1, "reason": "the site is busy"}'
EXTEND = 'adjust contains {"step": 1, "timeout": "90s", "reason": "slow nodes"}'
ADJUST = 'adjust contains {"step": 1, "parameter": "replicas", "value": 3, "between": [1, 5], "reason": "it is noon"}'
SWITCHES = {
    "skip": "optimizationEnabled",
    "lower": "optimizationEnabled",
    "extend": "learningFromHistory",
    "adjust": "dynamicStepAdjustment",
}
RULES = {"skip": SKIP, "lower": LOWER, "extend": EXTEND, "adjust": ADJUST}


def scale(number: int = 1, replicas: int = 2, **more: Any) -> Document:
    """A step that scales `web`."""
    return step(number, "scale-deployment", {"deployment": "web", "replicas": replicas}, **more)


def allowing(*switches: str) -> dict[str, Document]:
    """What stands in a spec."""
    return {"adaptiveOrchestration": dict.fromkeys(switches, True)}


def adjustments(found: Document) -> list[tuple[int, str, str]]:
    """Step (0: the workflow), adjustment and reason of all that was changed."""
    entries = found["status"].get("adaptiveAdjustments") or []
    assert all(instant(e["timestamp"]) for e in entries)
    return [(e.get("stepNumber", 0), e["adjustment"], e["reason"]) for e in entries]


async def verdicts(controller: ControllerProcess, world: World, least: int = 1) -> list[Document]:
    """What `dispatch` said in this namespace, as it is recorded."""
    query = "select verdict from decisions where namespace = ? and gate = 'dispatch'"
    await until(lambda: len(recorded(controller, query, world.namespace)) >= least, what="the record of a decision")
    return [json.loads(row["verdict"]) for row in recorded(controller, query, world.namespace)]


# Off.


@pytest.mark.parametrize("others", [False, True], ids=["all off", "the others on"])
@pytest.mark.parametrize("kind", RULES)
async def test_what_the_author_does_not_allow_is_a_warning_and_changes_nothing(
    world: World, controller: ControllerProcess, kind: str, *, others: bool
) -> None:
    await world.roll_out(deployment())
    # A team's skip may be allowed by either of two switches.
    own = {SWITCHES[kind], *(("dynamicStepAdjustment",) if kind == "skip" else ())}
    switches = [switch for switch in dict.fromkeys(SWITCHES.values()) if others and switch not in own]
    async with ruled(world, "dispatch", RULES[kind]):
        found = await world.run(workflow("w", scale(timeout="1m"), tell(2), **allowing(*switches)))
    assert (phase(found), states(found), adjustments(found)) == ("completed", ["completed"] * 2, []), told(found)
    assert not any("adjusted" in entry for entry in found["status"]["stepStatuses"])
    spec = (await world.read(EXECUTION, "w-step-1"))["spec"]
    assert (spec["parameters"]["scaleDeployment"]["replicas"], spec["timeout"]) == (2, "1m")
    said = await verdicts(controller, world)
    assert {w["code"] for verdict in said for w in verdict["warnings"]} == {"skip_not_allowed" if kind == "skip" else "adjust_not_allowed"}
    if not others:
        assert not any(verdict["facts"] for verdict in said)


async def test_a_step_with_nothing_left_to_do_is_done_all_the_same(world: World) -> None:
    await world.roll_out(deployment())
    found = await world.run(workflow("w", scale(replicas=1), **allowing("learningFromHistory", "dynamicStepAdjustment")))
    assert (states(found), adjustments(found)) == (["completed"], []), told(found)


# On: skip.


async def test_a_step_with_nothing_left_to_do_is_left_out_and_what_depends_on_it_goes_on(world: World) -> None:
    await world.roll_out(deployment())
    steps = chain(scale(1, 1), scale(2, 2), scale(3, 2), tell(4))
    found = await world.run(workflow("w", *steps, **allowing("optimizationEnabled")))
    assert (phase(found), states(found)) == ("completed", ["skipped", "completed", "skipped", "completed"]), told(found)
    assert found["status"]["progress"] == 100
    first, third = adjustments(found)
    assert (first[:2], third[:2]) == ((1, "skip the step"), (3, "skip the step"))
    assert first[2].startswith("unnecessary: web runs 1 replicas already, all available (catalogue.scale_deployment)")
    assert "web runs 2 replicas already" in found["status"]["stepStatuses"][2]["message"]
    assert [a["metadata"]["name"] for a in await world.attempts("w")] == ["w-step-2", "w-step-4"]


async def test_a_team_leaves_a_step_out(world: World) -> None:
    await world.roll_out(deployment())
    async with ruled(world, "dispatch", SKIP):
        found = await world.run(workflow("w", *chain(scale(), tell(2)), **allowing("optimizationEnabled")))
    assert (phase(found), states(found)) == ("completed", ["skipped", "completed"]), told(found)
    ((number, adjustment, reason),) = adjustments(found)
    assert (number, adjustment) == (1, "skip the step")
    assert reason.startswith("not_today: the site has it already (rules.dispatch.team_")
    assert (await world.read(*WEB))["spec"]["replicas"] == 1


# On: lower.


async def test_fewer_steps_run_at_once(world: World) -> None:
    steps = [waiting(n, timeout="200ms", criticalStep=False) for n in range(1, 5)]
    async with ruled(world, "dispatch", LOWER):
        found = await world.run(workflow("w", *steps, **allowing("optimizationEnabled")))
    entries = found["status"]["stepStatuses"]
    assert all(instant(a["endTime"]) <= instant(b["startTime"]) for a, b in pairwise(entries))
    ((number, adjustment, reason),) = adjustments(found)
    assert (number, adjustment) == (0, "lower the number of steps at once from 5 to 1")
    assert reason.startswith("the site is busy (rules.dispatch.team_")


# On: extend.


@pytest.mark.parametrize(("own", "extended"), [("1m", "1m30s"), ("5s", "15s"), ("2m", None)])
async def test_a_step_gets_more_time_but_three_times_its_own_at_most_and_never_less(world: World, own: str, extended: str | None) -> None:
    async with ruled(world, "dispatch", EXTEND):
        found = await world.run(workflow("w", tell(1, timeout=own), **allowing("learningFromHistory")))
    (attempt,) = await world.attempts("w")
    assert attempt["spec"]["timeout"] == (extended or own)
    (entry,) = found["status"]["stepStatuses"]
    if extended is None:
        assert ("adjusted" in entry, adjustments(found)) == (False, [])
        return
    assert entry["adjusted"] == {"timeout": extended}
    ((number, adjustment, reason),) = adjustments(found)
    own_seconds, seconds = parse_duration(own).seconds, parse_duration(extended).seconds
    assert (number, adjustment) == (1, f"extend the timeout from {own_seconds} s to {seconds} s")
    assert reason.startswith("slow nodes (rules.dispatch.team_")


async def test_more_time_is_learned_from_five_attempts_before(world: World, controller: ControllerProcess) -> None:
    slow = deployment()
    slow["spec"]["minReadySeconds"] = 1
    await world.roll_out(slow)

    async def tried(document: Document, attempts: int) -> Document:
        """Run a workflow, and wait until so many attempts of this namespace are on record."""
        found = await world.run(document)
        query = "select 1 from steps where namespace = ? and action = 'scale_deployment'"
        await until(lambda: len(recorded(controller, query, world.namespace)) >= attempts, what="the record of an attempt")
        return found

    learning = allowing("learningFromHistory")
    await tried(workflow("past", *chain(*(scale(n, 2 - n % 2 + 1) for n in range(1, 5)))), 4)
    for name, attempts in (("too-few", 5), ("long-enough", 6)):
        timeout = "1s" if name == "too-few" else "1m"
        found = await tried(workflow(name, scale(1, 2 if name == "too-few" else 1, timeout=timeout), **learning), attempts)
        assert adjustments(found) == [], told(found)
        assert (await world.read(EXECUTION, f"{name}-step-1"))["spec"]["timeout"] == timeout
    found = await world.run(workflow("now", scale(1, 4, timeout="1s"), **learning))
    ((number, adjustment, reason),) = adjustments(found)
    assert (number, adjustment.startswith("extend the timeout from 1 s to ")) == (1, True)
    past = re.match(r"of 6 earlier attempts, 95 % were done within ([0-9.]+) s \(history\)", reason)
    assert past is not None, reason
    given = parse_duration((await world.read(EXECUTION, "now-step-1"))["spec"]["timeout"]).total_seconds()
    assert given == pytest.approx(min(2 * float(past[1]), 3))


# On: adjust.


async def test_a_parameter_is_adjusted_within_the_bounds_that_the_rule_names(world: World) -> None:
    await world.roll_out(deployment())
    async with ruled(world, "dispatch", ADJUST):
        found = await world.run(workflow("w", scale(), **allowing("dynamicStepAdjustment")))
    assert phase(found) == "completed", told(found)
    assert (await world.read(*WEB))["spec"]["replicas"] == 3
    (attempt,) = await world.attempts("w")
    assert attempt["spec"]["parameters"]["scaleDeployment"] == {"deployment": "web", "replicas": 3}
    assert found["status"]["stepStatuses"][0]["adjusted"]["parameters"]["scaleDeployment"]["replicas"] == 3
    ((number, adjustment, reason),) = adjustments(found)
    assert (number, adjustment) == (1, "adjust replicas from 2 to 3")
    assert reason.startswith("it is noon (rules.dispatch.team_")
    assert found["spec"]["workflowDefinition"]["steps"][0]["parameters"]["scaleDeployment"]["replicas"] == 2


DENIED: Mapping[str, tuple[tuple[str, ...], str]] = {
    "beyond its bounds": ((ADJUST.replace("[1, 5]", "[1, 2]"),), "rule_is_malformed"),
    "no bounds": ((ADJUST.replace('"between": [1, 5], ', ""),), "rule_is_malformed"),
    "which object": (
        (ADJUST.replace('"replicas", "value": 3, "between": [1, 5]', '"deployment", "value": "x", "one_of": ["x"]'),),
        "rule_is_malformed",
    ),
    "a parameter that the step lacks": ((ADJUST.replace("replicas", "maxReplicas"),), "rule_is_malformed"),
    "two values": ((ADJUST, ADJUST.replace('"value": 3', '"value": 4')), "adjust_conflict"),
}


@pytest.mark.parametrize("why", DENIED)
async def test_an_adjustment_that_cannot_be_meant_is_denied_and_nothing_is_sent(world: World, why: str) -> None:
    rules, code = DENIED[why]
    await world.roll_out(deployment())
    async with ruled(world, "dispatch", *rules):
        found = await world.run(workflow("w", scale(), **allowing("dynamicStepAdjustment")))
    assert (phase(found), states(found), codes(found, "dispatch")) == ("blocked", ["pending"], [code]), told(found)
    assert found["status"]["failureReason"] == "policy_denied"
    assert adjustments(found) == []
    assert not await world.attempts("w")
    assert (await world.read(*WEB))["spec"]["replicas"] == 1


async def test_the_same_adjusted_attempt_is_made_after_a_crash_before_it_was_made(world: World, controller: ControllerProcess) -> None:
    await world.roll_out(deployment())
    async with between(controller, f"^POST .*/namespaces/{world.namespace}/kubernetesexecutions$", "--no-leader-elect") as proxy:
        async with ruled(world, "dispatch", ADJUST):
            proxy.arm(0, Moment.BEFORE, controller.kill)
            await world.create(workflow("w", scale(), **allowing("dynamicStepAdjustment")))
            await until(lambda: proxy.struck, 30, "the creation of the attempt")
        found = await world.read(WORKFLOW, "w")
        assert (states(found), await world.attempts("w")) == (["executing"], [])
        assert found["status"]["stepStatuses"][0]["adjusted"]["parameters"]["scaleDeployment"]["replicas"] == 3
        # Whoever asked again would get another answer: the rule is gone.
        await asyncio.to_thread(controller.start, "--no-leader-elect")
        found = await world.ended("w")
    assert (phase(found), found["status"]["stepStatuses"][0]["attempts"]) == ("completed", 1), told(found)
    assert [a["spec"]["parameters"]["scaleDeployment"]["replicas"] for a in await world.attempts("w")] == [3]
    assert [entry[1] for entry in adjustments(found)] == ["adjust replicas from 2 to 3"]
    assert (await world.read(*WEB))["spec"]["replicas"] == 3


# Told once.


async def test_each_change_is_recorded_and_counted_once_however_often_it_is_judged(world: World, controller: ControllerProcess) -> None:
    await world.roll_out(deployment())
    await asyncio.to_thread(controller.kill)
    await asyncio.to_thread(controller.start, "--no-leader-elect", "--metrics-open", f"--namespaces={world.namespace}")
    # The second step is tried three times, and every attempt gets the time; the third finds that the first has done its work.
    steps = [
        scale(),
        waiting(2, timeout="200ms", criticalStep=False, maxRetries=2) | {"timeout": "1m"},
        scale(3, 3, dependsOn=[1]),
        tell(4, dependsOn=[3]),
    ]
    try:
        async with ruled(world, "dispatch", LOWER, EXTEND.replace('"step": 1', '"step": 2'), ADJUST):
            found = await world.run(workflow("w", *steps, **allowing(*dict.fromkeys(SWITCHES.values()))))
        assert states(found) == ["completed", "failed", "skipped", "completed"], told(found)
        said = [(number, adjustment.split()[0]) for number, adjustment, _ in adjustments(found)]
        assert sorted(said) == [(0, "lower"), (1, "adjust"), (2, "extend"), (3, "skip")], adjustments(found)
        assert [a["spec"].get("timeout") for a in await world.attempts("w") if a["spec"]["stepNumber"] == 2] == ["1m30s"] * 3
        with suppress(TimeoutError):
            await until(lambda: counted(controller) == dict.fromkeys(SWITCHES, 1))
        assert counted(controller) == dict.fromkeys(SWITCHES, 1)
    finally:
        await asyncio.to_thread(controller.kill)


def counted(controller: ControllerProcess) -> dict[str, float]:
    """The changes that the controller has counted, by type."""
    found = samples(controller.plane, "kubernaut_workflowexecution_adaptive_adjustments_total")
    return {sample.labels["adjustment_type"]: sample.value for sample in found if sample.value}
