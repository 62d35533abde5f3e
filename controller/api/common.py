"""What the shapes of our kinds share: bases, bounded scalars, references, conditions.

Two bases: what users write is strict (an unknown field, a string where a number belongs, are refused, as the API server does); what
comes back in a status is tolerant, because a newer writer may know more. Every bound here ends up in crds/.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    ValidationError,
    WithJsonSchema,
    model_validator,
)
from pydantic.alias_generators import to_camel

WORKFLOW_GROUP = "workflowexecution.kubernaut.ai"
EXECUTION_GROUP = "kubernetesexecution.kubernaut.ai"
REMEDIATION_GROUP = "remediation.kubernaut.ai"
ANALYSIS_GROUP = "aianalysis.kubernaut.ai"
VERSION = "v1alpha1"

MAX_STEPS = 500
MAX_CONDITIONS_OF_A_STEP = 20
LONGEST_WORKFLOW_NAME = 46

Json = dict[str, Any]


class Spec(BaseModel):
    """What a user writes: nothing unknown, nothing coerced. An explicit null means "not set", as it does for the API server."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, alias_generator=to_camel, populate_by_name=True)

    @model_validator(mode="before")
    @classmethod
    def _drop_nulls(cls, document: object) -> object:
        if isinstance(document, dict):
            return {key: value for key, value in document.items() if value is not None}
        return document


class Status(BaseModel):
    """What a controller reports: fields that this version does not know are passed over."""

    model_config = ConfigDict(extra="ignore", frozen=True, alias_generator=to_camel, populate_by_name=True)


class Metadata(Status):
    """The part of ObjectMeta that these shapes judge or that readers ask for."""

    name: str = Field(default="", max_length=253, description="Name of the object.")
    namespace: str = Field(default="", max_length=63, description="Namespace of the object.")
    uid: str = Field(default="", max_length=128, description="Identity of the object, given by the API server.")
    generation: int = Field(default=0, ge=0, description="Counts the changes of the spec.")
    labels: dict[str, str] = Field(default_factory=dict, description="Labels.")
    annotations: dict[str, str] = Field(default_factory=dict, description="Annotations.")


class Resource(BaseModel):
    """A whole object of one of our kinds. Strict about its own fields, so that a misplaced section is noticed."""

    model_config = ConfigDict(extra="forbid", frozen=True, alias_generator=to_camel, populate_by_name=True)

    metadata: Metadata = Field(description="Standard object metadata.")


# Scalars. Their names say what they hold; the bounds are part of the API.

_DURATION = r"^(0|([0-9]{1,5}(\.[0-9]{1,9})?h|[0-9]{1,7}(\.[0-9]{1,9})?m|[0-9]{1,9}(\.[0-9]{1,9})?(s|ms|us|µs|ns))+)$"
_QUANTITY = r"^[0-9]+(\.[0-9]+)?(m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?$"
_TIME = re.compile(r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d{1,9})?(Z|[+-]\d{2}:\d{2})$")


def _rfc3339(text: str) -> str:
    if not _TIME.match(text):
        raise ValueError("should be an RFC 3339 date-time, like 2026-01-31T10:00:00Z")
    return text


Duration = Annotated[str, Field(max_length=32, pattern=_DURATION)]
Quantity = Annotated[str, Field(max_length=32, pattern=_QUANTITY)]
Time = Annotated[str, AfterValidator(_rfc3339), WithJsonSchema({"type": "string", "format": "date-time", "maxLength": 64})]
Namespace = Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")]
ObjectName = Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")]
Container = Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")]
KindName = Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[A-Z][A-Za-z0-9]*$")]
ApiVersion = Annotated[str, Field(min_length=1, max_length=317, pattern=r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?v[0-9][a-z0-9]*$")]
Selector = Annotated[str, Field(min_length=1, max_length=1024)]
Image = Annotated[str, Field(min_length=1, max_length=512, pattern=r"^[^\s]+$")]
Uid = Annotated[str, Field(min_length=1, max_length=128)]
Digest = Annotated[str, Field(max_length=128)]
Word = Annotated[str, Field(max_length=63)]
Label = Annotated[str, Field(max_length=256)]
Fact = Annotated[str, Field(max_length=256)]
Text = Annotated[str, Field(max_length=1024)]
LongText = Annotated[str, Field(max_length=16384)]
Blob = Annotated[str, Field(max_length=262144)]
UserName = Annotated[str, Field(max_length=512)]
Action = Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[A-Za-z][A-Za-z0-9_-]*$")]
StepName = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[^\x00-\x1f\x7f]+$")]
StepNumber = Annotated[int, Field(ge=1, le=999)]
ConditionType = Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[A-Za-z][A-Za-z0-9_-]*$")]
RegoReference = Annotated[
    str, Field(max_length=384, pattern=r"^$|^[a-z0-9]([-a-z0-9.]*[a-z0-9])?:[-._a-zA-Z0-9]+\.rego:[A-Za-z_][A-Za-z0-9_.]*$")
]
Fraction = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0, le=1_000_000_000)]
Replicas = Annotated[int, Field(ge=0, le=10_000)]
Version = Annotated[str, Field(max_length=128)]

# Free-form JSON. What is in there is judged by policy and by the server-side dry-run, never by the schema.
FreeObject = Annotated[Json, WithJsonSchema({"type": "object", "x-kubernetes-preserve-unknown-fields": True})]
StringMap = Annotated[dict[str, LongText], Field(max_length=256)]


# Any JSON: an object, or an array where the patch is a JSON patch. A structural schema cannot say "object or array", so that any other
# value is refused by the catalogue entry (`parameters_valid`), not here.
PatchDocument = Annotated[Any, WithJsonSchema({"x-kubernetes-preserve-unknown-fields": True})]


class ObjectReference(Spec):
    """Points at another object."""

    api_version: ApiVersion | None = Field(default=None, description="API group and version of the object.")
    kind: KindName | None = Field(default=None, description="Kind of the object.")
    namespace: Namespace | None = Field(default=None, description="Namespace of the object; default: that of the object which points.")
    name: ObjectName = Field(description="Name of the object.")
    uid: Uid | None = Field(default=None, description="Identity of the object, where one very object is meant.")


class StatusReference(Status):
    """Points at an object that a controller made or found."""

    name: str = Field(max_length=253, description="Name of the object.")
    namespace: str | None = Field(default=None, max_length=63, description="Namespace of the object.")
    uid: Uid | None = Field(default=None, description="Identity of the object, once it is known.")


class Condition(Status):
    """One condition, as every Kubernetes status has them."""

    type: str = Field(min_length=1, max_length=316, description="Which condition.")
    status: Literal["True", "False", "Unknown"] = Field(description="Whether it holds.")
    observed_generation: int | None = Field(default=None, ge=0, le=2**53, description="Generation of the spec that was judged.")
    last_transition_time: Time = Field(description="When the status last changed.")
    reason: str = Field(min_length=1, max_length=1024, description="One word in CamelCase: why.")
    message: str = Field(max_length=32768, description="For people: the details.")


class ReasonRecord(Status):
    """One coded line of a verdict."""

    code: str = Field(max_length=63, description="Stable snake_case code, unique in its gate.")
    message: Text = Field(description="What was found.")
    policy: Label | None = Field(default=None, description="The policy that said so, for example rules.dispatch.freeze.")
    remedy: Text | None = Field(default=None, description="What would help.")


class GateRecord(Status):
    """The last verdict of one gate."""

    decision: Literal["allow", "wait", "deny"] = Field(description="What the gate decided.")
    reasons: list[ReasonRecord] | None = Field(default=None, max_length=32, description="Why.")
    decision_id: str | None = Field(default=None, max_length=128, description="Names the decision record that holds the whole question.")
    policy_revision: Digest | None = Field(default=None, description="Revision of the policy set that decided.")
    input_digest: Digest | None = Field(default=None, description="Digest of what the gate was asked.")
    time: Time | None = Field(default=None, description="When the gate first decided this.")
    facts: Annotated[list[Fact], Field(max_length=16)] | None = Field(
        default=None, description="On which facts, one line each, where it was no allow; capped."
    )


GateRecords = Annotated[dict[str, GateRecord], Field(max_length=16)]
Conditions = Annotated[
    list[Condition], Field(max_length=16, json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]})
]


class ConditionSpec(Spec):
    """A condition of a step: one of its action's catalogue entry with other terms, or one that the author's platform team wrote."""

    type: ConditionType = Field(description="Name of the condition.")
    description: Text | None = Field(default=None, description="For people: what it means.")
    rego: RegoReference | None = Field(
        default=None,
        description="Empty: `type` names a condition of the action. Else `configmap-name:key.rego:rule` in kubernaut-system.",
    )
    required: bool = Field(default=True, description="Whether the step may go on without it.")
    timeout: Duration | None = Field(default=None, description="How long to wait until it holds.")


ConditionSpecs = Annotated[
    list[ConditionSpec],
    Field(
        max_length=MAX_CONDITIONS_OF_A_STEP,
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
    ),
]


class ConditionTerms(Spec):
    """Other terms for a condition of the action's catalogue entry."""

    required: bool | None = Field(default=None, description="Whether the step may go on without it; may only tighten.")
    timeout: Duration | None = Field(default=None, description="How long to wait until it holds; may only tighten.")


ConditionTermsByType = Annotated[dict[str, ConditionTerms], Field(max_length=MAX_CONDITIONS_OF_A_STEP)]


class ConditionOverride(Spec):
    """Other terms for the conditions of one action."""

    preconditions: ConditionTermsByType | None = Field(default=None, description="By condition type: what must hold before.")
    postconditions: ConditionTermsByType | None = Field(default=None, description="By condition type: what must hold afterwards.")


ConditionSince = Annotated[dict[str, Time], Field(max_length=1100)]


class OneMember(Spec):
    """A union: exactly one of its fields is set."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1, "maxProperties": 1})

    @model_validator(mode="wrap")
    @classmethod
    def _exactly_one(cls, document: object, handler: ModelWrapValidatorHandler[OneMember]) -> OneMember:
        parsed = handler(document)
        present = sorted(to_camel(name) for name in parsed.model_fields_set)
        if not present:
            raise ValueError("should have at least 1 properties: one member, named like the action in camelCase")
        if len(present) > 1:
            raise ValueError(f"must have at most 1 properties: exactly one member, not {' and '.join(present)}")
        return parsed


def rule(expression: str, message: str, **more: str) -> Json:
    """One CEL rule of the API server, with the sentence that a refusal says; ``more``: fieldPath, reason."""
    return {"rule": expression, "message": message, **more}


def rules(*entries: Json) -> Json:
    """CEL rules as extra keys of a schema."""
    return {"x-kubernetes-validations": list(entries)}


WRITTEN_WHOLE: Json = {"x-kubernetes-map-type": "atomic"}
"""For a field that has one writer: the API server then keeps no list of who wrote which field inside, which would be half of the object."""


def unchanged(field: str, way_out: str, *, required: bool = False) -> Json:
    """Build the rule that a field, once written or left out, stays as it is."""
    same = f"self.{field} == oldSelf.{field}"
    expression = same if required else f"has(self.{field}) == has(oldSelf.{field}) && (!has(self.{field}) || {same})"
    return rule(expression, f"{field} cannot be changed after creation; {way_out}", reason="FieldValueForbidden", fieldPath=f".{field}")


def duplicates(names: list[Any]) -> list[Any]:
    """Name every value that occurs more than once, each once."""
    seen: set[Any] = set()
    return list(dict.fromkeys(name for name in names if name in seen or seen.add(name)))  # type: ignore[func-returns-value]


def unique_types(conditions: list[ConditionSpec] | None, where: str) -> None:
    """Refuse two conditions of one type, as the list's map key does in the API server."""
    for kind in duplicates([condition.type for condition in conditions or []]):
        raise ValueError(f"{where}: Duplicate value: type {kind!r}")


def faults(error: ValidationError) -> list[str]:
    """What is wrong with a document, one line per fault, each with its place."""
    return [f"{'.'.join(map(str, fault['loc'])) or 'the object'}: {fault['msg']}" for fault in error.errors(include_url=False)]
