"""What each gate is asked: the contract's question side, version v1.

Typed dicts, because the documents are plain JSON that is built a thousand times a second; schemas/<gate>_input.json is generated
from them (controller.gates.schemas), so that `opa check --schema` finds a misspelt field in a policy.
Times are RFC 3339 strings in UTC; durations are Go duration strings, as the author wrote them.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field
from typing_extensions import TypedDict  # typing.TypedDict tells pydantic too little before Python 3.12

CONTRACT = "v1"


class Metadata(TypedDict, total=False):
    """Of the workflow."""

    name: str
    namespace: str
    uid: str
    generation: int
    creationTimestamp: str
    labels: dict[str, str]
    annotations: dict[str, str]


class ConditionSpec(TypedDict, total=False):
    """One entry of a step's preConditions or postConditions."""

    type: str
    description: str
    rego: str
    required: bool
    timeout: str


class RollbackSpec(TypedDict, total=False):
    """The author's own way back; ``action`` is canonical."""

    action: str
    parameters: dict[str, Any]
    timeout: str


class Step(TypedDict, total=False):
    """One step as a gate sees it.

    Everything the author wrote, with ``action`` in canonical snake_case, ``dependsOn`` resolved to step numbers and defaults
    filled in, and how far it is.
    """

    stepNumber: int
    name: str
    action: Annotated[str, Field(description="What to do, in canonical snake_case.")]
    targetCluster: str
    parameters: dict[str, Any]
    criticalStep: bool
    maxRetries: int
    timeout: str
    dependsOn: Annotated[list[int], Field(description="Numbers of the steps that must be completed before.")]
    preConditions: list[ConditionSpec]
    postConditions: list[ConditionSpec]
    rollbackSpec: RollbackSpec
    # how far it is
    status: str
    attempts: int
    retriesAttempted: int
    errorType: str
    message: str
    startTime: str
    endTime: str
    completionOrder: int
    reversible: Annotated[bool, Field(description="Whether what was sent can be taken back.")]
    operationsSent: Annotated[bool, Field(description="Whether anything was sent.")]
    serviceAccount: Annotated[str, Field(description="As whom.")]


class ApprovalState(TypedDict, total=False):
    """Where the approval stands; times are those of the first time it was asked."""

    requestedAt: str
    expiresAt: str


class WorkflowStatus(TypedDict, total=False):
    """The compact side of the workflow's status."""

    phase: str
    planHash: str
    strategy: str
    totalSteps: int
    completedSteps: int
    failedStep: int
    failureReason: str
    startTime: str
    validationStartTime: str
    executionStartTime: str
    monitoringStartTime: str
    rollbackStartTime: str
    uncountedSeconds: Annotated[float, Field(description="How much of the time since its phase began counts against no limit.")]
    approval: ApprovalState
    actionDigests: dict[str, str]
    simulate: bool


class Workflow(TypedDict, total=False):
    """The workflow without its steps."""

    metadata: Metadata
    spec: dict[str, Any]
    status: WorkflowStatus


class OperationRecord(TypedDict, total=False):
    """One operation of an attempt as its status keeps it."""

    do: dict[str, Any]
    undo: dict[str, Any] | None
    sentAt: str
    answeredAt: str
    resourceVersionBefore: str
    resourceVersionAfter: str
    uid: str


class Attempt(TypedDict, total=False):
    """One try at a step."""

    name: str
    uid: str
    number: Annotated[int, Field(description="Counter of the attempts at this step.")]
    owned: Annotated[bool, Field(description="Its workflow is alive, owns it, and lists it as the current attempt of the step.")]
    rollback: Annotated[bool, Field(description="True: it takes the step back.")]
    undoOf: str
    overwrite: bool
    phase: str
    startTime: str
    completionTime: str
    operations: Annotated[list[OperationRecord], Field(description="What was recorded before it was sent.")]
    since: Annotated[dict[str, str], Field(description="Condition type to when it was first seen unmet.")]
    errorType: str
    message: str
    failureReason: str
    result: dict[str, Any]


class DryRunError(TypedDict, total=False):
    """What the API server said to one dry-run request."""

    status: int
    reason: str
    message: str


class DryRunStep(TypedDict, total=False):
    """One step's `action` verdict without an attempt, and the server's answers to its operations."""

    step: int
    action: str
    decision: str
    reasons: list[dict[str, Any]]
    errors: list[DryRunError]
    depends: Annotated[bool, Field(description="Whether the step depends on others, so that what it lacks may come to be.")]


class DryRun(TypedDict, total=False):
    """``performed`` is false where the author left the dry-run out."""

    performed: bool
    steps: list[DryRunStep]


class ApprovalDecision(TypedDict, total=False):
    """One person's decision on this very workflow and plan; admission proved who it was."""

    approver: str
    groups: list[str]
    decision: str
    planHash: str
    workflowUid: str
    comment: str
    time: str
    source: str


class Cancel(TypedDict, total=False):
    """A cancel that somebody asked for."""

    reason: str


class Question(TypedDict, total=False):
    """What every gate is asked."""

    contract: Annotated[str, Field(description="Version of this contract.")]
    gate: Annotated[str, Field(description="The gate that is asked.")]
    now: Annotated[str, Field(description="The time, RFC 3339 in UTC; a gate reads no clock.")]
    workflow: Workflow
    facts: Annotated[
        dict[str, dict[str, Any]],
        Field(description="What was read, by the id of its request: `available`, `found`, `object`, `items`, `allowed`, `reason` …"),
    ]


class PlanningQuestion(Question, total=False):
    """All steps; the graph is sound."""

    steps: Annotated[list[Step], Field(description="All steps.")]


class SafetyQuestion(Question, total=False):
    """All steps, and what the dry-run said."""

    steps: Annotated[list[Step], Field(description="All steps.")]
    dry_run: DryRun
    since: Annotated[dict[str, str], Field(description="Type of a check to when it was first seen failing.")]


class ApprovalQuestion(Question, total=False):
    """All steps, and every decision for this plan."""

    steps: Annotated[list[Step], Field(description="All steps.")]
    approvals: Annotated[list[ApprovalDecision], Field(description="Decisions of people on this plan.")]


class DispatchQuestion(Question, total=False):
    """What could start, and what runs."""

    steps: Annotated[list[Step], Field(description="The ready steps and the running ones.")]
    ready: Annotated[list[int], Field(description="Numbers of the steps whose dependencies are met, in plan order.")]
    running: Annotated[list[int], Field(description="Numbers of the steps with an attempt under way.")]
    since: Annotated[dict[str, str], Field(description="`<step>/<type>` of a condition to when it was first seen unmet.")]


class CompletionQuestion(Question, total=False):
    """The step whose attempt ended well."""

    step: Step
    attempt: Attempt
    since: Annotated[dict[str, str], Field(description="Condition type to when it was first seen unmet.")]


class FailureQuestion(Question, total=False):
    """The step whose attempt failed, or a cancel (then without a step); ``steps`` are all started ones."""

    step: Step
    steps: Annotated[list[Step], Field(description="All started steps.")]
    attempt: Attempt
    cancel: Cancel


class MonitoringQuestion(Question, total=False):
    """All started steps."""

    steps: Annotated[list[Step], Field(description="All started steps.")]


class RollbackQuestion(Question, total=False):
    """All started steps."""

    steps: Annotated[list[Step], Field(description="All started steps.")]


class ActionQuestion(Question, total=False):
    """One step; no ``attempt`` while the workflow is only validated."""

    step: Step
    attempt: Attempt
    undo: Annotated[list[dict[str, Any]], Field(description="The recorded operations to send, on an attempt that takes another one back.")]
    recorded: Annotated[
        list[OperationRecord],
        Field(description="What the step's own attempts sent, on an attempt that a rollbackSpec asks for; first to last."),
    ]


class VerifyQuestion(Question, total=False):
    """One step and the attempt whose operations were answered."""

    step: Step
    attempt: Attempt
    recorded: Annotated[list[OperationRecord], Field(description="As in the question of the gate action.")]


QUESTIONS: dict[str, type[Question]] = {
    "planning": PlanningQuestion,
    "safety": SafetyQuestion,
    "approval": ApprovalQuestion,
    "dispatch": DispatchQuestion,
    "completion": CompletionQuestion,
    "failure": FailureQuestion,
    "monitoring": MonitoringQuestion,
    "rollback": RollbackQuestion,
    "action": ActionQuestion,
    "verify": VerifyQuestion,
}
