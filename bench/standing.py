"""What it costs to be there: at rest, and with thousands of workflows in the caches."""

from __future__ import annotations

import asyncio
import time

from bench.counters import api_requests, cpu_seconds, resident_mib
from bench.load import fill, is_running, until, waiting
from bench.rig import Figures, Rig
from controller.cluster.kinds import WORKFLOW, kind_of

_IDLE_SECONDS = 60
_RUNNING = 200
_LOOKS = 20


async def idle(rig: Rig) -> Figures:
    """One minute after which nothing was to be done, beside 500 finished workflows. Leases are not counted, Events are."""
    finished = await fill(rig, 500)
    await rig.settled()
    before, used, began = api_requests(rig.api, events=True), cpu_seconds(rig.pid), time.monotonic()
    await asyncio.sleep(_IDLE_SECONDS)
    since = time.monotonic() - began
    return {
        "idle_writes_per_minute": round(60 * (api_requests(rig.api, events=True) - before).writes / since, 2),
        "idle_cpu_percent": round(100 * (cpu_seconds(rig.pid) - used) / since, 2),
        "idle_finished_workflows": finished,
    }


async def memory(rig: Rig) -> Figures:
    """Resident memory beside 2,000 finished and 200 running workflows: the most of 20 looks within 10 seconds."""
    finished = await fill(rig, 2000)
    namespace = await rig.namespace("running")
    service = kind_of("v1", "Service")
    assert service is not None
    await rig.cluster.create(service, namespace, {"metadata": {"name": "quiet"}, "spec": {"clusterIP": "None"}})
    names = [f"w{n:03}" for n in range(_RUNNING)]
    await asyncio.gather(*(rig.cluster.create(WORKFLOW, namespace, waiting(name, "quiet")) for name in names))
    await until(rig, namespace, names, is_running)
    used, began = cpu_seconds(rig.pid), time.monotonic()
    seen = []
    for _ in range(_LOOKS):
        await asyncio.sleep(0.5)
        seen.append(resident_mib(rig.pid))
    since = time.monotonic() - began
    return {
        "rss_mib": round(max(seen), 1),
        "memory": {
            "finished_workflows": finished,
            "running_workflows": _RUNNING,
            "cpu_percent": round(100 * (cpu_seconds(rig.pid) - used) / since, 1),
        },
    }
