"""What a workflow is to do: its steps, how they hang together, and what an analysis recommended about them."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from controller.api.common import (
    MAX_STEPS,
    WRITTEN_WHOLE,
    Action,
    ConditionSpecs,
    Duration,
    Fraction,
    Label,
    Spec,
    StepName,
    StepNumber,
    StringMap,
    Text,
    Time,
    Version,
    Word,
    duplicates,
    rule,
    rules,
    unique_types,
)
from controller.api.parameters import RollbackParameters, StepParameters

_NAMES = "step names must differ: dependencies name the steps that they mean"

Level = Literal["low", "medium", "high"]


class RollbackSpec(Spec):
    """The author's own way back from a step; it beats the recorded undo."""

    action: Action = Field(description="The undo action, for example scale-to-previous.")
    parameters: RollbackParameters = Field(description="What to do it with.")
    timeout: Duration | None = Field(default=None, description="How long the way back may take.")


Dependency = StepNumber | StepName


class Step(Spec):
    """One step of a workflow."""

    step_number: StepNumber = Field(description="Number of the step, unique in its workflow.")
    name: StepName = Field(description="Name of the step, unique in its workflow.")
    action: Action = Field(description="What to do: scale-deployment, scale_deployment and ScaleDeployment mean the same.")
    target_cluster: Word | None = Field(
        default=None, description="Empty or the setting cluster-name: this cluster. Another one is refused in v1alpha1."
    )
    parameters: StepParameters = Field(description="What to do it with: exactly one member, named like the action in camelCase.")
    critical_step: bool = Field(default=True, description="Whether its failure ends the workflow; if not, the rest goes on.")
    max_retries: int | None = Field(
        default=None, ge=0, le=10, description="Retries after the first attempt; default: executionStrategy.maxRetries."
    )
    timeout: Duration | None = Field(default=None, description="How long one attempt may take; default: timeouts.step.")
    depends_on: list[Annotated[Dependency, Field(json_schema_extra={"x-kubernetes-int-or-string": True})]] | None = Field(
        default=None, max_length=MAX_STEPS, description="Steps that must be completed before, by number or by name."
    )
    rollback_spec: RollbackSpec | None = Field(default=None, description="The author's own way back; it beats the recorded undo.")
    pre_conditions: ConditionSpecs | None = Field(default=None, description="What must hold before the step.")
    post_conditions: ConditionSpecs | None = Field(default=None, description="What must hold after the step.")

    @model_validator(mode="after")
    def _conditions_differ(self) -> Self:
        unique_types(self.pre_conditions, "preConditions")
        unique_types(self.post_conditions, "postConditions")
        return self


class ParameterOptimization(Spec):
    """Other parameters that an analysis suggests."""

    suggested_parameters: StringMap = Field(description="Parameters with their suggested values.")
    reason: Text = Field(description="Why these.")


class StepOptimization(Spec):
    """What an analysis suggests for one step."""

    step_number: StepNumber = Field(description="The step meant.")
    recommendation: Text = Field(description="The suggestion, for people.")
    confidence: Fraction = Field(description="How sure the analysis is.")
    impact_level: Level = Field(description="How much it matters.")
    parameter_changes: ParameterOptimization | None = Field(default=None, description="Other parameters.")


class ParallelExecutionGroup(Spec):
    """Steps that could run at once."""

    group_name: Label = Field(description="Name of the group.")
    step_numbers: list[StepNumber] = Field(max_length=MAX_STEPS, description="The steps meant.")
    confidence: Fraction = Field(description="How sure the analysis is.")


class SafetyImprovement(Spec):
    """A check that an analysis would add."""

    description: Text = Field(description="What for.")
    step_number: int | None = Field(default=None, ge=0, le=999, description="The step meant; 0: the whole workflow.")
    safety_check: Label = Field(description="The check to add.")
    priority: Level = Field(description="How urgent it is.")


class RiskFactor(Spec):
    """Something that could go wrong."""

    factor: Text = Field(description="What could go wrong.")
    severity: Level = Field(description="How bad it would be.")
    probability: Fraction = Field(description="How likely it is.")
    mitigation: Text | None = Field(default=None, description="What would help.")


class AIRecommendations(Spec):
    """What an analysis recommended about this workflow. Information for policies; the controller takes none of it as an order."""

    overall_confidence: Fraction | None = Field(default=None, description="How sure the analysis is of the whole.")
    recommendation_source: Label | None = Field(default=None, description="Who recommended it, for example holmesgpt.")
    generated_at: Time | None = Field(default=None, description="When.")
    step_optimizations: list[StepOptimization] | None = Field(default=None, max_length=MAX_STEPS, description="For single steps.")
    parallel_execution_suggestions: list[ParallelExecutionGroup] | None = Field(
        default=None, max_length=100, description="Steps that could run at once."
    )
    safety_improvements: list[SafetyImprovement] | None = Field(default=None, max_length=100, description="Checks to add.")
    similar_workflow_success_rate: Fraction | None = Field(default=None, description="How often similar workflows went well.")
    estimated_duration: Duration | None = Field(default=None, description="How long the workflow should take.")
    risk_factors: list[RiskFactor] | None = Field(default=None, max_length=100, description="What could go wrong.")


class WorkflowDefinition(Spec):
    """The steps, and how they depend on each other."""

    # `distinct` is there from Kubernetes 1.34 on. It costs little; `all(exists_one)` over 500 steps is beyond the server's budget.
    model_config = ConfigDict(
        json_schema_extra=rules(rule("self.steps.map(s, s.name).distinct().size() == self.steps.size()", _NAMES)) | WRITTEN_WHOLE
    )

    name: Label | None = Field(default=None, description="Name of the definition, for people.")
    version: Version | None = Field(default=None, description="Version of the definition, for people.")
    steps: list[Step] = Field(
        min_length=1,
        max_length=MAX_STEPS,
        description="The steps, in any order.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["stepNumber"]},
    )
    dependencies: Annotated[dict[str, Annotated[list[StepName], Field(max_length=MAX_STEPS)]], Field(max_length=MAX_STEPS)] | None = Field(
        default=None, description="Step name to the names of the steps that must be completed before; merged with dependsOn."
    )
    ai_recommendations: AIRecommendations | None = Field(default=None, description="What an analysis recommended about this workflow.")

    @model_validator(mode="after")
    def _steps_differ(self) -> Self:
        for number in duplicates([step.step_number for step in self.steps]):
            raise ValueError(f'steps: Duplicate value: {{"stepNumber":{number}}}')
        for name in duplicates([step.name for step in self.steps]):
            raise ValueError(f"{_NAMES} (twice: {name!r})")
        return self


class SafetyCheck(Spec):
    """One of the safety checks: whether it is required, or whether policy is asked to leave it out."""

    type: Literal["rbac", "capacity", "health", "network", "rbac-check", "resource-availability"] = Field(
        description="Which check; rbac-check means rbac, resource-availability means capacity and that the target exists."
    )
    description: Text | None = Field(default=None, description="For people: why.")
    required: bool = Field(default=True, description="Whether the workflow may run without it.")
    enabled: bool = Field(default=True, description="False asks policy to leave it out.")


class ExecutionStrategy(Spec):
    """How the steps are run."""

    approval_required: bool = Field(default=False, description="Ask a person first; policy may ask anyway.")
    dry_run_first: bool = Field(default=True, description="Try every step as a server-side dry-run before the first one is run.")
    rollback_strategy: Literal["automatic", "manual", "none"] = Field(
        default="automatic", description="What happens to the completed steps when a critical one fails."
    )
    max_retries: int = Field(default=0, ge=0, le=10, description="Retries after the first attempt, for steps without their own.")
    max_parallel_steps: int | None = Field(
        default=None, ge=1, le=MAX_STEPS, description="How many attempts may be under way at once; can only lower what policy allows."
    )
    safety_checks: list[SafetyCheck] | None = Field(
        default=None, max_length=20, description="Terms for single safety checks; all four always run."
    )


class AdaptiveOrchestration(Spec):
    """What policy may change while the workflow runs."""

    optimization_enabled: bool = Field(default=False, description="Policy may skip steps that are not needed and run fewer at once.")
    learning_from_history: bool = Field(default=False, description="Policy may extend timeouts by how earlier attempts went.")
    dynamic_step_adjustment: bool = Field(default=False, description="Policy may adjust parameters within bounds that it names.")


class Timeouts(Spec):
    """How long the phases may take. What is not set comes from the settings; waiting for an approval never counts."""

    planning: Duration | None = Field(default=None, description="Of planning.")
    validation: Duration | None = Field(default=None, description="Of validating.")
    step: Duration | None = Field(default=None, description="Of one attempt at a step without its own timeout.")
    monitoring: Duration | None = Field(default=None, description="Of monitoring.")
    approval: Duration | None = Field(default=None, description="Of waiting for a person.")
