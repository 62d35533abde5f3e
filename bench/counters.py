"""What the servers count: the API server's and OPA's own metrics, read before and after."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from controller.local.api import Api

_LINE = re.compile(r"^(?P<name>[a-z_]+)\{(?P<labels>[^}]*)\} (?P<value>[0-9.e+]+)$")
_LABEL = re.compile(r'(\w+)="([^"]*)"')
_WRITES = frozenset({"POST", "PUT", "PATCH", "APPLY", "DELETE"})
_OURS = frozenset({"workflowexecutions", "kubernetesexecutions", "workflowapprovals", "configmaps", "subjectaccessreviews", "deployments"})


@dataclass(frozen=True, slots=True)
class Requests:
    """Requests by verb and resource; a dry-run is a request, not a write."""

    by_kind: Counter[tuple[str, str]]
    dry_runs: int

    def __sub__(self, before: Requests) -> Requests:
        """What came since."""
        return Requests(self.by_kind - before.by_kind, self.dry_runs - before.dry_runs)

    @property
    def total(self) -> int:
        """All of them, watches apart."""
        return sum(self.by_kind.values())

    @property
    def writes(self) -> int:
        """Those that changed something."""
        return (
            sum(count for (verb, resource), count in self.by_kind.items() if verb in _WRITES and resource != "subjectaccessreviews")
            - self.dry_runs
        )


def api_requests(api: Api) -> Requests:
    """Requests about the objects that the program works on: `apiserver_request_total`."""
    counted: Counter[tuple[str, str]] = Counter()
    dry_runs = 0
    for labels, value in _samples(api.get("/metrics").body.decode(), "apiserver_request_total"):
        if labels.get("resource") not in _OURS or labels["verb"] in {"WATCH", "LIST"}:
            continue
        counted[labels["verb"], labels["resource"]] += int(value)
        if labels.get("dry_run") == "All":
            dry_runs += int(value)
    return Requests(counted, dry_runs)


def opa_questions(opa: str) -> int:
    """Questions that OPA has answered: the count of `http_request_duration_seconds` of its data API."""
    text = Api(opa).get("/metrics").body.decode()
    return int(
        sum(
            value
            for labels, value in _samples(text, "http_request_duration_seconds_count")
            if labels.get("handler") == "v1/data" and labels.get("method") == "post"
        )
    )


def _samples(text: str, name: str) -> list[tuple[dict[str, str], float]]:
    found = []
    for line in text.splitlines():
        match = _LINE.match(line)
        if match and match["name"] == name:
            found.append((dict(_LABEL.findall(match["labels"])), float(match["value"])))
    return found


def cpu_seconds(pid: int) -> float:
    """User and system time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def resident_mib(pid: int) -> float:
    """Resident memory of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]) * 4096 / 2**20
