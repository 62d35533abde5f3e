"""What policies cost: decisions under few and many team packages, and the way of a change from its ConfigMap to OPA."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping

from bench.counters import Histogram, gate_latencies, resident_mib, together
from bench.load import one_by_one, target, workflow
from bench.rig import Figures, Rig, eventually
from bench.samples import quantile
from controller.cluster.kinds import CONFIG_MAP
from controller.paths import ROOT
from controller.policy.sources import STATUS_ANNOTATION
from controller.settings import SYSTEM_NAMESPACE

_FEW_PACKAGES, _MANY_PACKAGES = 20, 200
_MODULES = 200
_CHANGES = 50
_CHURN = 1000
_PREFIX = "bench-"
_LOAD_SECONDS = 180
_CHANGE_SECONDS = 30


async def gates(rig: Rig) -> Figures:
    """Decisions as the reconciler sees them, facts included: all gates with 20 team packages in `dispatch`, then `dispatch` with 200."""
    before = rig.revision()
    await _add(rig, _FEW_PACKAGES)
    few = await _decisions(rig)
    await _add(rig, _MANY_PACKAGES)
    many = await _decisions(rig)
    await _remove_all(rig, before)
    return {
        "gate_latency_ms": _latency(together(few.values())) | {"p99_by_gate": {gate: _ms(few[gate], 0.99) for gate in sorted(few)}},
        "gate_latency_200_packages_ms": _latency(many["dispatch"]),
    }


async def _decisions(rig: Rig) -> dict[str, Histogram]:
    """By gate: the latencies of what 10 workflows of 20 steps ask, one by one."""
    namespace = await rig.namespace("gates")
    await target(rig, namespace)
    await one_by_one(rig, namespace, [workflow("first", 2)])
    before = gate_latencies(rig.metrics)
    await one_by_one(rig, namespace, [workflow(f"w{n}", 20) for n in range(10)])
    after = gate_latencies(rig.metrics)
    new = {gate: after[gate] - before[gate] if gate in before else after[gate] for gate in after}
    return {gate: histogram for gate, histogram in new.items() if histogram.count}


def _latency(decisions: Histogram) -> Figures:
    return {"p50": _ms(decisions, 0.5), "p99": _ms(decisions, 0.99), "samples": decisions.count}


def _ms(decisions: Histogram, share: float) -> float:
    return round(1000 * decisions.quantile(share), 2)


async def policy(rig: Rig) -> Figures:
    """From the write of a policy ConfigMap to the first decision under it, with 200 modules, 50 times."""
    shipped = len([file for file in (ROOT / "policies").rglob("*.rego") if not file.name.endswith("_test.rego")])
    before = rig.revision()
    await _add(rig, _MODULES - shipped)
    taken = [1000 * await _changed(rig, 1000 + turn) for turn in range(_CHANGES)]
    await _remove_all(rig, before)
    return {
        "policy_live_ms": {
            "p50": quantile(taken, 0.5),
            "p95": quantile(taken, 0.95),
            "max": round(max(taken), 1),
            "samples": _CHANGES,
            "modules": _MODULES,
        }
    }


async def churn(rig: Rig) -> Figures:
    """Memory of the controller and of OPA after 100 and after 1,000 changes, each of which became active."""
    first = rig.revision()
    await _add(rig, 1)
    memory = []
    for turn in range(_CHURN + 1):
        if turn in {_CHURN // 10, _CHURN}:
            await asyncio.sleep(2)
            memory.append((resident_mib(rig.pid), resident_mib(rig.opa_pid)))
        await _changed(rig, 5000 + turn)
    await _remove_all(rig, first)
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


async def _add(rig: Rig, count: int) -> None:
    """See to it that ``count`` team packages of the gate `dispatch` are active, one ConfigMap each."""
    await asyncio.gather(*(_write(rig, f"{_PREFIX}{n}", n + 20) for n in range(count)))
    deadline = time.monotonic() + _LOAD_SECONDS
    while (states := await _states(rig)) != dict.fromkeys(states, "active") or len(states) != count:
        if time.monotonic() > deadline:
            raise RuntimeError(f"not all of {count} policy ConfigMaps became active within {_LOAD_SECONDS} s: {states}")
        await asyncio.sleep(0.5)
    await rig.settled()


async def _remove_all(rig: Rig, before: str) -> None:
    """Delete them again, and wait until the set is the one from ``before``."""
    for name in await _states(rig):
        await rig.cluster.delete(CONFIG_MAP, SYSTEM_NAMESPACE, name)
    await eventually(lambda: rig.revision() == before, f"OPA decides by policy set {before} again")
    await rig.settled()


async def _states(rig: Rig) -> Mapping[str, str]:
    """Name → what the controller says of it, for each policy ConfigMap of ours."""
    page = await rig.cluster.list(CONFIG_MAP, SYSTEM_NAMESPACE, label_selector="kubernaut.ai/policy=rego")
    return {
        item["metadata"]["name"]: json.loads((item["metadata"].get("annotations") or {}).get(STATUS_ANNOTATION, "{}")).get("state", "new")
        for item in page.items
        if item["metadata"]["name"].startswith(_PREFIX)
    }


async def _write(rig: Rig, name: str, limit: int) -> None:
    """Write one team's ConfigMap of one module."""
    body = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": SYSTEM_NAMESPACE, "labels": {"kubernaut.ai/policy": "rego"}},
        "data": {"rule.rego": f"package kubernaut.rules.dispatch.{name.replace('-', '_')}\n\nlimit contains {limit}\n"},
    }
    await rig.cluster.patch(CONFIG_MAP, SYSTEM_NAMESPACE, name, body, patch_type="apply", force=True)


async def _changed(rig: Rig, limit: int) -> float:
    """Change one rule; answers the seconds until a decision is made under it."""
    before = rig.revision()
    began = time.monotonic()
    await _write(rig, f"{_PREFIX}0", limit)
    while rig.revision() == before:
        await asyncio.sleep(0.005)
        if time.monotonic() - began > _CHANGE_SECONDS:
            raise RuntimeError(f"a policy change did not become active within {_CHANGE_SECONDS} s")
    return time.monotonic() - began
