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


ErrorType = Literal["timeout", "resource_conflict", "insufficient_permissions", "validation_error", "policy_denied", "execution_error"]
Seconds = Annotated[float | int, Field(ge=0, le=1e9)]
Code = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,62}$")]


class Reason(_Answer):
    """One coded line of a verdict."""

    code: Code = Field(description="See the reason codes of the policy reference.")
    message: str = Field(description="For people.")
    policy: str = Field(description="Who says it: the gate, `catalogue.<action>` or `rules.<gate>.<name>`.")
    remedy: str | None = Field(default=None, description="What would help.")

    def line(self) -> str:
        """One line for people: code, message and, where there is one, the way out."""
        return f"{self.code}: {self.message}" + (f" ({self.remedy})" if self.remedy else "")


class FactRequest(_Answer):
    """One read that a gate wants; the answer is `facts[id]` of its next question."""

    id: str = Field(description="Name of the answer, unique in the gate.")
    verb: Literal["get", "list", "access", "executions", "preview", "alerts", "history"] = Field(
        description="`get` and `list`: objects; `access`: may a ServiceAccount do it; `executions`: attempts at the same target; "
        "`preview`: what a request would result in; `alerts`: what fires now in the Alertmanager; `history`: former attempts of an action."
    )
    optional: bool = Field(default=False, description="True: the gate does not wait for it.")
    apiVersion: str | None = Field(default=None, description="Of the objects (get, list), or of the target (executions).")
    kind: str | None = Field(default=None, description="Likewise.")
    namespace: str | None = Field(default=None, description="Likewise, and for access; empty: cluster-scoped, or all.")
    name: str | None = Field(default=None, description="Likewise; not for list.")
    labelSelector: str | None = Field(
        default=None,
        description='For list; for alerts the matchers of an Alertmanager, as `namespace=~"a|b",severity="page"`, values in quotes.',
    )
    fieldSelector: str | None = Field(default=None, description="For list.")
    limit: int | None = Field(
        default=None, description="For list: how many at most; `truncated` in the answer tells whether there are more."
    )
    serviceAccount: str | None = Field(default=None, description="For access: who, in kubernaut-system.")
    accessVerb: str | None = Field(default=None, description="For access: may do what.")
    group: str | None = Field(default=None, description="For access: to which resource.")
    resource: str | None = Field(default=None, description="Likewise.")
    subresource: str | None = Field(default=None, description="Likewise.")
    request: dict[str, Any] | None = Field(default=None, description="For preview: the request, of the form of an operation's `do`.")
    action: str | None = Field(default=None, description="For history: the action whose former attempts are asked for.")


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
    reasons: list[Reason] = Field(description="Why it is not allow; denials first.")
    warnings: list[Reason] = Field(description="Worth knowing, without effect.")
    facts: list[FactRequest] = Field(description="What is to be read; it is asked again with the answers.")
    failure_reason: Code | None = Field(default=None, description="With deny: the `failureReason` of the workflow.")
    error_type: ErrorType | None = Field(default=None, description="With deny: the `errorType` of the workflow or attempt.")
    next_check_seconds: Seconds | None = Field(default=None, description="With wait: when to ask again.")
    time_counts: bool = Field(
        default=True, description="With wait of planning, safety, approval or dispatch: false where time limits stand still meanwhile."
    )

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

    estimated_duration_seconds: Seconds = Field(default=0, description="The longest way through the dependencies.")
    action_digests: dict[str, str] = Field(
        default_factory=dict, description="Action to the digest of its module; an approval speaks for these."
    )


class SafetyCheckResult(_Answer):
    """One of rbac, capacity, health, network."""

    type: str
    required: bool
    passed: bool
    message: str


class SafetyVerdict(Verdict):
    """Whether it is safe to touch the targets now."""

    checks: list[SafetyCheckResult] = Field(description="The four safety checks.")


class ApprovalTerms(_Answer):
    """What it takes to be approved, and who has approved so far."""

    required: bool
    count: Annotated[int, Field(ge=0, le=1_000_000)]
    received: Annotated[int, Field(ge=0, le=1_000_000)]
    groups: list[str]
    not_requester: bool
    expires_seconds: Seconds


class ApprovalVerdict(Verdict):
    """Whether a person has to say yes, and whether one has."""

    approval: ApprovalTerms


class StepReasons(_Answer):
    """Why one step is held or blocked."""

    step: int
    reasons: Annotated[list[Reason], Field(min_length=1)]


class StepSkip(_Answer):
    """Why one step is not needed."""

    step: int
    reason: Reason


class Adjustment(_Answer):
    """One adaptive change: a step left out, fewer at once, a longer timeout in seconds, or a parameter within bounds that policy names."""

    step: int = Field(description="The step concerned; 0 where it concerns the whole workflow.")
    adjustment: str = Field(description="What is changed; its first word is skip, lower, extend or adjust.")
    reason: str
    timeout_seconds: Seconds | None = None
    parameters: dict[str, Any] | None = None


class DispatchVerdict(Verdict):
    """Which ready steps start now? The lists take effect only with ``allow``."""

    start: list[int] = Field(description="Numbers of the steps to start now.")
    hold: list[StepReasons] = Field(description="Steps that are kept back, and why.")
    skip: list[StepSkip] = Field(description="Steps that are left out, and why.")
    block: list[StepReasons] = Field(description="Steps that can never start, and why.")
    max_parallel: int = Field(description="Attempts that may be under way at once.")
    conditions: list[ConditionResult] = Field(description="Each condition as it was judged.")
    adjustments: list[Adjustment] = Field(description="Adaptive changes.")


class CompletionVerdict(Verdict):
    """Whether the step reached what its author wanted."""

    conditions: list[ConditionResult] = Field(description="Each condition as it was judged.")


class FailureVerdict(Verdict):
    """What happens after a failed attempt or a cancel. ``decision`` is allow: the action is to be taken."""

    action: Literal["retry", "continue", "block", "rollback", "fail", "degrade"] = Field(description="What happens now.")
    delay_seconds: Seconds = Field(default=0, description="With retry: how long to wait before.")


class MonitoringVerdict(Verdict):
    """Did the workflow help? ``wait`` until the window ends."""

    outcome: Literal["success", "partial_success", "failed", "unknown"] = Field(description="How it ended.")
    effectiveness_score: Annotated[float | int, Field(ge=0, le=1)] = Field(description="0 to 1.")
    resource_health: Literal["healthy", "degraded", "unhealthy", "unknown"] = Field(description="Health of what was touched.")
    new_alerts: bool = Field(description="Whether alerts about what was touched began after the workflow did.")
    recommended_actions: list[str] = Field(description="For people.")
    rollback: bool = Field(description="Whether to take everything back.")


class RollbackVerdict(Verdict):
    """What is undone, in this order."""

    undo: list[int] = Field(description="Numbers of the steps to take back, in this order.")
    overwrite: list[int] = Field(description="Numbers of the steps whose target may be overwritten though changed since.")
    stop_for_human: bool = Field(description="Leave the rest to people.")


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

    operations: list[Operation] = Field(description="What to send, with the way back of each.")
    conditions: list[ConditionResult] = Field(description="Each condition as it was judged.")
    service_account: str = Field(description="As whom it is read and sent.")
    executor: Literal["api", "job"] = Field(description="Who sends it.")
    timeout_seconds: Seconds = Field(description="How long the attempt may take.")
    parameters_valid: bool = Field(default=False, description="Whether the catalogue accepts the parameters.")
    resource_exists: bool | None = Field(default=None, description="Whether the target is there; null where nothing was read about it.")
    reversible: bool = Field(description="Whether it can be taken back.")
    irreversible_reason: str = Field(default="", description="Why not.")
    state: dict[str, Any] = Field(default_factory=dict, description="The flat document of the action that conditions and team rules see.")


class VerifyVerdict(Verdict):
    """Whether the operations had the effect that the action promises."""

    conditions: list[ConditionResult] = Field(description="Each condition as it was judged.")
    result: dict[str, Any] = Field(description="Becomes `executionResults.result` of the attempt.")
    service_account: str = Field(default="", description="As whom it is read.")


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
