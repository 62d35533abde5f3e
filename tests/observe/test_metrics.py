"""Every metric of the reference, by its exact name."""

from __future__ import annotations

import pytest
from prometheus_client.parser import text_string_to_metric_families

from controller.observe.metrics import Metrics

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


def test_the_registry_holds_exactly_the_metrics_of_the_reference() -> None:
    metrics = Metrics()
    found = {}
    for collector in metrics.registry._collector_to_names:
        (family,) = collector.describe() if hasattr(collector, "describe") else ()
        name = family.name + ("_total" if family.type == "counter" else "")
        found[name] = set(collector._labelnames)  # type: ignore[attr-defined]
    assert found == EXPECTED


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
    metrics.observe_rollback("a reason that nobody foresaw")
    metrics.observe_policy_set("old")
    metrics.observe_policy_set("new")
    samples = {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(metrics.exposition().decode())
        for sample in family.samples
    }
    assert samples["kubernaut_api_requests_total", "404", "Pod", "get"] == 1
    assert samples["kubernaut_api_throttled_seconds_total",] == 0.5
    assert samples["kubernaut_gate_decisions_total", "action", "deny", "no"] == 1
    assert samples["kubernaut_workflowexecution_rollbacks_total", "manual"] == 1
    assert ("kubernaut_policy_set_info", "old") not in samples
    assert samples["kubernaut_policy_set_info", "new"] == 1
    assert not [key for key in samples if "_created_created" in key[0]]
