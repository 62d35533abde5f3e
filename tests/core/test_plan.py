"""The graph of a workflow: order, batches, strategy, and what is said when it cannot be put in order."""

from __future__ import annotations

import random
from typing import Any

import pytest

from controller.core.plan import GraphError, build_plan, plan_hash


def step(number: int, *depends_on: int | str, name: str | None = None, **more: Any) -> dict[str, Any]:
    return {
        "stepNumber": number,
        "name": name or f"s{number}",
        "action": "scale-deployment",
        "parameters": {"scaleDeployment": {"deployment": "d", "replicas": 1}},
        "dependsOn": list(depends_on),
        **more,
    }


def spec(*steps: dict[str, Any], **definition: Any) -> dict[str, Any]:
    return {"workflowDefinition": {"steps": list(steps), **definition}}


@pytest.mark.parametrize(
    ("steps", "batches", "strategy"),
    [
        pytest.param([step(1), step(2, 1), step(3, 2)], ((1,), (2,), (3,)), "sequential", id="one after the other"),
        pytest.param([step(1), step(2), step(3)], ((1, 2, 3),), "parallel", id="all at once"),
        pytest.param([step(1), step(2, 1), step(3, 1), step(4, 2, 3)], ((1,), (2, 3), (4,)), "sequential-with-parallel", id="a diamond"),
        pytest.param([step(2, "s1"), step(1)], ((1,), (2,)), "sequential", id="dependencies by name, in any order"),
    ],
)
def test_steps_are_put_into_topological_batches(steps: list[dict[str, Any]], batches: tuple[tuple[int, ...], ...], strategy: str) -> None:
    plan = build_plan(spec(*steps))
    assert plan.batches == batches
    assert plan.strategy == strategy


def test_the_dependencies_map_is_merged_with_depends_on() -> None:
    plan = build_plan(spec(step(1), step(2), step(3, 1), dependencies={"s3": ["s2"]}))
    assert plan.steps[3]["dependsOn"] == [1, 2]


def test_a_cycle_is_spelt_out_in_the_order_of_execution() -> None:
    with pytest.raises(GraphError, match="a → b → c → a") as caught:
        build_plan(spec(step(1, 3, name="a"), step(2, 1, name="b"), step(3, 2, name="c"), step(4, name="free")))
    assert caught.value.reason == "dependency_resolution_failed"


def test_a_step_that_depends_on_itself_is_a_cycle() -> None:
    with pytest.raises(GraphError, match="a → a"):
        build_plan(spec(step(1, "a", name="a")))


def test_an_unknown_dependency_names_the_step_and_what_there_is() -> None:
    with pytest.raises(GraphError, match="step 's2' depends on 'nope', which is no step; steps are: s1, s2"):
        build_plan(spec(step(1), step(2, "nope")))


def test_two_steps_of_one_name_are_refused() -> None:
    with pytest.raises(GraphError, match="steps 1 and 2 are both named 'x'"):
        build_plan(spec(step(1, name="x"), step(2, name="x")))


def test_every_spelling_of_an_action_means_the_same() -> None:
    spellings = ["scale-deployment", "scale_deployment", "ScaleDeployment"]
    plan = build_plan(spec(*(step(i, action=a) for i, a in enumerate(spellings, 1))))
    assert {s["action"] for s in plan.steps.values()} == {"scale_deployment"}


def test_retries_and_criticality_have_defaults() -> None:
    plan = build_plan({**spec(step(1), step(2, maxRetries=3, criticalStep=False)), "executionStrategy": {"maxRetries": 2}})
    assert (plan.steps[1]["maxRetries"], plan.steps[1]["criticalStep"]) == (2, True)
    assert (plan.steps[2]["maxRetries"], plan.steps[2]["criticalStep"]) == (3, False)


def test_the_plan_hash_ignores_the_order_of_keys_and_sees_everything_that_matters() -> None:
    one = spec(step(1))
    turned = {"workflowDefinition": {"steps": [dict(reversed(list(step(1).items())))]}}
    digests = {"scale_deployment": "d1"}
    same = plan_hash(build_plan(one), one, digests)
    assert plan_hash(build_plan(turned), turned, digests) == same
    changed = [
        spec(step(1, parameters={"scaleDeployment": {"deployment": "d", "replicas": 2}})),
        spec(step(1, name="other")),
        spec(step(1), step(2)),
        {**one, "executionStrategy": {"rollbackStrategy": "none"}},
    ]
    hashes = {plan_hash(build_plan(s), s, digests) for s in changed} | {plan_hash(build_plan(one), one, {"scale_deployment": "d2"})}
    assert same not in hashes
    assert len(hashes) == 5


def test_a_graph_of_500_steps_is_ordered_so_that_no_step_comes_before_its_dependencies() -> None:
    rng = random.Random(7)  # noqa: S311 - a repeatable graph is no secret
    steps = [step(n, *rng.sample(range(1, n), min(3, n - 1))) for n in range(1, 501)]
    rng.shuffle(steps)
    plan = build_plan(spec(*steps))
    place = {n: i for i, batch in enumerate(plan.batches) for n in batch}
    assert all(place[d] < place[n] for n, s in plan.steps.items() for d in s["dependsOn"])
