"""`make bench`: runs workflows on a control plane of its own and writes .bench/report.md and .bench/report.json."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from bench.counters import api_requests, cpu_seconds, opa_questions, resident_mib
from controller.cluster.client import Cluster, connect
from controller.cluster.kinds import CONFIG_MAP, WORKFLOW, kind_of
from controller.core.phases import TERMINAL
from controller.core.plan import build_plan
from controller.local import plane as local
from controller.local.api import Api
from controller.local.programs import provide
from controller.paths import ROOT

Document = dict[str, Any]
Figures = dict[str, Any]

# Figure → (the target of the project's contract, unit, True if less is better).
TARGETS: dict[str, tuple[float, str, bool]] = {
    "requests_per_step": (7, "", True),
    "writes_per_step": (5, "", True),
    "requests_per_workflow_besides": (4, "", True),
    "opa_round_trips_per_step": (6, "", True),
    "opa_round_trips_per_workflow_besides": (8, "", True),
    "sequential_step_ms.p50": (35, "ms", True),
    "sequential_step_ms.p99": (120, "ms", True),
    "pickup_ms.p99": (100, "ms", True),
    "steps_per_second": (60, "1/s", False),
    "cpu_ms_per_step": (12, "ms", True),
    "rss_mib": (256, "MiB", True),
    "gate_latency_ms.p99": (4, "ms", True),
    "plan_500_ms": (50, "ms", True),
    "idle_writes_per_minute": (0, "", True),
    "idle_cpu_percent": (2, "%", True),
    "policy_live_ms.p95": (500, "ms", True),
}


_MODULES = 200
_CHANGES = 50
_CHURN = 1000
_LONG = frozenset({"churn"})  # a quarter of an hour; only when asked for by name


@dataclass(slots=True)
class Rig:
    """The control plane, the controller under test and a client for the load."""

    plane: local.Plane
    cluster: Cluster
    api: Api
    pid: int

    async def namespace(self, name: str) -> str:
        """Make a namespace."""
        kind = kind_of("v1", "Namespace")
        assert kind is not None
        await self.cluster.create(kind, None, {"metadata": {"name": name}})
        return name


def workflow(name: str, steps: int, *, target: str, chained: bool = True) -> Document:
    """A workflow of ``steps`` steps, each of which writes one key of one ConfigMap."""
    return {
        "apiVersion": WORKFLOW.api_version,
        "kind": WORKFLOW.kind,
        "metadata": {"name": name},
        "spec": {
            "workflowDefinition": {
                "steps": [
                    {
                        "stepNumber": n,
                        "name": f"s{n}",
                        "action": "update-configmap",
                        "parameters": {"updateConfigmap": {"name": target, "dataUpdates": {f"k{n}": str(n)}}},
                        "dependsOn": [n - 1] if chained and n > 1 else [],
                    }
                    for n in range(1, steps + 1)
                ]
            },
            "executionStrategy": {"dryRunFirst": False},
        },
    }


async def until_ended(rig: Rig, namespace: str, count: int, seconds: float) -> list[Document]:
    """Wait until every workflow of a namespace has ended well.

    Raises:
        RuntimeError: one of them ended otherwise, or not in time.
    """
    deadline = time.monotonic() + seconds
    page = await rig.cluster.list(WORKFLOW, namespace)
    seen = {w["metadata"]["name"]: w for w in page.items}
    version = page.resource_version
    while True:
        done = [w for w in seen.values() if (w.get("status") or {}).get("phase") in TERMINAL]
        if len(done) == count:
            break
        if time.monotonic() > deadline:
            raise RuntimeError(f"{count - len(done)} of {count} workflows in {namespace} did not end within {seconds:g} s")
        async for event in rig.cluster.watch(WORKFLOW, namespace, version, 5):
            if event is not None and event["type"] in {"ADDED", "MODIFIED"}:
                seen[event["object"]["metadata"]["name"]] = event["object"]
                version = event["object"]["metadata"]["resourceVersion"]
            if sum((w.get("status") or {}).get("phase") in TERMINAL for w in seen.values()) == count:
                break
    bad = {w["metadata"]["name"]: w["status"] for w in seen.values() if w["status"]["phase"] != "completed"}
    if bad:
        name, status = next(iter(bad.items()))
        raise RuntimeError(f"{len(bad)} workflows did not complete, among them {name}: {status['phase']}: {status.get('message')}")
    return list(seen.values())


async def settled(rig: Rig) -> None:
    """Wait until the start is over: the controller tells every policy ConfigMap once that it is active."""
    before = -1
    while (now := api_requests(rig.api).total) != before:
        before = now
        await asyncio.sleep(1.5)


async def sequential(rig: Rig) -> Figures:
    """One workflow of 40 steps after another of 10: cost per step is the slope between them, the rest is per workflow."""
    costs = []
    for steps in (10, 40):
        namespace = await rig.namespace(f"sequential-{steps}")
        await rig.cluster.create(CONFIG_MAP, namespace, {"metadata": {"name": "target"}, "data": {}})
        before, asked = api_requests(rig.api), opa_questions(rig.plane.opa)
        await rig.cluster.create(WORKFLOW, namespace, {**workflow("w", steps, target="target"), "metadata": {"name": "w"}})
        ended = await until_ended(rig, namespace, 1, 60)
        used = api_requests(rig.api) - before
        facts = used.by_kind["GET", "configmaps"] + used.by_kind["POST", "subjectaccessreviews"]
        costs.append((steps, used.total - facts - 1, used.writes - 1, opa_questions(rig.plane.opa) - asked, used))
    (few, requests_few, writes_few, asked_few, _), (many, requests_many, writes_many, asked_many, used) = costs
    extra = many - few
    status = ended[0]["status"]
    taken = sorted(1000 * (_instant(e["endTime"]) - _instant(e["startTime"])) for e in status["stepStatuses"])
    return {
        "requests_per_step": round((requests_many - requests_few) / extra, 2),
        "writes_per_step": round((writes_many - writes_few) / extra, 2),
        "requests_per_workflow_besides": round(requests_few - few * (requests_many - requests_few) / extra, 1),
        "writes_per_workflow_besides": round(writes_few - few * (writes_many - writes_few) / extra, 1),
        "opa_round_trips_per_step": round((asked_many - asked_few) / extra, 2),
        "opa_round_trips_per_workflow_besides": round(asked_few - few * (asked_many - asked_few) / extra, 1),
        "sequential_step_ms": {"p50": round(statistics.median(taken), 1), "p99": round(taken[-1], 1)},
        "requests_by_verb": {f"{verb} {resource}": count for (verb, resource), count in sorted(used.by_kind.items())},
    }


async def pickup(rig: Rig) -> Figures:
    """From creation to `executing`, one at a time."""
    namespace = await rig.namespace("pickup")
    await rig.cluster.create(CONFIG_MAP, namespace, {"metadata": {"name": "target"}, "data": {}})
    taken = []
    for turn in range(20):
        began = time.time()
        await rig.cluster.create(WORKFLOW, namespace, workflow(f"w{turn}", 1, target="target"))
        ended = await until_ended(rig, namespace, turn + 1, 30)
        status = next(w for w in ended if w["metadata"]["name"] == f"w{turn}")["status"]
        taken.append(1000 * (_instant(status["planningStartTime"]) - began))
    taken.sort()
    return {"pickup_ms": {"p50": round(statistics.median(taken), 1), "p99": round(taken[-1], 1)}}


async def throughput(rig: Rig) -> Figures:
    """200 workflows of 5 steps at once."""
    workflows, steps = 200, 5
    namespace = await rig.namespace("throughput")
    names = [f"w{n:03}" for n in range(workflows)]
    await asyncio.gather(*(rig.cluster.create(CONFIG_MAP, namespace, {"metadata": {"name": name}, "data": {}}) for name in names))
    used = cpu_seconds(rig.pid)
    began = time.monotonic()
    await asyncio.gather(*(rig.cluster.create(WORKFLOW, namespace, workflow(name, steps, target=name)) for name in names))
    await until_ended(rig, namespace, workflows, 300)
    seconds = time.monotonic() - began
    return {
        "steps_per_second": round(workflows * steps / seconds, 1),
        "cpu_ms_per_step": round(1000 * (cpu_seconds(rig.pid) - used) / (workflows * steps), 2),
        "rss_mib": round(resident_mib(rig.pid), 1),
    }


async def idle(rig: Rig) -> Figures:
    """What happens when nothing happens: half a minute after everything has ended."""
    await asyncio.sleep(3)
    before, used, began = api_requests(rig.api), cpu_seconds(rig.pid), time.monotonic()
    await asyncio.sleep(20)
    since = time.monotonic() - began
    return {
        "idle_writes_per_minute": round(60 * (api_requests(rig.api) - before).writes / since, 2),
        "idle_cpu_percent": round(100 * (cpu_seconds(rig.pid) - used) / since, 2),
    }


async def gates(rig: Rig) -> Figures:
    """Latency of decisions as the reconciler saw them in all runs before, from its own histogram."""
    text = Api(f"http://{rig.plane.metrics}").get("/metrics").body.decode()
    counts: dict[float, float] = {}
    for line in text.splitlines():
        if line.startswith("kubernaut_gate_latency_seconds_bucket"):
            bound = line.split('le="')[1].split('"')[0]
            edge = float("inf") if bound == "+Inf" else float(bound)
            counts[edge] = counts.get(edge, 0) + float(line.rsplit(" ", 1)[1])
    edges = sorted(counts)
    total = counts[edges[-1]]

    def quantile(share: float) -> float:
        return 1000 * next(edge for edge in edges if counts[edge] >= share * total)

    return {
        "gate_latency_ms": {
            "p50": round(quantile(0.5), 2),
            "p99": round(quantile(0.99), 2),
            "note": "upper edge of the histogram's bucket, facts included",
        }
    }


async def plan(_: Rig) -> Figures:
    """Put 500 steps in order."""
    spec = workflow("w", 500, target="t")["spec"]
    began = time.perf_counter()
    build_plan(spec)
    return {"plan_500_ms": round(1000 * (time.perf_counter() - began), 1)}


async def policy(rig: Rig) -> Figures:
    """From the write of a policy ConfigMap to the first decision under it, with 200 modules, 50 times."""
    shipped = len([file for file in (ROOT / "policies").rglob("*.rego") if not file.name.endswith("_test.rego")])
    await asyncio.gather(*(_rule(rig, f"bench-{n}", n + 20) for n in range(_MODULES - shipped)))
    await settled(rig)
    taken = sorted([1000 * await _changed(rig, 1000 + turn) for turn in range(_CHANGES)])
    return {
        "policy_live_ms": {
            "p50": round(statistics.median(taken), 1),
            "p95": round(taken[int(0.95 * len(taken)) - 1], 1),
            "modules": _MODULES,
        }
    }


async def churn(rig: Rig) -> Figures:
    """Memory of the controller and of OPA before and after 1,000 changes, each of which became active."""
    memory = []
    for turn in range(_CHURN + 1):
        if turn in {_CHURN // 10, _CHURN}:
            await asyncio.sleep(2)
            memory.append((resident_mib(rig.pid), resident_mib(rig.plane.pids["opa"])))
        await _changed(rig, 5000 + turn)
    (controller, opa), (controller_after, opa_after) = memory
    return {
        "churn_rss_mib": {
            "changes": _CHURN,
            "controller": round(controller_after, 1),
            "controller_growth": round(controller_after - controller, 1),
            "opa": round(opa_after, 1),
            "opa_growth": round(opa_after - opa, 1),
        }
    }


async def _rule(rig: Rig, name: str, limit: int) -> None:
    """Write one team's ConfigMap of one module."""
    body = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": "kubernaut-system", "labels": {"kubernaut.ai/policy": "rego"}},
        "data": {"rule.rego": f"package kubernaut.rules.dispatch.{name.replace('-', '_')}\n\nlimit contains {limit}\n"},
    }
    await rig.cluster.patch(CONFIG_MAP, "kubernaut-system", name, body, patch_type="apply", force=True)


async def _changed(rig: Rig, limit: int) -> float:
    """Change one rule; answers the seconds until a decision is made under it."""
    before = _revision(rig)
    began = time.monotonic()
    await _rule(rig, "bench-0", limit)
    while _revision(rig) == before:
        await asyncio.sleep(0.005)
        if time.monotonic() - began > 10:
            raise RuntimeError("a policy change did not become active within 10 s")
    return time.monotonic() - began


def _revision(rig: Rig) -> str:
    answer = Api(rig.plane.opa).post("/v1/data/kubernaut/gates/planning/verdict?provenance=true", {"input": {}}).document
    return str(answer["provenance"]["bundles"]["kubernaut"]["revision"])


def _instant(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


PARTS: dict[str, Callable[[Rig], Awaitable[Figures]]] = {
    "plan": plan,
    "sequential": sequential,
    "pickup": pickup,
    "throughput": throughput,
    "idle": idle,
    "gates": gates,
    "policy": policy,
    "churn": churn,
}


async def measure(names: list[str], plane: local.Plane, pid: int) -> Figures:
    """Run the named parts, in order, against one controller."""
    folder = local.Folder(plane.state)
    record = folder.read()
    assert record is not None
    figures: Figures = {}
    cluster = await connect(plane.kubeconfig)
    async with cluster:
        rig = Rig(plane, cluster, Api(plane.server, record.tokens["admin"], folder.authority), pid)
        await settled(rig)
        for name in names:
            print(f"{name} …", flush=True)
            figures |= await PARTS[name](rig)
    return figures


def report(figures: Figures) -> str:
    """The figures beside their targets, as Markdown."""
    lines = ["| figure | measured | target |", "|---|---|---|"]
    for key, (target, unit, less) in TARGETS.items():
        name, _, part = key.partition(".")
        value = figures.get(name)
        value = value.get(part) if isinstance(value, dict) else value
        if value is not None:
            good = value <= target if less else value >= target
            lines.append(f"| {key} | {value} {unit}{'' if good else ' **missed**'} | {'≤' if less else '≥'} {target:g} {unit} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Measure, write, print."""
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("--only", choices=sorted(PARTS), help="one part only")
    arguments = parser.parse_args()
    folder = ROOT / ".bench"
    folder.mkdir(exist_ok=True)
    opa = provide("opa")["opa"]
    with tempfile.TemporaryDirectory(prefix="phasegate-bench-") as name:
        state = Path(name) / "state"
        plane = local.up(state, controller=False)
        try:
            command = [sys.executable, "-m", "controller", "run", f"--kubeconfig={plane.controller_kubeconfig}", f"--opa={plane.opa}"]
            command += [f"--opa-binary={opa}", f"--bundle-addr={plane.bundle}", f"--health-addr={plane.health}"]
            command += [f"--metrics-addr={plane.metrics}", "--metrics-open"]
            environment = {**os.environ, "KUBERNETES_QPS": "0", "MONITORING_STABILITY": "0s", "COMPLEXITY_APPROVAL_THRESHOLD": "500"}
            with (folder / "controller.log").open("wb") as log:
                process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
            try:
                deadline = time.monotonic() + 30
                while Api(f"http://{plane.health}").get("/readyz").status != 200:
                    if time.monotonic() > deadline:
                        raise RuntimeError(f"the controller did not become ready; see {folder / 'controller.log'}")
                    time.sleep(0.05)
                figures = asyncio.run(
                    measure([arguments.only] if arguments.only else [part for part in PARTS if part not in _LONG], plane, process.pid)
                )
            finally:
                process.terminate()
                process.wait(20)
        finally:
            local.down(state, purge=True)
    (folder / "report.json").write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    (folder / "report.md").write_text(report(figures), encoding="utf-8")
    print(report(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
