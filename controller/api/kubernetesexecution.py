"""KubernetesExecution: one attempt at one step, or one attempt to take a step back."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from controller.api.common import (
    WRITTEN_WHOLE,
    Action,
    Conditions,
    ConditionSince,
    ConditionSpecs,
    ConditionTermsByType,
    Count,
    Digest,
    Duration,
    FreeObject,
    GateRecords,
    Label,
    LongText,
    ObjectName,
    ReasonRecord,
    Resource,
    Spec,
    Status,
    StatusReference,
    StepName,
    StepNumber,
    Text,
    Time,
    Uid,
    Word,
    rule,
    rules,
    unique_types,
)
from controller.api.parameters import ExecutionParameters
from controller.api.results import ActionResult, AffectedResources

_TERMINAL = (
    "!has(oldSelf.status) || !has(oldSelf.status.phase) || !(oldSelf.status.phase.lowerAscii() in ['completed', 'failed'])"
    " || (has(self.status) && has(self.status.phase) && self.status.phase.lowerAscii() == oldSelf.status.phase.lowerAscii())"
)
_TASK = "an attempt has parameters, or undoOf names the attempt that it takes back"


class WorkflowReference(Spec):
    """The workflow that an attempt belongs to."""

    name: ObjectName = Field(description="Name of the workflow.")
    uid: Uid = Field(description="Identity of the workflow.")


class AttemptConditionOverrides(Spec):
    """Other terms for the conditions of this attempt's action."""

    preconditions: ConditionTermsByType | None = Field(default=None, description="By condition type: what must hold before.")
    postconditions: ConditionTermsByType | None = Field(default=None, description="By condition type: what must hold afterwards.")


class KubernetesExecutionSpec(Spec):
    """One attempt, whole and immutable."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule("self == oldSelf", "an attempt cannot be changed after creation", reason="FieldValueForbidden"),
            rule("has(self.parameters) || has(self.undoOf)", _TASK),
        )
        | WRITTEN_WHOLE
    )

    workflow_execution_ref: WorkflowReference = Field(description="The workflow that this attempt belongs to.")
    step_number: StepNumber = Field(description="The step.")
    step_name: StepName | None = Field(default=None, description="The step's name.")
    attempt: int = Field(default=0, ge=0, le=10_000, description="Counter of the attempts at this step, in this direction, from 0.")
    action: Action = Field(description="What to do, in canonical snake_case.")
    parameters: ExecutionParameters | None = Field(default=None, description="What to do it with: exactly one member.")
    target_cluster: Word | None = Field(default=None, description="Empty or the setting cluster-name: this cluster.")
    timeout: Duration | None = Field(default=None, description="How long the attempt may take.")
    condition_overrides: AttemptConditionOverrides | None = Field(
        default=None, description="Other terms for the conditions of the action's catalogue entry."
    )
    pre_conditions: ConditionSpecs | None = Field(default=None, description="The step's own terms for preconditions of the catalogue.")
    post_conditions: ConditionSpecs | None = Field(default=None, description="The step's own terms for postconditions of the catalogue.")
    simulate: bool = Field(default=False, description="Try the requests as a dry-run, change nothing.")
    undo_of: ObjectName | None = Field(default=None, description="The attempt to take back: its operations are read from its status.")
    overwrite: bool = Field(default=False, description="An undo may overwrite a target that was changed since.")
    spec_hash: Digest | None = Field(default=None, description="Digest of this spec, by which its creator knows it again.")

    @model_validator(mode="after")
    def _has_a_task(self) -> Self:
        if self.parameters is None and self.undo_of is None:
            raise ValueError(_TASK)
        unique_types(self.pre_conditions, "preConditions")
        unique_types(self.post_conditions, "postConditions")
        return self


class PolicyValidation(Status):
    """What the gate `action` said before anything was sent."""

    decision: Word | None = Field(default=None, description="allow, wait or deny.")
    reasons: list[ReasonRecord] | None = Field(default=None, max_length=32, description="Why.")


class AttemptValidation(Status):
    """What was found before anything was sent."""

    parameters_valid: bool | None = Field(default=None, description="Whether the catalogue accepts the parameters.")
    rbac_valid: bool | None = Field(default=None, description="Whether the action's ServiceAccount may do it.")
    resource_exists: bool | None = Field(default=None, description="Whether the target is there.")
    policy: PolicyValidation | None = Field(default=None, description="What the gate said.")
    dry_run_passed: bool | None = Field(default=None, description="Whether the API server would accept every request.")
    dry_run_output: LongText | None = Field(default=None, description="What it said about them.")
    validation_time: Time | None = Field(default=None, description="When.")


class OperationRecord(Status):
    """One API request of an attempt with its way back, written before it is sent."""

    verb: Word = Field(description="patch, create, delete, evict or job.")
    api_version: Label | None = Field(default=None, description="API group and version of the target.")
    kind: Word = Field(description="Kind of the target.")
    namespace: Word | None = Field(default=None, description="Namespace of the target.")
    name: Label = Field(description="Name of the target.")
    subresource: Word | None = Field(default=None, description="Subresource of the target.")
    do: FreeObject | None = Field(default=None, description="The request, with its own preconditions.")
    undo: FreeObject | None = Field(
        default=None, description="The request that takes it back; null where there is none.", json_schema_extra={"nullable": True}
    )
    sent_at: Time | None = Field(default=None, description="Since when it may have been sent; without it, it never was.")
    answered_at: Time | None = Field(default=None, description="When its outcome was known.")
    outcome: Label | None = Field(default=None, description="What came of it.")
    resource_version_before: Word | None = Field(default=None, description="The target's resourceVersion before.")
    resource_version_after: Word | None = Field(default=None, description="The target's resourceVersion afterwards.")
    uid: Label | None = Field(default=None, description="The target's identity.")


class JobOutput(Status):
    """What a Job wrote, cut to its end."""

    text: LongText | None = Field(default=None, description="The end of its log.")
    truncated: bool | None = Field(default=None, description="Whether there was more.")


class ExecutionResults(Status):
    """What came of the attempt."""

    success: bool | None = Field(default=None, description="Whether it reached what it should.")
    message: Text | None = Field(default=None, description="For people: what happened.")
    error_message: Text | None = Field(default=None, description="What went wrong.")
    error_type: Word | None = Field(default=None, description="What kind of error it was.")
    failure_reason: Word | None = Field(default=None, description="Why it failed, as a code.")
    remedy: Text | None = Field(default=None, description="What would help.")
    result: ActionResult | None = Field(default=None, description="The typed result of the action.")
    operations: list[OperationRecord] | None = Field(default=None, max_length=500, description="Every request, in order.")
    resources_affected: AffectedResources | None = Field(default=None, description="What was changed; capped.")
    job_output: JobOutput | None = Field(default=None, description="What the Job wrote.")
    validation_result: Text | None = Field(default=None, description="What verifying found, in one line.")
    start_time: Time | None = Field(default=None, description="When the first request was meant to be sent.")
    end_time: Time | None = Field(default=None, description="When the attempt ended.")
    duration: Word | None = Field(default=None, description="How long it took.")


class RollbackInformation(Status):
    """Whether, and how, the attempt can be taken back."""

    available: bool | None = Field(default=None, description="Whether it can be taken back.")
    reason: Text | None = Field(default=None, description="Why not.")
    operations: Annotated[list[FreeObject], Field(max_length=500)] | None = Field(
        default=None, description="The requests that would do it."
    )
    estimated_duration: Word | None = Field(default=None, description="How long that should take.")


class ConditionRecord(Status):
    """How one condition was judged."""

    condition_type: Word = Field(description="Which condition.")
    required: bool | None = Field(default=None, description="Whether the attempt may go on without it.")
    evaluated: bool | None = Field(default=None, description="Whether it has been judged.")
    passed: bool | None = Field(default=None, description="Whether it holds.")
    message: Text | None = Field(default=None, description="What was found.")
    evaluation_time: Time | None = Field(default=None, description="When this was first found.")
    attempts: Count | None = Field(default=None, description="How often the finding changed.")


ConditionRecords = Annotated[list[ConditionRecord], Field(max_length=64)]


class KubernetesExecutionStatus(Status):
    """How far the attempt is."""

    phase: Word | None = Field(
        default=None, description="validating, executing, verifying, completed, failed, in any letter case; anything else: in progress."
    )
    observed_generation: Annotated[int, Field(ge=0, le=2**53)] | None = Field(default=None, description="Generation of the spec seen last.")
    start_time: Time | None = Field(default=None, description="When it was first seen.")
    completion_time: Time | None = Field(default=None, description="When it ended.")
    conditions: Conditions | None = Field(default=None, description="Conditions, as every Kubernetes status has them.")
    validation_results: AttemptValidation | None = Field(default=None, description="What was found before anything was sent.")
    execution_results: ExecutionResults | None = Field(default=None, description="What came of it.")
    rollback_information: RollbackInformation | None = Field(default=None, description="Whether, and how, it can be taken back.")
    service_account: Label | None = Field(default=None, description="The ServiceAccount that it acts as.")
    job_ref: StatusReference | None = Field(default=None, description="The Job that does it.")
    pre_condition_results: ConditionRecords | None = Field(default=None, description="How the preconditions were judged.")
    post_condition_results: ConditionRecords | None = Field(default=None, description="How the postconditions were judged.")
    condition_since: ConditionSince | None = Field(default=None, description="Condition type to since when it is unmet.")
    clock_stopped_since: Time | None = Field(default=None, description="Since when its time stands still: no decision can be had.")
    uncounted: Word | None = Field(default=None, description="How much of the time since its start does not count against its timeout.")
    gates: GateRecords | None = Field(default=None, description="The last verdict of each gate.")


class KubernetesExecution(Resource):
    """One attempt at one step of a workflow. Made by the controller only."""

    model_config = ConfigDict(json_schema_extra=rules(rule(_TERMINAL, "this attempt has ended: its phase stays")))

    api_version: Literal["kubernetesexecution.kubernaut.ai/v1alpha1"] = Field(description="Group and version.")
    kind: Literal["KubernetesExecution"] = Field(description="The kind.")
    spec: KubernetesExecutionSpec = Field(description="What is attempted; immutable.")
    status: KubernetesExecutionStatus | None = Field(default=None, description="How far it is.")
