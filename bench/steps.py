"""What steps cost and how long they take: planning, one by one, all at once, with the limiter, in small and in large workflows."""

from __future__ import annotations

import time

from bench.counters import api_requests, cpu_seconds
from bench.load import Document, at_once, milliseconds, one_by_one, target, workflow
from bench.rig import Cost, Figures, Rig
from bench.samples import quantile, spread
from controller.cluster.kinds import EXECUTION
from controller.core.plan import build_plan
from controller.core.times import instant
from controller.settings import Settings

_FEW, _MANY, _RUNS = 10, 40, 5
_SMALL, _LARGE, _SMALL_RUNS = 10, 500, 20


async def plan(_: Rig) -> Figures:
    """Put 500 steps in order, 21 times; the median."""
    spec = workflow("w", 500)["spec"]
    taken = []
    for _turn in range(21):
        began = time.perf_counter()
        build_plan(spec)
        taken.append(1000 * (time.perf_counter() - began))
    return {"plan_500_ms": quantile(taken, 0.5)}


async def sequential(rig: Rig) -> Figures:
    """Five workflows of 10 steps and five of 40, one by one: cost per step is the slope between them, the rest is per workflow."""
    namespace = await rig.namespace("sequential")
    await target(rig, namespace)
    _, few = await _cost(rig, namespace, "few", _FEW, _RUNS)
    requests = api_requests(rig.api)
    ended, many = await _cost(rig, namespace, "many", _MANY, _RUNS)
    by_kind = (api_requests(rig.api) - requests).by_kind
    steps = [step for one in ended for step in one["status"]["stepStatuses"]]
    seen = await _completion_seen(rig, namespace, ended)

    def slope(small: float, large: float) -> float:
        return (large - small) / _RUNS / (_MANY - _FEW)

    def besides(small: float, large: float) -> float:
        return round(small / _RUNS - _FEW * slope(small, large), 1)

    return {
        "requests_per_step": round(slope(few.requests, many.requests), 2),
        "writes_per_step": round(slope(few.writes, many.writes), 2),
        "requests_per_workflow_besides": besides(few.requests, many.requests),
        "writes_per_workflow_besides": besides(few.writes, many.writes),
        "opa_round_trips_per_step": round(slope(few.questions, many.questions), 2),
        "opa_round_trips_per_workflow_besides": besides(few.questions, many.questions),
        "sequential_step_ms": spread([milliseconds(step["startTime"], step["endTime"]) for step in steps]),
        "completion_seen_ms": spread(seen),
        "requests_by_verb": {f"{verb} {resource}": count for (verb, resource), count in sorted(by_kind.items())}
        | {"workflows": _RUNS, "steps": _RUNS * _MANY},
    }


async def _cost(rig: Rig, namespace: str, name: str, steps: int, runs: int) -> tuple[list[Document], Cost]:
    before = rig.cost()
    ended = await one_by_one(rig, namespace, [workflow(f"{name}-{turn}", steps) for turn in range(runs)])
    return ended, rig.cost() - before


async def _completion_seen(rig: Rig, namespace: str, workflows: list[Document]) -> list[float]:
    """From the `completionTime` of each attempt to the `endTime` that its workflow gave the step."""
    page = await rig.cluster.list(EXECUTION, namespace)
    ended = {execution["metadata"]["name"]: execution["status"]["completionTime"] for execution in page.items}
    return [
        milliseconds(ended[step["k8sExecutionRef"]["name"]], step["endTime"]) for one in workflows for step in one["status"]["stepStatuses"]
    ]


async def pickup(rig: Rig) -> Figures:
    """From the request that creates a workflow to its `planningStartTime`, the time of the reconcile that takes it up; one by one."""
    namespace = await rig.namespace("pickup")
    await target(rig, namespace)
    taken = []
    for turn in range(100):
        began = time.time()
        ended = await one_by_one(rig, namespace, [workflow(f"w{turn}", 1)])
        taken.append(1000 * (instant(ended[0]["status"]["planningStartTime"]).timestamp() - began))
    return {"pickup_ms": spread(taken)}


async def throughput(rig: Rig) -> Figures:
    """200 workflows of 5 steps at once."""
    workflows, steps = 200, 5
    namespace = await rig.namespace("throughput")
    names = [f"w{n:03}" for n in range(workflows)]
    for name in names:
        await target(rig, namespace, name)
    used, began = cpu_seconds(rig.pid), time.monotonic()
    await at_once(rig, namespace, [workflow(name, steps, target=name) for name in names])
    seconds = time.monotonic() - began
    return {
        "steps_per_second": round(workflows * steps / seconds, 1),
        "cpu_ms_per_step": round(1000 * (cpu_seconds(rig.pid) - used) / (workflows * steps), 2),
    }


async def growth(rig: Rig) -> Figures:
    """What a step costs in a workflow of 500 steps, by what it costs in one of 10.

    What a workflow of one step costs is taken off both: what a workflow costs besides its steps would make the small one look dear.
    """
    namespace = await rig.namespace("growth")
    await target(rig, namespace)
    _, single = await _cost(rig, namespace, "single", 1, _SMALL_RUNS)
    _, small = await _cost(rig, namespace, "small", _SMALL, _SMALL_RUNS)
    _, large = await _cost(rig, namespace, "large", _LARGE, 1)

    def per_step(one: float, several: float, whole: float) -> tuple[float, float]:
        return (several - one) / _SMALL_RUNS / (_SMALL - 1), (whole - one / _SMALL_RUNS) / (_LARGE - 1)

    requests = per_step(single.requests, small.requests, large.requests)
    cpu = per_step(1000 * single.cpu, 1000 * small.cpu, 1000 * large.cpu)
    return {
        "cost_growth": {
            "requests": round(requests[1] / requests[0], 2),
            "cpu": round(cpu[1] / cpu[0], 2),
            "requests_per_step": {str(_SMALL): round(requests[0], 2), str(_LARGE): round(requests[1], 2)},
            "cpu_ms_per_step": {str(_SMALL): round(cpu[0], 2), str(_LARGE): round(cpu[1], 2)},
        }
    }


async def limiter(rig: Rig) -> Figures:
    """20 workflows of 5 steps at once under the default limiter: requests of the controller, by what it lets through in that time."""
    workflows, steps = 20, 5
    default = Settings()
    qps, burst = default.kubernetes_qps, default.kubernetes_burst
    namespace = await rig.namespace("limiter")
    names = [f"w{n:02}" for n in range(workflows)]
    for name in names:
        await target(rig, namespace, name)
    await rig.configure(kubernetes_qps=str(qps), kubernetes_burst=str(burst))
    before, began = api_requests(rig.api), time.monotonic()
    await at_once(rig, namespace, [workflow(name, steps, target=name) for name in names])
    used, seconds = (api_requests(rig.api) - before).total, time.monotonic() - began
    await rig.configure(kubernetes_qps="0")
    return {
        "limiter": {
            "share_percent": round(100 * used / (burst + qps * seconds), 1),
            "requests": used,
            "seconds": round(seconds, 1),
            "qps": qps,
            "burst": burst,
            "steps_per_second": round(workflows * steps / seconds, 2),
        }
    }
