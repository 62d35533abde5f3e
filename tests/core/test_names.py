"""Names are derived, so that a crash between create and status write makes no twins."""

from __future__ import annotations

import pytest

from controller.core.names import attempt_name, canonical_action, label_value


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("scale-deployment", "scale_deployment"),
        ("ScaleDeployment", "scale_deployment"),
        ("scaleDeployment", "scale_deployment"),
        ("restart-pods", "restart_pod"),
        ("increase-memory-limit", "increase_resources"),
        ("increase_memory_limit", "increase_resources"),
        ("verify-deployment", "verify_health"),
        ("check-pod-health", "verify_health"),
        ("patch_configmap", "update_configmap"),
        ("updateConfigMap", "update_configmap"),
    ],
)
def test_spellings_and_aliases_mean_one_action(written: str, meant: str) -> None:
    assert canonical_action(written) == meant


def test_attempts_are_named_by_workflow_step_and_number() -> None:
    assert attempt_name("w", 3, 0) == "w-step-3"
    assert attempt_name("w", 3, 2) == "w-step-3-r2"
    assert attempt_name("w", 3, 1, rollback=True) == "w-rollback-3-r1"


def test_the_longest_name_of_a_child_fits_into_63_characters() -> None:
    assert len(attempt_name("w" * 46, 999, 10, rollback=True)) <= 63


def test_a_steps_name_becomes_a_valid_label() -> None:
    assert label_value("Scale up / payment api!" + "x" * 80) == ("Scale-up---payment-api-" + "x" * 40)
