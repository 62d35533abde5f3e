"""What came of doing something, or of trying it: the result types of reference.md."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from controller.api.common import Count, Label, LongText, Status, Text, Word

ChangeType = Annotated[str, Field(max_length=63)]
Texts = Annotated[list[Text], Field(max_length=100)]
StateMap = Annotated[dict[str, LongText], Field(max_length=64)]


class DryRunStepResult(Status):
    """What the dry-run of one step said."""

    step_number: Count = Field(description="The step.")
    action: Word = Field(description="Its action.")
    would_succeed: bool = Field(description="Whether every request of it would have been accepted.")
    simulated_duration: Word | None = Field(default=None, description="How long it took to try the step.")
    validation_errors: Texts | None = Field(default=None, description="Why it would not have gone well.")


class ResourceChange(Status):
    """What a step would do to one object."""

    resource_type: Word = Field(description="Kind of the object.")
    resource_name: Label = Field(description="Name of the object.")
    namespace: Word | None = Field(default=None, description="Namespace of the object.")
    change_type: Literal["scale", "update", "create", "delete"] = Field(description="What would happen to it.")
    before_state: StateMap | None = Field(default=None, description="What matters of it, before.")
    after_state: StateMap | None = Field(default=None, description="What matters of it, afterwards.")


class PotentialIssue(Status):
    """Something to look at before the workflow runs."""

    severity: Literal["low", "medium", "high"] = Field(description="How bad it is.")
    description: Text = Field(description="What it is.")
    step_number: Count | None = Field(default=None, description="The step concerned.")
    recommendation: Text | None = Field(default=None, description="What would help.")


class DryRunResults(Status):
    """What the dry-run of the whole workflow said."""

    overall_success: bool = Field(description="Whether every step would have been accepted.")
    execution_time: Word | None = Field(default=None, description="How long the dry-run took.")
    steps_simulated: Count | None = Field(default=None, description="How many steps were tried.")
    step_results: list[DryRunStepResult] | None = Field(default=None, max_length=500, description="Step by step.")
    resource_changes: list[ResourceChange] | None = Field(default=None, max_length=100, description="What would change; capped.")
    omitted_changes: Count | None = Field(default=None, description="How many changes the cap left out.")
    potential_issues: list[PotentialIssue] | None = Field(default=None, max_length=100, description="What to look at first.")


class ScaleResult(Status):
    """What scaling did."""

    previous_replicas: Count | None = Field(default=None, description="How many replicas there were.")
    new_replicas: Count | None = Field(default=None, description="How many there are.")
    scaled_namespace: Word | None = Field(default=None, description="Namespace of the workload.")
    scaled_deployment: Label | None = Field(default=None, description="Name of the workload.")


class RestartResult(Status):
    """What restarting did."""

    pods_restarted: Count | None = Field(default=None, description="How many Pods were replaced.")
    restarted_pods: list[Label] | None = Field(default=None, max_length=100, description="Which; capped.")
    namespace: Word | None = Field(default=None, description="Their namespace.")


class UpdateResult(Status):
    """What an update did."""

    resource_type: Word | None = Field(default=None, description="Kind of the object.")
    resource_name: Label | None = Field(default=None, description="Name of the object.")
    namespace: Word | None = Field(default=None, description="Namespace of the object.")
    update_type: Literal["image", "config", "spec"] | None = Field(default=None, description="What was updated.")
    previous_value: LongText | None = Field(default=None, description="What it was; never a secret value.")
    new_value: LongText | None = Field(default=None, description="What it is; never a secret value.")


class CustomResult(Status):
    """What any other action did."""

    action_type: Label | None = Field(default=None, description="Which action.")
    output: StateMap | None = Field(default=None, description="What it said.")


class AffectedResource(Status):
    """An object that an attempt changed."""

    resource_type: Word = Field(description="Kind of the object.")
    name: Label = Field(description="Name of the object.")
    namespace: Word | None = Field(default=None, description="Namespace of the object.")
    change_type: ChangeType | None = Field(default=None, description="What happened to it.")
    before: Text | None = Field(default=None, description="What matters of it, before.")
    after: Text | None = Field(default=None, description="What matters of it, afterwards.")


AffectedResources = Annotated[list[AffectedResource], Field(max_length=100)]


class ActionResult(Status):
    """What the action's own rule `result` made of the facts: one of the four results, and what goes with each."""

    success: bool | None = Field(default=None, description="Whether the action reached what it should.")
    execution_time: Word | None = Field(default=None, description="How long it took.")
    scale_result: ScaleResult | None = Field(default=None, description="Of an action that scales.")
    restart_result: RestartResult | None = Field(default=None, description="Of an action that restarts.")
    update_result: UpdateResult | None = Field(default=None, description="Of an action that updates.")
    custom_result: CustomResult | None = Field(default=None, description="Of any other action.")
    resources_affected: AffectedResources | None = Field(default=None, description="What was changed.")
    warnings: Texts | None = Field(default=None, description="What is worth knowing.")
