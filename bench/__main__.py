"""`make bench`: measures the table of qualities on a control plane of its own, into .bench/report.md and .bench/report.json."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from bench import policies, report, standing, steps
from bench.load import one_by_one, target, workflow
from bench.rig import Figures, Rig, rig
from controller.core.errors import ControllerError
from controller.local.errors import LocalError
from controller.paths import ROOT

# In this order: what is timed comes before what leaves much behind, and whatever comes after `memory` would run beside its workflows.
PARTS: dict[str, Callable[[Rig], Awaitable[Figures]]] = {
    "plan": steps.plan,
    "sequential": steps.sequential,
    "pickup": steps.pickup,
    "gates": policies.gates,
    "throughput": steps.throughput,
    "growth": steps.growth,
    "limiter": steps.limiter,
    "policy": policies.policy,
    "churn": policies.churn,
    "idle": standing.idle,
    "memory": standing.memory,
}
_LONG = frozenset({"churn"})  # a quarter of an hour; only when asked for by name


async def measure(names: Sequence[str], folder: Path) -> None:
    """Run the named parts, in order, against one controller; each is in the report as soon as it is measured."""
    async with rig(folder / "controller.log") as measured:
        await measured.settled()
        await _warm_up(measured)
        for name in names:
            print(f"{name} …", flush=True)
            load, at, began = os.getloadavg()[0], datetime.now(UTC), time.monotonic()
            figures = await PARTS[name](measured)
            said = report.Measured(name, at, time.monotonic() - began, load)
            report.write(folder, report.merge(report.read(folder / "report.json"), figures, said))


async def _warm_up(measured: Rig) -> None:
    """The first workflow opens connections and fills caches, which is nobody's cost per step."""
    namespace = await measured.namespace("warm-up")
    await target(measured, namespace)
    await one_by_one(measured, namespace, [workflow("w", 2)])


def _end(*_: object) -> None:
    sys.exit(128 + signal.SIGTERM)


def main() -> int:
    """Measure, write, print."""
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("--only", choices=list(PARTS), nargs="+", metavar="PART", help=f"some of the parts: {', '.join(PARTS)}")
    only = parser.parse_args().only
    folder = ROOT / ".bench"
    folder.mkdir(exist_ok=True)
    # So that whoever ends this ends the control plane, too.
    signal.signal(signal.SIGTERM, _end)
    try:
        asyncio.run(measure([name for name in PARTS if (name in only if only else name not in _LONG)], folder))
    except (RuntimeError, ControllerError, LocalError) as exc:
        print(f"bench: {exc}\nthe controller's log is {folder / 'controller.log'}", file=sys.stderr)
        return 3
    print((folder / "report.md").read_text(encoding="utf-8"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
