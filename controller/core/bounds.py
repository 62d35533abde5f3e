"""Keeping a workflow's status small: what is known elsewhere, or only explains what is over, goes first.

The whole of every step stays in its attempts; the parent must never grow beyond what the API server takes in its stride.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

LIMIT = 250 * 1024
"""Bytes of JSON. The promise is 256 KiB; the rest is for what the API server writes differently."""

_FEW_STEPS = 100
_FEW = 20
# So few steps cannot fill it, whatever their texts: each text has a bound of its own.
_NEVER_TOO_MANY = 20
_OVER = frozenset({"completed", "skipped", "failed", "blocked"})
_TAKEN_BACK = frozenset({"rolled_back", "rollback_failed"})
_TEXTS = ("message", "errorMessage", "remedy")
_REFERENCES = ("k8sExecutionRef", "rollbackRef")

Json = dict[str, Any]


def fit(status: Json) -> Json:
    """Cut a status down to the limit, as little as is enough.

    What is cut: long texts of steps that are over, dry-run results of steps that would succeed, then uids and times, then all texts of
    steps that went well, then the names of attempts, which the label `kubernaut.ai/step-number` finds.
    """
    few_decisions = len((status.get("approval") or {}).get("decisions") or []) <= _FEW
    if few_decisions and len(status.get("stepStatuses") or []) <= _NEVER_TOO_MANY:
        return status
    for cut in _CUTS:
        if len(json.dumps(status, separators=(",", ":"), ensure_ascii=False).encode()) <= LIMIT:
            return status
        status = cut(status)
    return status


def _short_texts(longest: int) -> Callable[[Json], Json]:
    def shorten(entry: Json) -> Json:
        texts = {key: entry[key][:longest] for key in _TEXTS if key in entry}
        if texts.get("message") == texts.get("errorMessage"):
            entry = {key: value for key, value in entry.items() if key != "message"}
            texts.pop("message", None)
        return {**entry, **texts}

    return lambda status: _over(status, shorten)


def _few_dry_runs(status: Json) -> Json:
    results = status.get("validationResults") or {}
    dry_run = results.get("dryRunResults")
    if not dry_run:
        return status
    kept = [entry for entry in dry_run.get("stepResults") or [] if not entry["wouldSucceed"]][:_FEW_STEPS]
    changes = dry_run.get("resourceChanges") or []
    left_out = dry_run.get("omittedChanges", 0) + len(changes)
    dry_run = {**dry_run, "stepResults": kept, "resourceChanges": [], "omittedChanges": left_out}
    return {**status, "validationResults": {**results, "dryRunResults": dry_run}}


def _plain_references(entry: Json) -> Json:
    references = {key: {"name": entry[key]["name"]} for key in _REFERENCES if key in entry}
    return {key: value for key, value in entry.items() if key not in {"startTime", "remedy"}} | references


def _few_records(status: Json) -> Json:
    """Leave out what explains least: old adjustments, what was adjusted of steps that are over, groups and words of decisions."""
    status = _over(status, lambda entry: {key: value for key, value in entry.items() if key != "adjusted"})
    changed: Json = {}
    if adjustments := status.get("adaptiveAdjustments"):
        changed["adaptiveAdjustments"] = adjustments[-_FEW:]
    if decisions := (status.get("approval") or {}).get("decisions"):
        kept = [{key: value for key, value in decision.items() if key not in {"groups", "comment"}} for decision in decisions]
        changed["approval"] = {**status["approval"], "decisions": kept}
    return {**status, **changed}


def _few_issues(status: Json) -> Json:
    results = status.get("validationResults") or {}
    dry_run = results.get("dryRunResults") or {}
    if "potentialIssues" not in dry_run:
        return status
    dry_run = {**dry_run, "potentialIssues": dry_run["potentialIssues"][:_FEW]}
    return {**status, "validationResults": {**results, "dryRunResults": dry_run}}


def _no_texts(entry: Json) -> Json:
    if entry["status"] in {"failed", "blocked", "rollback_failed"}:
        return entry
    return {key: value for key, value in entry.items() if key not in _TEXTS}


def _no_references(entry: Json) -> Json:
    return {key: value for key, value in entry.items() if key not in _REFERENCES}


def _over(status: Json, change: Callable[[Json], Json]) -> Json:
    """Change the entries of steps that are over, and not being taken back."""
    entries: list[Mapping[str, Any]] = status["stepStatuses"]
    return {**status, "stepStatuses": [change(dict(e)) if _is_over(e) else e for e in entries]}


def _is_over(entry: Mapping[str, Any]) -> bool:
    return entry["status"] in _TAKEN_BACK or (entry["status"] in _OVER and "rollbackRef" not in entry)


_CUTS: tuple[Callable[[Json], Json], ...] = (
    _short_texts(160),
    _few_dry_runs,
    _few_issues,
    _few_records,
    lambda status: _over(status, _plain_references),
    _short_texts(60),
    lambda status: _over(status, _no_texts),
    _short_texts(30),
    lambda status: _over(status, _no_references),
)
