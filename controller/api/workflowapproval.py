"""WorkflowApproval: one person's decision about one plan of one workflow."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from controller.api.common import ObjectName, Resource, Spec, Status, Text, Time, Uid, UserName, rule, rules


class ApprovedWorkflow(Spec):
    """The workflow that is decided about."""

    name: ObjectName = Field(description="Name of the workflow, in the approval's namespace.")
    uid: Uid = Field(description="Identity of the workflow: a later one of the same name is not meant.")


class WorkflowApprovalSpec(Spec):
    """The decision. Immutable; admission proves who made it."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule("self == oldSelf", "a decision cannot be changed; make another WorkflowApproval", reason="FieldValueForbidden")
        )
    )

    workflow_ref: ApprovedWorkflow = Field(description="The workflow that is decided about.")
    decision: Literal["Approved", "Rejected"] = Field(description="The decision.")
    plan_hash: Annotated[str, Field(min_length=8, max_length=128, pattern=r"^[A-Za-z0-9:]+$")] = Field(
        description="The plan that is decided about: status.executionPlan.planHash of the workflow."
    )
    approver: Annotated[UserName, Field(min_length=1)] = Field(description="Who decides; must be the user who creates this object.")
    approver_groups: Annotated[list[UserName], Field(max_length=100)] | None = Field(
        default=None, description="The groups as whose member they decide; each must be one of the user's."
    )
    comment: Text | None = Field(default=None, description="What they say about it.")


class WorkflowApprovalStatus(Status):
    """Whether the decision was taken note of."""

    counted: bool | None = Field(default=None, description="Whether the decision counts for the workflow's present plan.")
    message: Text | None = Field(default=None, description="Why it does, or does not.")
    observed_time: Time | None = Field(default=None, description="When it was first seen.")


class WorkflowApproval(Resource):
    """One person's decision about one plan of one workflow."""

    api_version: Literal["workflowexecution.kubernaut.ai/v1alpha1"] = Field(description="Group and version.")
    kind: Literal["WorkflowApproval"] = Field(description="The kind.")
    spec: WorkflowApprovalSpec = Field(description="The decision; immutable.")
    status: WorkflowApprovalStatus | None = Field(default=None, description="Whether it was taken note of.")
