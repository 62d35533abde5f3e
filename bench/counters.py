"""What the servers count and what /proc says: read before and after, and subtracted."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from controller.local.api import Api

_LINE = re.compile(r"^(?P<name>[a-z_]+)\{(?P<labels>[^}]*)\} (?P<value>\S+)$")
_LABEL = re.compile(r'(\w+)="([^"]*)"')
_WRITES = frozenset({"POST", "PUT", "PATCH", "APPLY", "DELETE"})
_OURS = frozenset({"workflowexecutions", "kubernetesexecutions", "workflowapprovals", "configmaps", "subjectaccessreviews", "deployments"})
_GATE_LATENCY = "kubernaut_gate_latency_seconds_bucket"
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class Requests:
    """Requests by verb and resource, watches and lists apart; a dry-run is a request, not a write."""

    by_kind: Counter[tuple[str, str]]
    dry_runs: int

    def __sub__(self, before: Requests) -> Requests:
        """What came since."""
        return Requests(self.by_kind - before.by_kind, self.dry_runs - before.dry_runs)

    @property
    def total(self) -> int:
        """All of them, facts included."""
        return sum(self.by_kind.values())

    @property
    def without_facts(self) -> int:
        """All but what workflows of `update-configmap` have read for their gates."""
        return self.total - self.by_kind["GET", "configmaps"] - self.by_kind["POST", "subjectaccessreviews"]

    @property
    def writes(self) -> int:
        """Those that changed something."""
        asked = sum(count for (verb, resource), count in self.by_kind.items() if verb in _WRITES and resource != "subjectaccessreviews")
        return asked - self.dry_runs


def api_requests(api: Api, *, events: bool = False) -> Requests:
    """Requests about the objects that the program works on, from `apiserver_request_total`.

    Creating a workflow is left out: that is the load. ``events`` counts Events as well, which have a client and a limit of their own.
    """
    resources = _OURS | {"events"} if events else _OURS
    counted: Counter[tuple[str, str]] = Counter()
    dry_runs = 0
    for labels, value in _samples(api.get("/metrics").body.decode(), "apiserver_request_total"):
        verb, resource = labels["verb"], labels.get("resource", "")
        if resource not in resources or verb in {"WATCH", "LIST"} or (verb, resource) == ("POST", "workflowexecutions"):
            continue
        counted[verb, resource] += int(value)
        if labels.get("dry_run") == "All":
            dry_runs += int(value)
    return Requests(counted, dry_runs)


def opa_questions(opa: Api) -> int:
    """Questions that OPA has answered: the count of `http_request_duration_seconds` of its data API."""
    samples = _samples(opa.get("/metrics").body.decode(), "http_request_duration_seconds_count")
    return int(sum(value for labels, value in samples if labels.get("handler") == "v1/data" and labels.get("method") == "post"))


@dataclass(frozen=True, slots=True)
class Histogram:
    """Observations in seconds: how many lie at or below each bucket's upper edge."""

    at_most: Counter[float]

    def __sub__(self, before: Histogram) -> Histogram:
        """What was observed since."""
        return Histogram(Counter({edge: count - before.at_most[edge] for edge, count in self.at_most.items()}))

    @property
    def count(self) -> int:
        """All of them."""
        return self.at_most[float("inf")]

    def quantile(self, share: float) -> float:
        """Seconds, as Prometheus would say: interpolated inside the bucket. So ``≤ edge`` is exact where the target is an edge."""
        rank, lower, below = share * self.count, 0.0, 0
        for edge in sorted(self.at_most):
            if (count := self.at_most[edge]) >= rank:
                return lower if edge == float("inf") or count == below else lower + (edge - lower) * (rank - below) / (count - below)
            lower, below = edge, count
        return lower


def gate_latencies(controller: Api) -> dict[str, Histogram]:
    """By gate: the time from the reconciler's question to its verdict, the reading of facts included, from the controller's metrics."""
    found: dict[str, Counter[float]] = {}
    for labels, value in _samples(controller.get("/metrics").body.decode(), _GATE_LATENCY):
        found.setdefault(labels["gate"], Counter())[float(labels["le"])] += int(value)
    return {gate: Histogram(counts) for gate, counts in found.items()}


def together(histograms: Iterable[Histogram]) -> Histogram:
    """All observations as one histogram."""
    total: Counter[float] = Counter()
    for histogram in histograms:
        total.update(histogram.at_most)
    return Histogram(total)


def _samples(text: str, name: str) -> Iterator[tuple[dict[str, str], float]]:
    for line in text.splitlines():
        # Most lines are of other metrics, and the expression is slow on a page of megabytes.
        if line.startswith(name) and (match := _LINE.match(line)) and match["name"] == name:
            yield dict(_LABEL.findall(match["labels"])), float(match["value"])


def cpu_seconds(pid: int) -> float:
    """User and system time of a process so far; what its children used is left out."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def resident_mib(pid: int) -> float:
    """Resident memory of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]) * _PAGE / 2**20
