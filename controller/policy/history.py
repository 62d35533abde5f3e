"""Which revision decided when, and what it changed: one ConfigMap of ours, newest revision first.

Decisions name their revision; this tells what stood behind it. It is under the same admission guard as the last good copies.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from controller.cluster.client import Cluster
from controller.cluster.informer import Informer
from controller.cluster.kinds import CONFIG_MAP
from controller.core.times import stamp
from controller.policy.loader import LoadReport
from controller.policy.sources import GUARDED_LABEL, PolicyProblem
from controller.settings import SYSTEM_NAMESPACE

NAME = "kubernaut-policy-set"
_KEY = "history.json"
_SOURCES_KEY = "sources.json"
_TROUBLE_KEY = "trouble.json"
_MOST = 100


class SetHistory:
    """The history in the cluster. ``informer`` holds the ConfigMaps of kubernaut-system."""

    def __init__(self, cluster: Cluster, informer: Informer) -> None:
        self._cluster = cluster
        self._informer = informer

    async def add(self, reports: Sequence[LoadReport], trouble: Sequence[PolicyProblem] = ()) -> None:
        """Add the revisions of these reports, oldest first, and say what keeps anything from being served.

        Raises:
            ApiError: they could not be written.
        """
        data = (self._informer.get(SYSTEM_NAMESPACE, NAME) or {}).get("data") or {}
        history, sources = read_history(data), _document(data.get(_SOURCES_KEY), {})
        before = len(history)
        told = json.dumps([asdict(problem) for problem in trouble[:_MOST]], indent=1)
        for report in reports:
            if history and history[0]["revision"] == report.revision:
                continue
            current = {name: source.digest for name, source in report.own.items()}
            history.insert(0, {"revision": report.revision, "time": stamp(report.time), "changed": changes(sources, current)})
            sources = current
        if len(history) == before and told == data.get(_TROUBLE_KEY, "[]"):
            return
        document = {
            "apiVersion": CONFIG_MAP.api_version,
            "kind": CONFIG_MAP.kind,
            "metadata": {"name": NAME, "labels": {GUARDED_LABEL: "set", "app.kubernetes.io/part-of": "kubernaut"}},
            "data": {
                _KEY: json.dumps(history[:_MOST], indent=1),
                _SOURCES_KEY: json.dumps(sources, sort_keys=True, indent=1),
                _TROUBLE_KEY: told,
            },
        }
        self._informer.put(await self._cluster.patch(CONFIG_MAP, SYSTEM_NAMESPACE, NAME, document, patch_type="apply", force=True))


def read_history(data: Mapping[str, str]) -> list[dict[str, Any]]:
    """Entries {revision, time, changed: {source: digest, or null for gone}}, newest first; none of what cannot be read."""
    entries = _document(data.get(_KEY), [])
    return [entry for entry in entries if isinstance(entry, dict) and "revision" in entry]


def read_trouble(data: Mapping[str, str]) -> list[dict[str, Any]]:
    """What keeps anything from being served: problems {source, key, line, column, message, remedy}; none of what cannot be read."""
    return [problem for problem in _document(data.get(_TROUBLE_KEY), []) if isinstance(problem, dict)]


def changes(before: Mapping[str, str], after: Mapping[str, str]) -> dict[str, str | None]:
    """Source → digest of its new version, None where it is gone. Nothing at all: the image or the settings changed."""
    return {name: after.get(name) for name in sorted(before.keys() | after.keys()) if before.get(name) != after.get(name)}


def _document(text: str | None, otherwise: Any) -> Any:  # noqa: ANN401 - a JSON document
    try:
        document = json.loads(text or "")
    except ValueError:
        return otherwise
    return document if isinstance(document, type(otherwise)) else otherwise
