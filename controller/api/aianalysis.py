"""AIAnalysis: what an analysis of an alert recommends. Another product writes it; the mapping policy reads it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from controller.api.common import Conditions, Fraction, FreeObject, Label, LongText, ObjectReference, Resource, Status, Text, Time, Word


class AIAnalysisSpec(Status):
    """What is to be analysed. The analyser's own; only the reference is read here, the rest is kept as it is."""

    model_config = ConfigDict(extra="allow", json_schema_extra={"x-kubernetes-preserve-unknown-fields": True})

    remediation_request_ref: ObjectReference | None = Field(default=None, description="The request that the analysis serves.")


class Recommendation(Status):
    """One thing that could be done."""

    id: Label = Field(description="Names the recommendation.")
    action: Word | None = Field(default=None, description="What to do.")
    description: Text | None = Field(default=None, description="For people: what it is.")
    parameters: FreeObject | None = Field(default=None, description="What to do it with; the mapping policy reads it.")
    confidence: Fraction | None = Field(default=None, description="How sure the analysis is.")
    historical_success_rate: Fraction | None = Field(default=None, description="How often it helped before.")
    feasibility: Word | None = Field(default=None, description="How easily it can be done.")
    impact: Word | None = Field(default=None, description="How much it changes.")
    safety_level: Word | None = Field(default=None, description="How safe it is.")
    risk_level: Word | None = Field(default=None, description="How risky it is.")
    dependencies: Annotated[list[Label], Field(max_length=100)] | None = Field(
        default=None, description="Ids of recommendations that must be carried out before."
    )


class InvestigationReport(Status):
    """What was found."""

    summary: LongText | None = Field(default=None, description="In short.")
    root_cause: LongText | None = Field(default=None, description="The cause.")
    recommendation: LongText | None = Field(default=None, description="What to do about it.")


class AIAnalysisStatus(Status):
    """How far the analysis is, and what it recommends."""

    phase: Word | None = Field(default=None, description="How far it is; completed: the recommendations are final.")
    message: Text | None = Field(default=None, description="For people: what happens.")
    conditions: Conditions | None = Field(default=None, description="Conditions, as every Kubernetes status has them.")
    recommendations: Annotated[list[Recommendation], Field(max_length=100)] | None = Field(
        default=None, description="What could be done, best first."
    )
    top_recommendation: Recommendation | None = Field(default=None, description="The best of them.")
    investigation_report: InvestigationReport | None = Field(default=None, description="What was found.")
    completion_time: Time | None = Field(default=None, description="When it ended.")


class AIAnalysis(Resource):
    """What an analysis of an alert recommends."""

    api_version: Literal["aianalysis.kubernaut.ai/v1alpha1"] = Field(description="Group and version.")
    kind: Literal["AIAnalysis"] = Field(description="The kind.")
    spec: AIAnalysisSpec | None = Field(default=None, description="What is to be analysed.")
    status: AIAnalysisStatus | None = Field(default=None, description="How far it is, and what it recommends.")
