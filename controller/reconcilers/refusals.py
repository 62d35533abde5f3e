"""Why an attempt does not go on: what refused it, in the errors and the words that the attempt's record keeps."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from controller.cluster.errors import ApiError
from controller.core.status import Fault
from controller.core.verdict import OperationRequest
from controller.gates.client import Answer

# An API server that has just started knows no bindings yet and refuses everything; a right that is really gone stays gone for longer.
RIGHTS_PATIENCE = timedelta(seconds=3)


class RefusedError(Exception):
    """The only try of the first operation was refused: nothing was done, the facts may be read again."""


class GivenUpError(Exception):
    """Nothing is sent any more: the attempt's time is over, or it was cancelled."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.message)
        self.fault = fault


class ChangedError(Exception):
    """Neither the old nor the new state is there: somebody else changed the target."""

    def __init__(self, request: OperationRequest, *, undoing: bool, cause: ApiError | None = None) -> None:
        place = f"{request.kind} {request.namespace + '/' if request.namespace else ''}{request.name}"
        word = "changed_since" if undoing else "resource_conflict"
        super().__init__(f"{word}: {place} is neither as it was nor as it should become" + (f" ({cause.message})" if cause else ""))


def denied(answer: Answer[Any], reason: str) -> Fault:
    """Turn a denial into the fault of an attempt; the gate's own `failure_reason` beats ours."""
    return Fault(
        answer.verdict.failure_reason or reason, answer.verdict.why, answer.verdict.error_type or "policy_denied", answer.verdict.remedy
    )


def forbidden_read(answer: Answer[Any]) -> str:
    """What the API server said when it refused a read that the gate cannot do without; "" if it refused none."""
    needed = {request.id for request in answer.verdict.facts if not request.optional}
    refused = (fact for key, fact in answer.facts.items() if key in needed and fact.get("reason") == "forbidden")
    return next((str(fact["message"]) for fact in refused if not fact["available"]), "")


def warnings(answer: Answer[Any]) -> str:
    """A verdict's warnings in one line."""
    return "; ".join(f"{w.code}: {w.message}" for w in answer.verdict.warnings)
