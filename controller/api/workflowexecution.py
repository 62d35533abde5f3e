"""WorkflowExecution: what a user wants done, and how far it is."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from controller.api.common import (
    LONGEST_WORKFLOW_NAME,
    ConditionOverride,
    FreeObject,
    ObjectReference,
    Resource,
    Spec,
    UserName,
    rule,
    rules,
    unchanged,
)
from controller.api.workflow_definition import AdaptiveOrchestration, ExecutionStrategy, Timeouts, WorkflowDefinition
from controller.api.workflow_status import WorkflowExecutionStatus

_WAY_OUT = "make another workflow"
_NAME = f"a workflow's name has at most {LONGEST_WORKFLOW_NAME} characters, so that the names of its attempts fit into 63"
_TERMINAL = (
    "!has(oldSelf.status) || !has(oldSelf.status.phase)"
    " || !(oldSelf.status.phase in ['completed', 'failed', 'rolled_back', 'blocked', 'degraded'])"
    " || (has(self.status) && has(self.status.phase) && (self.status.phase == oldSelf.status.phase"
    " || (oldSelf.status.phase == 'degraded' && self.status.phase == 'rolling_back')))"
)


class WorkflowExecutionSpec(Spec):
    """What is to be done. Immutable, but for suspend and ttlSecondsAfterFinished."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            unchanged("workflowDefinition", _WAY_OUT, required=True),
            *(
                unchanged(field, _WAY_OUT)
                for field in (
                    "remediationRequestRef",
                    "requestedBy",
                    "executionStrategy",
                    "adaptiveOrchestration",
                    "conditionOverrides",
                    "timeouts",
                    "alertContext",
                    "simulate",
                )
            ),
        )
    )

    remediation_request_ref: ObjectReference | None = Field(
        default=None, description="The request that this workflow serves; made its owner once it exists."
    )
    requested_by: UserName | None = Field(default=None, description="Who asks for it; must be the user who creates the workflow.")
    workflow_definition: WorkflowDefinition = Field(description="The steps, and how they depend on each other.")
    execution_strategy: ExecutionStrategy | None = Field(default=None, description="How the steps are run.")
    adaptive_orchestration: AdaptiveOrchestration | None = Field(default=None, description="What policy may change on the way.")
    condition_overrides: Annotated[dict[str, ConditionOverride], Field(max_length=50)] | None = Field(
        default=None, description="Action to other terms for the conditions of its catalogue entry; may tighten."
    )
    timeouts: Timeouts | None = Field(default=None, description="How long the phases may take; default: from the settings.")
    alert_context: FreeObject | None = Field(
        default=None, description="What it is about: fingerprint, severity, environment and more; passed to policies as it is."
    )
    simulate: bool = Field(default=False, description="Ask every gate and try every request as a dry-run, change nothing, report.")
    suspend: bool = Field(default=False, description="While true nothing new starts; what runs finishes.")
    ttl_seconds_after_finished: int = Field(
        default=86400,
        ge=0,
        le=2**31 - 1,
        description="How long an ended workflow that nothing owns is kept; an owned one goes with its owner.",
    )


class WorkflowExecution(Resource):
    """A workflow of remediation steps, each of which policy decides about."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(f"self.metadata.name.size() <= {LONGEST_WORKFLOW_NAME}", _NAME),
            rule(_TERMINAL, "this workflow has ended: its phase stays (only degraded may go on to rolling_back)"),
        )
    )

    api_version: Literal["workflowexecution.kubernaut.ai/v1alpha1"] = Field(description="Group and version.")
    kind: Literal["WorkflowExecution"] = Field(description="The kind.")
    spec: WorkflowExecutionSpec = Field(description="What is to be done; immutable but for suspend and ttlSecondsAfterFinished.")
    status: WorkflowExecutionStatus | None = Field(default=None, description="How far it is.")

    @model_validator(mode="after")
    def _name_leaves_room_for_attempts(self) -> Self:
        if len(self.metadata.name) > LONGEST_WORKFLOW_NAME:
            raise ValueError(f"metadata.name: {_NAME}")
        return self
