"""The report: each figure beside its target, with the time of its measurement; a part that is measured anew replaces its own."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.rig import Figures

_MEASURED = "measured"


@dataclass(frozen=True, slots=True)
class Target:
    """One row of the table of qualities: ``key`` is the figure, or the figure and one of its members."""

    key: str
    bound: float
    unit: str
    what: str
    at_least: bool = False

    def value(self, figures: Figures) -> float | None:
        """The figure, None if it was not measured."""
        name, _, member = self.key.partition(".")
        value = figures.get(name)
        return value.get(member) if member and isinstance(value, dict) else value

    def holds(self, value: float) -> bool:
        """Whether the figure is as good as it must be."""
        return value >= self.bound if self.at_least else value <= self.bound


@dataclass(frozen=True, slots=True)
class Measured:
    """When a part ran, how long, and the machine's 1-minute load average when it began."""

    part: str
    at: datetime
    seconds: float
    load: float

    def document(self) -> dict[str, Any]:
        """What report.json says beside each of its figures."""
        at = self.at.astimezone(UTC).isoformat(timespec="seconds")
        return {"at": at, "part": self.part, "seconds": round(self.seconds, 1), "load_before": round(self.load, 2)}


TARGETS = (
    Target("requests_per_step", 7, "", "API requests per step, uncached facts and Events left out: the slope from 10 to 40 steps"),
    Target("writes_per_step", 5, "", "of these, writes"),
    Target("requests_per_workflow_besides", 4, "", "API requests per workflow besides"),
    Target("opa_round_trips_per_step", 6, "", "questions to OPA per step: the slope from 10 to 40 steps"),
    Target("opa_round_trips_per_workflow_besides", 8, "", "questions to OPA per workflow besides"),
    Target("sequential_step_ms.p50", 35, "ms", "`startTime` to `endTime` of a step in the parent, one step after another"),
    Target("sequential_step_ms.p99", 120, "ms", "the same"),
    Target("pickup_ms.p99", 100, "ms", "the request that creates a workflow to its `planningStartTime`, when the controller takes it up"),
    Target("completion_seen_ms.p99", 100, "ms", "`completionTime` of an attempt to the `endTime` that the parent gives its step"),
    Target("plan_500_ms", 50, "ms", "putting 500 steps in order, median"),
    Target("gate_latency_ms.p99", 4, "ms", "question to verdict, facts included, all gates; 20 team packages in `dispatch`"),
    Target("gate_latency_200_packages_ms.p99", 10, "ms", "question to verdict of `dispatch`; 200 team packages in it"),
    Target("policy_live_ms.p95", 500, "ms", "write of a policy ConfigMap to the first decision under it; 200 modules"),
    Target("steps_per_second", 60, "1/s", "200 workflows of 5 steps at once", at_least=True),
    Target("cpu_ms_per_step", 12, "ms", "CPU time of the controller in the same run"),
    Target("limiter.share_percent", 90, "%", "requests under the default limiter, by what it lets through", at_least=True),
    Target("rss_mib", 256, "MiB", "resident memory of the controller beside 2,000 finished and 200 running workflows"),
    Target("idle_writes_per_minute", 0, "", "writes but Leases in a minute beside 500 finished workflows"),
    Target("idle_cpu_percent", 2, "%", "of one core, in the same minute"),
    Target("cost_growth.requests", 1.5, "times", "requests of a step in a workflow of 500 steps, by those in one of 10"),
    Target("cost_growth.cpu", 1.5, "times", "the same for CPU time of the controller"),
)


def read(file: Path) -> Figures:
    """The report so far; empty when there is none, or one that does not say when its figures were measured."""
    try:
        found: Any = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    times = found.get(_MEASURED, {}) if isinstance(found, dict) else {}
    kept = {name: value for name, value in found.items() if name in times} if times else {}
    return kept | {_MEASURED: {name: times[name] for name in kept}} if kept else {}


def merge(report: Figures, figures: Figures, measured: Measured) -> Figures:
    """The report with what one part has measured, in the place of what it measured before."""
    earlier = {name: when for name, when in report.get(_MEASURED, {}).items() if when["part"] != measured.part}
    kept = {name: value for name, value in report.items() if name in earlier}
    return {**kept, **figures, _MEASURED: {**earlier, **dict.fromkeys(figures, measured.document())}}


def markdown(report: Figures) -> str:
    """The figures beside their targets."""
    lines = [
        "Counted by the API server, OPA, the controller's metrics and /proc. The load is the machine's 1-minute load average before the",
        "part began, the benchmark's own included: other work makes every time longer, CPU time too.",
        "",
        "| figure | measured | target | what it is | when (UTC) | load before |",
        "|---|---|---|---|---|---|",
    ]
    for target in TARGETS:
        value = target.value(report)
        bound = f"{'≥' if target.at_least else '≤'} {target.bound:g} {target.unit}".rstrip()
        if value is None:
            lines.append(f"| {target.key} | not measured | {bound} | {target.what} | | |")
            continue
        said = report[_MEASURED][target.key.partition(".")[0]]
        shown = f"{value} {target.unit}".rstrip() + ("" if target.holds(value) else " **missed**")
        lines.append(f"| {target.key} | {shown} | {bound} | {target.what} | {said['at'][:19]} | {said['load_before']} |")
    return "\n".join(lines) + "\n"


def write(folder: Path, report: Figures) -> None:
    """Write report.json and report.md."""
    (folder / "report.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    (folder / "report.md").write_text(markdown(report), encoding="utf-8")
