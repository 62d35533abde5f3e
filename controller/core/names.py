"""Names that are derived, never drawn: actions in one spelling, attempts by workflow and step, identities, annotations."""

from __future__ import annotations

import re

SYSTEM_NAMESPACE = "kubernaut-system"
FINALIZER = "workflowexecution.kubernaut.ai/workflowexecution-cleanup"

CANCEL_ANNOTATION = "kubernaut.ai/cancel"
ROLLBACK_ANNOTATION = "kubernaut.ai/rollback"
APPROVED_BY_ANNOTATION = "kubernaut.ai/approved-by"
ATTEMPT_ANNOTATION = "kubernaut.ai/attempt"

WORKFLOW_LABEL = "kubernaut.ai/workflow"
STEP_LABEL = "kubernaut.ai/step"
STEP_NUMBER_LABEL = "kubernaut.ai/step-number"
ROLLBACK_LABEL = "kubernaut.ai/rollback"

# Other words for an action, from the reference design. The spelling (dash, underscore, camel case) is folded before the look-up.
ALIASES = {
    "restart_pods": "restart_pod",
    "increase_memory_limit": "increase_resources",
    "verify_deployment": "verify_health",
    "check_pod_health": "verify_health",
    "patch_configmap": "update_configmap",
    "patch_config_map": "update_configmap",
    "update_config_map": "update_configmap",
    "scale_stateful_set": "scale_statefulset",
    "restart_daemon_set": "restart_daemonset",
}

# Other spellings of a member of `parameters`.
MEMBER_ALIASES = {"updateConfigMap": "updateConfigmap"}

_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


def canonical_action(written: str) -> str:
    """Fold `scale-deployment`, `scale_deployment` and `ScaleDeployment` into `scale_deployment`; resolve aliases."""
    folded = _CAMEL.sub("_", written.strip()).replace("-", "_").replace(" ", "_").lower()
    return ALIASES.get(folded, folded)


def canonical_members(parameters: dict[str, object]) -> dict[str, object]:
    """Spell the members of a parameters union in their first spelling."""
    return {MEMBER_ALIASES.get(member, member): value for member, value in parameters.items()}


def attempt_name(workflow: str, step: int, number: int, *, rollback: bool = False) -> str:
    """Name the ``number``-th attempt at a step, counted from 0: `w-step-3`, then `w-step-3-r1`; `w-rollback-3` likewise."""
    base = f"{workflow}-{'rollback' if rollback else 'step'}-{step}"
    return base if number == 0 else f"{base}-r{number}"


def label_value(text: str) -> str:
    """Cut and clean a step's name so that it can be a label's value."""
    return re.sub(r"[^A-Za-z0-9_.-]", "-", text)[:63].strip("-_.")


def service_account_user(service_account: str) -> str:
    """Say as whom an action runs: the user name of a ServiceAccount in the system namespace."""
    return f"system:serviceaccount:{SYSTEM_NAMESPACE}:{service_account}"
