"""What a gate answers, parsed strictly.

The models here are the contract's answer side: schemas/<gate>_verdict.json is generated from them. A missing result, a wrong
type, an unknown decision or a field that nobody knows is a MalformedVerdictError, never an allow.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from controller.core.errors import RetryableError


class MalformedVerdictError(RetryableError):
    """OPA answered something that is not a verdict of this gate; nothing may be concluded from it."""


_SHOWN = 5


class Decision(StrEnum):
    """deny beats wait beats allow."""

    ALLOW = "allow"
    WAIT = "wait"
    DENY = "deny"


class _Answer(BaseModel):
    """Strict: no coercion, no unknown field."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


Code = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,62}$")]


class Reason(_Answer):
    """One coded line of a verdict."""

    code: Code
    message: str
    policy: str
    remedy: str | None = None

    def line(self) -> str:
        """One line for people: code, message and, where there is one, the way out."""
        return f"{self.code}: {self.message}" + (f" ({self.remedy})" if self.remedy else "")


class FactRequest(_Answer):
    """One read that a gate wants; policy.md, *Facts*."""

    id: str
    verb: Literal["get", "list", "access", "executions", "preview", "alerts", "history"]
    optional: bool = False
    # get, list, and the target of `executions`
    apiVersion: str | None = None
    kind: str | None = None
    namespace: str | None = None
    name: str | None = None
    labelSelector: str | None = None
    fieldSelector: str | None = None
    limit: int | None = None
    # access
    serviceAccount: str | None = None
    accessVerb: str | None = None
    group: str | None = None
    resource: str | None = None
    subresource: str | None = None
    # preview
    request: dict[str, Any] | None = None


class ConditionResult(_Answer):
    """One condition as a gate judged it. ``step`` only where a gate judges several steps."""

    type: str
    required: bool
    passed: bool
    message: str
    step: int | None = None


class Verdict(_Answer):
    """What every gate answers."""

    decision: Annotated[Decision, Field(strict=False)]
    reasons: list[Reason]
    warnings: list[Reason]
    facts: list[FactRequest]
    failure_reason: Code | None = None
    next_check_seconds: float | int | None = None

    @property
    def why(self) -> str:
        """The reasons in one line, the first few of them."""
        said = [f"{reason.code}: {reason.message}" for reason in self.reasons]
        return "; ".join(said[:_SHOWN]) + (f"; and {len(said) - _SHOWN} more" if len(said) > _SHOWN else "")

    @property
    def remedy(self) -> str:
        """What the first reason that knows a way out says."""
        return next((reason.remedy for reason in self.reasons if reason.remedy), "")


class PlanningVerdict(Verdict):
    """Whether this graph may be run at all, and how long it may take."""

    estimated_duration_seconds: float | int = 0
    action_digests: dict[str, str] = Field(default_factory=dict)


class SafetyCheckResult(_Answer):
    """One of rbac, capacity, health, network."""

    type: str
    required: bool
    passed: bool
    message: str


class SafetyVerdict(Verdict):
    """Whether it is safe to touch the targets now."""

    checks: list[SafetyCheckResult]


class ApprovalTerms(_Answer):
    """What it takes to be approved, and who has approved so far."""

    required: bool
    count: int
    received: int
    groups: list[str]
    not_requester: bool
    expires_seconds: float | int


class ApprovalVerdict(Verdict):
    """Whether a person has to say yes, and whether one has."""

    approval: ApprovalTerms


class StepReasons(_Answer):
    """Why one step is held or blocked."""

    step: int
    reasons: list[Reason]


class StepSkip(_Answer):
    """Why one step is not needed."""

    step: int
    reason: Reason


class Adjustment(_Answer):
    """One adaptive change: a longer timeout in seconds, or a parameter within bounds that policy names."""

    step: int
    adjustment: str
    reason: str
    timeout_seconds: float | int | None = None
    parameters: dict[str, Any] | None = None


class DispatchVerdict(Verdict):
    """Which ready steps start now? The lists take effect only with ``allow``."""

    start: list[int]
    hold: list[StepReasons]
    skip: list[StepSkip]
    block: list[StepReasons]
    max_parallel: int
    conditions: list[ConditionResult]
    adjustments: list[Adjustment]


class CompletionVerdict(Verdict):
    """Whether the step reached what its author wanted."""

    conditions: list[ConditionResult]


class FailureVerdict(Verdict):
    """What happens after a failed attempt or a cancel. ``decision`` is allow: the action is to be taken."""

    action: Literal["retry", "continue", "block", "rollback", "fail", "degrade"]
    delay_seconds: float | int = 0


class MonitoringVerdict(Verdict):
    """Did the workflow help? ``wait`` until the window ends."""

    outcome: Literal["success", "partial_success", "failed", "unknown"]
    effectiveness_score: float | int
    resource_health: Literal["healthy", "degraded", "unhealthy", "unknown"]
    new_alerts: bool
    recommended_actions: list[str]
    rollback: bool


class RollbackVerdict(Verdict):
    """What is undone, in this order."""

    undo: list[int]
    overwrite: list[int]
    stop_for_human: bool


class OperationRequest(_Answer):
    """One API request: the ``do`` or the ``undo`` of an operation. Nothing here names a credential."""

    verb: Literal["patch", "create", "delete", "evict", "job"]
    apiVersion: str
    kind: str
    namespace: str | None = None
    name: str
    subresource: str | None = None
    patchType: Literal["json", "merge", "strategic", "apply"] | None = None
    body: dict[str, Any] | list[dict[str, Any]] | None = None
    uid: str | None = None
    gracePeriodSeconds: int | None = None


class Operation(_Answer):
    """``do`` and ``undo`` from one pre-image; ``undo`` is null where there is no way back."""

    do: OperationRequest
    undo: OperationRequest | None


class ActionVerdict(Verdict):
    """Whether this attempt may send its operations, which they are, and as whom."""

    operations: list[Operation]
    conditions: list[ConditionResult]
    service_account: str
    executor: Literal["api", "job"]
    timeout_seconds: float | int
    reversible: bool
    irreversible_reason: str = ""
    state: dict[str, Any] = Field(default_factory=dict)


class VerifyVerdict(Verdict):
    """Whether the operations had the effect that the action promises."""

    conditions: list[ConditionResult]
    result: dict[str, Any]
    service_account: str = ""


VERDICTS: dict[str, type[Verdict]] = {
    "planning": PlanningVerdict,
    "safety": SafetyVerdict,
    "approval": ApprovalVerdict,
    "dispatch": DispatchVerdict,
    "completion": CompletionVerdict,
    "failure": FailureVerdict,
    "monitoring": MonitoringVerdict,
    "rollback": RollbackVerdict,
    "action": ActionVerdict,
    "verify": VerifyVerdict,
}


V = TypeVar("V", bound=Verdict)


def parse(model: type[V], document: object) -> V:
    """Read one answer as the verdict that its gate must give.

    Raises:
        MalformedVerdictError: names the gate's model and the first fields that are wrong.
    """
    try:
        return model.model_validate(document)
    except ValidationError as exc:
        faults = "; ".join(f"{'.'.join(map(str, e['loc'])) or '(whole answer)'}: {e['msg']}" for e in exc.errors(include_url=False)[:3])
        raise MalformedVerdictError(f"{model.__name__}: {faults}") from exc
