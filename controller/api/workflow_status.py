"""How far a workflow is. Compact: details and results of a step stay in its attempts."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from controller.api.common import (
    MAX_STEPS,
    Conditions,
    ConditionSince,
    Count,
    Digest,
    Duration,
    Fraction,
    FreeObject,
    GateRecords,
    Label,
    ReasonRecord,
    Status,
    StatusReference,
    StepNumber,
    Text,
    Time,
    UserName,
    Word,
)
from controller.api.results import DryRunResults, Texts

Phase = Literal[
    "planning",
    "validating",
    "executing",
    "monitoring",
    "rolling_back",
    "completed",
    "failed",
    "rolled_back",
    "degraded",
    "blocked",
]
StepState = Literal["pending", "blocked", "executing", "completed", "failed", "skipped", "rolled_back", "rollback_failed"]
ErrorType = Literal["timeout", "resource_conflict", "insufficient_permissions", "validation_error", "policy_denied", "execution_error"]
StepNumbers = Annotated[list[StepNumber], Field(max_length=MAX_STEPS)]


class Batch(Status):
    """Steps that could run at once."""

    batch_number: Count = Field(description="Counted from 1.")
    steps: StepNumbers = Field(description="The steps.")


class PlannedSafetyCheck(Status):
    """The author's terms for one safety check."""

    type: Word = Field(description="Which check.")
    description: Text | None = Field(default=None, description="For people: why.")
    required: bool | None = Field(default=None, description="Whether the workflow may run without it.")
    enabled: bool | None = Field(default=None, description="Whether it was asked for.")


class ExecutionPlan(Status):
    """What is going to be run, in which order."""

    strategy: Word = Field(description="sequential, parallel or sequential-with-parallel.")
    estimated_duration: Word | None = Field(default=None, description="How long it should take.")
    actual_duration: Word | None = Field(default=None, description="How long it took.")
    rollback_strategy: Word | None = Field(default=None, description="What happens to the completed steps when a critical one fails.")
    safety_checks: list[PlannedSafetyCheck] | None = Field(default=None, max_length=20, description="The author's terms for safety checks.")
    batches: list[Batch] | None = Field(default=None, max_length=MAX_STEPS, description="Topological order.")
    plan_hash: Digest | None = Field(default=None, description="What an approval speaks for: steps, parameters, strategy, action modules.")
    action_digests: Annotated[dict[str, Digest], Field(max_length=MAX_STEPS)] | None = Field(
        default=None, description="Action to the digest of its module when the plan was made."
    )


class SafetyCheckRecord(Status):
    """What one safety check said."""

    type: Word = Field(description="Which check.")
    required: bool = Field(description="Whether the workflow may run without it.")
    passed: bool = Field(description="Whether it is met.")
    message: Text | None = Field(default=None, description="What was found.")


class ValidationResults(Status):
    """What validating found."""

    safety_checks_passed: bool | None = Field(default=None, description="Whether every required check is met.")
    checks: list[SafetyCheckRecord] | None = Field(default=None, max_length=32, description="Check by check.")
    dry_run_performed: bool | None = Field(default=None, description="Whether the steps were tried first.")
    dry_run_results: DryRunResults | None = Field(default=None, description="What the dry-run said.")
    approval_received: bool | None = Field(default=None, description="Whether the approval that was needed is there.")
    approval_timestamp: Time | None = Field(default=None, description="When it came.")
    validation_errors: Texts | None = Field(default=None, description="Why the workflow is not valid.")


class ApprovalDecision(Status):
    """One person's decision."""

    approver: UserName = Field(description="Who decided.")
    decision: Word = Field(description="Approved or Rejected.")
    time: Time | None = Field(default=None, description="When they decided; of an annotation, when it was first seen.")
    comment: Text | None = Field(default=None, description="What they said about it.")
    groups: list[UserName] | None = Field(default=None, max_length=100, description="The groups that they decided as a member of.")
    plan_hash: Digest | None = Field(default=None, description="The plan that they decided about.")
    workflow_uid: Digest | None = Field(default=None, description="The workflow that they decided about.")
    source: Label | None = Field(default=None, description="How they decided: WorkflowApproval or annotation.")


class Approval(Status):
    """Whether a person has to say yes, and who has said what."""

    required: bool | None = Field(default=None, description="Whether a person has to say yes.")
    reasons: list[ReasonRecord] | None = Field(default=None, max_length=32, description="Why.")
    plan_hash: Digest | None = Field(default=None, description="The plan to decide about.")
    policy_revision: Digest | None = Field(default=None, description="The policy set that asked.")
    requested_at: Time | None = Field(default=None, description="Since when a decision is awaited.")
    expires_at: Time | None = Field(default=None, description="Until when.")
    count: Count | None = Field(default=None, description="How many people have to say yes.")
    received: Count | None = Field(default=None, description="How many have.")
    groups: list[UserName] | None = Field(default=None, max_length=64, description="Groups one of which an approver must be in.")
    not_requester: bool | None = Field(default=None, description="Whether the requester's own decision does not count.")
    decisions: list[ApprovalDecision] | None = Field(default=None, max_length=100, description="What was decided, and by whom.")


class StepAdjustments(Status):
    """What policy changed of a step when it started, within the bounds that it names; the current attempt was made from it."""

    timeout: Duration | None = Field(default=None, description="How long its attempts may take instead.")
    parameters: FreeObject | None = Field(default=None, description="What it does it with instead.")


class StepStatus(Status):
    """How far one step is."""

    step_number: StepNumber = Field(description="The step.")
    name: Label = Field(description="Its name.")
    action: Word = Field(description="Its action, in canonical spelling.")
    status: StepState = Field(description="How far it is.")
    attempts: Count | None = Field(default=None, description="How many attempts have begun.")
    retries_attempted: Count | None = Field(default=None, description="How many of them were retries.")
    next_retry_time: Time | None = Field(default=None, description="When it is tried again.")
    start_time: Time | None = Field(default=None, description="When the current attempt began.")
    end_time: Time | None = Field(default=None, description="When the step ended.")
    message: Text | None = Field(default=None, description="For people: what happened.")
    error_message: Text | None = Field(default=None, description="What went wrong.")
    error_type: ErrorType | None = Field(default=None, description="What kind of error it was.")
    remedy: Text | None = Field(default=None, description="What would help.")
    adjusted: StepAdjustments | None = Field(default=None, description="What policy changed of it, within its bounds.")
    completion_order: Count | None = Field(default=None, description="The how-manieth step it was to be completed, from 1.")
    rollback_attempts: Count | None = Field(default=None, description="How many attempts to take it back have begun.")
    k8s_execution_ref: StatusReference | None = Field(default=None, alias="k8sExecutionRef", description="The current attempt.")
    rollback_overwrites: bool | None = Field(default=None, description="Policy lets that attempt take back what others have changed since.")
    rollback_ref: StatusReference | None = Field(default=None, description="The current attempt to take it back.")


class AdaptiveAdjustment(Status):
    """One thing that policy changed while the workflow ran."""

    timestamp: Time = Field(description="When.")
    step_number: StepNumber | None = Field(default=None, description="The step concerned; none where it is the whole workflow.")
    adjustment: Text = Field(description="What was changed; its first word is skip, lower, extend or adjust.")
    reason: Text | None = Field(default=None, description="Why.")


class ExecutionMetrics(Status):
    """The workflow in figures, once it has ended."""

    total_duration: Word | None = Field(default=None, description="From start to end.")
    step_success_rate: Fraction | None = Field(default=None, description="Completed steps among those that ran.")
    rollbacks_performed: Count | None = Field(default=None, description="Steps that were taken back.")
    resources_affected: Count | None = Field(default=None, description="Objects that were changed.")


class WorkflowResult(Status):
    """Whether the workflow helped."""

    outcome: Literal["success", "partial_success", "failed", "unknown"] = Field(description="In one word.")
    effectiveness_score: Fraction | None = Field(default=None, description="From 0 (no help) to 1.")
    resource_health: Word | None = Field(default=None, description="healthy, degraded, unhealthy or unknown.")
    new_alerts_triggered: bool | None = Field(default=None, description="Whether alerts came up that were not there before.")
    recommended_actions: Texts | None = Field(default=None, description="What to do next.")


class ExecutionSnapshot(Status):
    """How things stood when the workflow failed."""

    completed_steps: StepNumbers | None = Field(default=None, description="Steps that were completed.")
    current_step: Count | None = Field(default=None, description="The step that failed.")
    cluster_state: Annotated[dict[str, Text], Field(max_length=64)] | None = Field(
        default=None, description="What mattered in the cluster."
    )
    resource_snapshot: Annotated[dict[str, Text], Field(max_length=64)] | None = Field(
        default=None, description="What mattered of the target."
    )


class Halting(Status):
    """What the workflow turns to once the steps that still run have ended."""

    action: Word = Field(description="rollback, fail, degrade or block.")
    message: Text | None = Field(default=None, description="Why.")
    remedy: Text | None = Field(default=None, description="What would help.")


class WorkflowExecutionStatus(Status):
    """How far the workflow is. `phase` is a summary; the conditions are the truth."""

    phase: Phase | None = Field(
        default=None, description="Where the workflow is; terminal ones are never left, but degraded for rolling_back."
    )
    observed_generation: Annotated[int, Field(ge=0, le=2**53)] | None = Field(default=None, description="Generation of the spec seen last.")
    conditions: Conditions | None = Field(
        default=None, description="Planned, Validated, Approved, Progressing, Verified, RolledBack, Succeeded, PolicyReady."
    )
    waiting_for: Text | None = Field(default=None, description="One line: what it waits for now.")
    remedy: Text | None = Field(default=None, description="What would help now.")
    message: Text | None = Field(default=None, description="For people: what happened last.")
    policy_revision: Digest | None = Field(default=None, description="Revision of the policy set that decided last.")
    total_steps: Count | None = Field(default=None, description="How many steps there are.")
    current_step: Count | None = Field(default=None, description="Lowest step that is executing; 0 where none is.")
    completed_steps: Count | None = Field(default=None, description="How many steps are completed.")
    progress: Annotated[int, Field(ge=0, le=100)] | None = Field(
        default=None, description="Percent of the steps that are done; never falls."
    )
    execution_plan: ExecutionPlan | None = Field(default=None, description="What is going to be run, in which order.")
    validation_results: ValidationResults | None = Field(default=None, description="What validating found.")
    approval: Approval | None = Field(default=None, description="Whether a person has to say yes, and who has said what.")
    step_statuses: list[StepStatus] | None = Field(
        default=None,
        max_length=MAX_STEPS,
        description="One line per step.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["stepNumber"]},
    )
    condition_since: ConditionSince | None = Field(default=None, description="`<step>/<type>` to since when that condition is unmet.")
    clock_stopped_since: Time | None = Field(
        default=None, description="Since when no time limit of its phase runs: it waits for a person, or no decision can be had."
    )
    uncounted: Word | None = Field(default=None, description="How much of the time since its phase began counts against no limit.")
    gates: GateRecords | None = Field(default=None, description="The last verdict of each gate.")
    adaptive_adjustments: list[AdaptiveAdjustment] | None = Field(
        default=None, max_length=100, description="What policy changed on the way."
    )
    execution_metrics: ExecutionMetrics | None = Field(default=None, description="The workflow in figures, once it has ended.")
    workflow_result: WorkflowResult | None = Field(default=None, description="Whether the workflow helped.")
    halting: Halting | None = Field(default=None, description="What it turns to once the steps that still run have ended.")
    start_time: Time | None = Field(default=None, description="When it was first seen.")
    planning_start_time: Time | None = Field(default=None, description="When planning began.")
    validation_start_time: Time | None = Field(default=None, description="When validating began.")
    execution_start_time: Time | None = Field(default=None, description="When executing began.")
    monitoring_start_time: Time | None = Field(default=None, description="When monitoring began.")
    rollback_start_time: Time | None = Field(default=None, description="When rolling back began.")
    rollback_completion_time: Time | None = Field(default=None, description="When rolling back ended.")
    completion_time: Time | None = Field(default=None, description="When the workflow ended.")
    failure_reason: Word | None = Field(default=None, description="Why it failed, as a code.")
    rollback_reason: Text | None = Field(default=None, description="Why it was rolled back.")
    failed_step: Count | None = Field(default=None, description="Number of the step that failed first.")
    failed_action: Word | None = Field(default=None, description="Its action.")
    error_type: ErrorType | None = Field(default=None, description="What kind of error it was.")
    execution_snapshot: ExecutionSnapshot | None = Field(default=None, description="How things stood when it failed.")
