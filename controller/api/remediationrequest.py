"""RemediationRequest: the alert that something is to be done about; upstream of a workflow."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, WithJsonSchema

from controller.api.common import (
    Conditions,
    Count,
    Label,
    ObjectReference,
    Resource,
    Spec,
    Status,
    StatusReference,
    Text,
    Time,
    Word,
)

# The alert as it came, whatever its form; nothing of it is read here.
OriginalPayload = Annotated[Any, WithJsonSchema({"x-kubernetes-preserve-unknown-fields": True})]


class RemediationRequestSpec(Spec):
    """The alert."""

    alert_fingerprint: Label | None = Field(default=None, description="Tells alerts apart.")
    severity: Word | None = Field(default=None, description="How bad it is.")
    environment: Word | None = Field(default=None, description="Where it happens, for example production.")
    original_payload: OriginalPayload | None = Field(default=None, description="The alert as it came.")
    target_resource: ObjectReference | None = Field(default=None, description="What the alert is about.")


class WorkflowResults(Status):
    """What came of the workflow."""

    success: bool | None = Field(default=None, description="Whether it went well.")
    outcome: Word | None = Field(default=None, description="In one word.")
    steps_executed: Count | None = Field(default=None, description="How many steps ran.")
    duration: Word | None = Field(default=None, description="How long it took.")


class RemediationRequestStatus(Status):
    """How far the remediation is."""

    phase: Literal["pending", "analyzing", "executing", "completed", "failed"] | None = Field(default=None, description="How far it is.")
    message: Text | None = Field(default=None, description="For people: what happens.")
    conditions: Conditions | None = Field(default=None, description="Conditions, as every Kubernetes status has them.")
    ai_analysis_ref: StatusReference | None = Field(default=None, description="The analysis.")
    workflow_ref: StatusReference | None = Field(default=None, description="The workflow.")
    workflow_results: WorkflowResults | None = Field(default=None, description="What came of the workflow.")
    completion_time: Time | None = Field(default=None, description="When it ended.")
    cleanup_scheduled_at: Time | None = Field(default=None, description="When it is deleted.")


class RemediationRequest(Resource):
    """An alert that something is to be done about."""

    api_version: Literal["remediation.kubernaut.ai/v1alpha1"] = Field(description="Group and version.")
    kind: Literal["RemediationRequest"] = Field(description="The kind.")
    spec: RemediationRequestSpec = Field(description="The alert.")
    status: RemediationRequestStatus | None = Field(default=None, description="How far the remediation is.")
