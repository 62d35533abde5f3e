"""Every metric of the reference, by its exact name."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from controller.observe.metrics import FirstWords, Metrics

Document = dict[str, Any]

NOW = datetime(2026, 11, 21, 10, 30, tzinfo=UTC)

WORKFLOW = {
    "executions_total": {"outcome"},
    "phase_duration_seconds": {"phase"},
    "active_executions": set(),
    "created_total": set(),
    "deleted_total": set(),
    "lifecycle_duration_seconds": set(),
    "workflow_steps": set(),
    "validation_failures_total": set(),
    "validation_status": {"status"},
    "oldest_in_phase_seconds": {"phase"},
    "steps_created_total": {"action"},
    "steps_completed_total": {"action", "status"},
    "step_creation_total": {"result"},
    "concurrent_steps": set(),
    "step_completion_duration_seconds": {"result"},
    "rollbacks_total": {"reason"},
    "effectiveness_score": set(),
    "safety_validation_total": {"check_type", "result"},
    "adaptive_adjustments_total": {"adjustment_type"},
    "status_updates_total": {"result"},
    "status_update_duration_seconds": set(),
    "watch_reconnections_total": {"kind"},
    "dependency_resolution_failures_total": set(),
    "execution_creation_failures_total": set(),
}
OTHER = {
    "gate_decisions_total": {"gate", "decision", "code"},
    "gate_latency_seconds": {"gate"},
    "facts_latency_seconds": {"verb"},
    "queue_depth": set(),
    "queue_latency_seconds": set(),
    "api_requests_total": {"verb", "kind", "code"},
    "api_throttled_seconds_total": set(),
    "shadow_decisions_total": {"gate", "policy", "effect", "code"},
    "shadow_errors_total": {"gate", "reason"},
    "policy_set_info": {"revision"},
    "policy_loads_total": {"result"},
    "policy_load_duration_seconds": set(),
    "policy_configmaps": {"state"},
    "approval_wait_seconds": set(),
    "leader": set(),
}
EXPECTED = {f"kubernaut_workflowexecution_{n}": labels for n, labels in WORKFLOW.items()} | {
    f"kubernaut_{n}": labels for n, labels in OTHER.items()
}


def exposed(metrics: Metrics) -> dict[tuple[str, ...], float]:
    """Every sample, by name and sorted label values."""
    return {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(metrics.exposition().decode())
        for sample in family.samples
    }


def looking_at(*workflows: Document, executions: tuple[Document, ...] = (), queued: int = 0) -> Metrics:
    metrics = Metrics()
    metrics.look_at(workflows=lambda: workflows, executions=lambda: executions, queued=lambda: queued, now=lambda: NOW)
    return metrics


def test_the_registry_holds_exactly_the_metrics_of_the_reference() -> None:
    found = {}
    for collector in looking_at().registry._collector_to_names:
        if hasattr(collector, "_labelnames"):
            (family,) = collector.describe()  # type: ignore[attr-defined]
            found[family.name + ("_total" if family.type == "counter" else "")] = set(collector._labelnames)
        else:
            found |= {family.name: {*family.samples[0].labels} for family in collector.collect()}
    assert found == EXPECTED


def test_what_is_known_beforehand_begins_at_nought() -> None:
    found = exposed(Metrics())
    for outcome in ("completed", "failed", "rolled_back", "degraded", "blocked", "rollback_failed"):
        assert found["kubernaut_workflowexecution_executions_total", outcome] == 0
    assert found["kubernaut_workflowexecution_rollbacks_total", "manual"] == 0
    assert found["kubernaut_workflowexecution_phase_duration_seconds_count", "rolling_back"] == 0
    assert found["kubernaut_policy_loads_total", "rejected"] == 0


def test_how_things_stand_is_looked_up_at_each_scrape() -> None:
    workflows: list[Document] = []
    metrics = Metrics()
    metrics.look_at(
        workflows=lambda: workflows, executions=lambda: [{}, {"status": {"phase": "Failed"}}], queued=lambda: 7, now=lambda: NOW
    )
    found = exposed(metrics)
    assert found["kubernaut_queue_depth",] == 7
    assert found["kubernaut_workflowexecution_concurrent_steps",] == 1
    assert found["kubernaut_workflowexecution_active_executions",] == 0
    workflows.append({"metadata": {"creationTimestamp": "2026-11-21T10:29:00Z"}, "spec": {}})
    found = exposed(metrics)
    assert found["kubernaut_workflowexecution_active_executions",] == 1
    assert found["kubernaut_workflowexecution_oldest_in_phase_seconds", "new"] == 60
    assert found["kubernaut_workflowexecution_validation_status", "pending"] == 1


def test_only_the_first_words_get_a_series_of_their_own() -> None:
    words = FirstWords(2)
    assert [words.bounded(*pair) for pair in (("a", "x"), ("b", "x"), ("c", "x"), ("a", "x"))] == [
        ("a", "x"),
        ("b", "x"),
        ("other", "other"),
        ("a", "x"),
    ]


def test_the_codes_of_verdicts_are_bounded() -> None:
    metrics = Metrics()
    for number in range(1000):
        metrics.observe_gate("action", "deny", f"code_{number}", 0.001)
    found = {key: value for key, value in exposed(metrics).items() if key[0] == "kubernaut_gate_decisions_total"}
    assert len(found) == 501
    assert found["kubernaut_gate_decisions_total", "action", "deny", "other"] == 500


@pytest.mark.parametrize(
    ("name", "bounds"),
    [
        ("phase_duration", [1, 5, 10, 30, 60, 120, 300, 600]),
        ("step_completion_duration", [1, 5, 10, 30, 60, 120, 300]),
        ("effectiveness_score", [0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1]),
    ],
)
def test_the_buckets_are_those_of_the_reference(name: str, bounds: list[float]) -> None:
    assert getattr(Metrics(), name)._upper_bounds[:-1] == bounds


def test_observers_feed_them_and_only_one_revision_is_shown() -> None:
    metrics = Metrics()
    metrics.observe_request("get", "Pod", 404, 0.01, 0.5)
    metrics.observe_gate("action", "deny", "no", 0.001)
    metrics.observe_policy_set("old")
    metrics.observe_policy_set("new")
    samples = exposed(metrics)
    assert samples["kubernaut_api_requests_total", "404", "Pod", "get"] == 1
    assert samples["kubernaut_api_throttled_seconds_total",] == 0.5
    assert samples["kubernaut_gate_decisions_total", "action", "deny", "no"] == 1
    assert ("kubernaut_policy_set_info", "old") not in samples
    assert samples["kubernaut_policy_set_info", "new"] == 1
    assert not [key for key in samples if "_created_created" in key[0]]
