"""Settings are typed, bounded, and never taken over half."""

from __future__ import annotations

from datetime import timedelta

import pytest

from controller.settings import Settings, parse_settings


def test_nothing_said_means_the_defaults_of_the_reference() -> None:
    settings, problems = parse_settings({}, {})
    assert problems == []
    assert settings.document() == {
        "max-parallel-steps": 5,
        "complexity-approval-threshold": 10,
        "kubernetes-qps": 20,
        "kubernetes-burst": 30,
        "cluster-name": "primary-cluster",
        "trusted-namespaces": ["kubernaut-system"],
        "execution-creators": ["system:serviceaccount:kubernaut-system:workflow-controller"],
        "policy-writers": ["system:serviceaccount:kubernaut-system:workflow-controller", "system:masters"],
        "allow-condition-loosening": False,
        "alertmanager-url": "",
        "monitoring-stability": "1m",
        "retry-base-delay": "1s",
        "retry-max-delay": "1m",
        "approval-timeout": "24h",
        "step-timeout": "5m",
        "planning-timeout": "30s",
        "validation-timeout": "5m",
        "monitoring-timeout": "10m",
        "rollback-step-timeout": "5m",
        "child-creation-attempts": 5,
        "job-namespace": "kubernaut-system",
        "job-cpu-request": "100m",
        "job-cpu-limit": "500m",
        "job-memory-request": "128Mi",
        "job-memory-limit": "256Mi",
    }


def test_the_environment_wins_over_the_config_map() -> None:
    settings, problems = parse_settings(
        {"max-parallel-steps": "7", "monitoring-stability": "3s"}, {"MAX_PARALLEL_STEPS": "9", "UNRELATED": "x"}
    )
    assert (settings.max_parallel_steps, settings.monitoring_stability) == (9, timedelta(seconds=3))
    assert problems == []


def test_the_lists_of_writers_have_no_environment_override() -> None:
    settings, _ = parse_settings({"policy-writers": "alice, team:sre"}, {"POLICY_WRITERS": "mallory", "EXECUTION_CREATORS": "mallory"})
    assert settings.policy_writers == ("alice", "team:sre")
    assert settings.execution_creators == Settings().execution_creators


@pytest.mark.parametrize(
    ("key", "text", "allowed"),
    [
        ("max-parallel-steps", "0", "a whole number from 1 to 100"),
        ("max-parallel-steps", "101", "a whole number from 1 to 100"),
        ("max-parallel-steps", "five", "a whole number from 1 to 100"),
        ("complexity-approval-threshold", "-1", "from 0 to 500"),
        ("kubernetes-qps", "10001", "from 1 to 10000, or 0 for off"),
        ("monitoring-stability", "61m", "from 0s to 1h"),
        ("monitoring-stability", "1 minute", "a Go duration"),
        ("allow-condition-loosening", "perhaps", "true or false"),
        ("trusted-namespaces", "a, Not_A_Namespace", "names of namespaces"),
        ("policy-writers", " ", "one or more users"),
        ("alertmanager-url", "ftp://x", "an http or https URL"),
        ("job-memory-limit", "lots", "a Kubernetes quantity"),
    ],
)
def test_a_bad_value_is_refused_with_key_range_and_what_is_in_force(key: str, text: str, allowed: str) -> None:
    settings, problems = parse_settings({key: text}, {})
    assert settings == Settings()
    assert [problem.key for problem in problems] == [key]
    assert allowed in problems[0].message
    assert "in force: " in problems[0].message
    assert repr(text) in problems[0].message


def test_a_bad_override_leaves_the_config_map_and_a_bad_change_leaves_what_was_in_force() -> None:
    settings, problems = parse_settings({"max-parallel-steps": "7"}, {"MAX_PARALLEL_STEPS": "many"})
    assert settings.max_parallel_steps == 7
    assert "MAX_PARALLEL_STEPS" in problems[0].message
    settings, _ = parse_settings({"max-parallel-steps": "many"}, {}, settings)
    assert settings.max_parallel_steps == 7
    assert parse_settings({}, {}, settings)[0] == Settings()


def test_kubernaut_system_is_always_trusted() -> None:
    settings, _ = parse_settings({"trusted-namespaces": "ops\nplatform"}, {})
    assert settings.trusted_namespaces == ("kubernaut-system", "ops", "platform")


def test_delays_in_the_wrong_order_are_refused_together() -> None:
    settings, problems = parse_settings({"retry-base-delay": "10m", "retry-max-delay": "5m"}, {})
    assert (settings.retry_base_delay, settings.retry_max_delay) == (timedelta(seconds=1), timedelta(minutes=1))
    assert "retry-base-delay is above retry-max-delay" in problems[0].message


def test_an_unknown_key_is_named_with_the_likely_one() -> None:
    _, problems = parse_settings({"step-timout": "1m", "_example": "anything"}, {})
    assert [problem.message for problem in problems] == ["setting 'step-timout' is not known and has no effect; did you mean step-timeout?"]
