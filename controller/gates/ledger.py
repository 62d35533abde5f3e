"""What the informers know of attempts on one target: answers the fact verb `executions` (cooldowns, budgets, blast radius)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from controller.cluster.informer import Informer
from controller.core import attempt as attempts

BY_TARGET = "target"
_LATEST = 50


def targets_of(execution: Mapping[str, Any]) -> Iterable[str]:
    """Index an attempt by every object that its recorded operations touch."""
    operations = ((execution.get("status") or {}).get("executionResults") or {}).get("operations") or []
    return {_key(operation) for operation in operations}


def _key(target: Mapping[str, Any]) -> str:
    return "|".join(str(target.get(part) or "") for part in ("apiVersion", "kind", "namespace", "name"))


class ExecutionLedger:
    """Counts and lists the attempts on a target, latest first."""

    def __init__(self, executions: Informer) -> None:
        self._executions = executions

    def executions(self, target: Mapping[str, str | None]) -> dict[str, Any]:
        """Answer `{count, running, items[]}`; ``items`` are at most 50 compact lines."""
        found = self._executions.by_index(BY_TARGET, _key(target))
        found.sort(key=lambda e: str(e["metadata"]["creationTimestamp"]), reverse=True)
        return {
            "count": len(found),
            "running": sum(not attempts.has_ended(e) for e in found),
            "items": [_line(e) for e in found[:_LATEST]],
        }


def _line(execution: Mapping[str, Any]) -> dict[str, Any]:
    metadata, spec, status = execution["metadata"], execution["spec"], execution.get("status") or {}
    return {
        "namespace": metadata["namespace"],
        "name": metadata["name"],
        "workflow": spec["workflowExecutionRef"]["name"],
        "action": spec["action"],
        "phase": attempts.phase_of(execution),
        "startTime": status.get("startTime", ""),
        "completionTime": status.get("completionTime", ""),
    }
