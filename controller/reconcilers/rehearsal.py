"""Rehearsing a workflow: each step's `action` gate and a server-side dry-run of its operations, before anything is started."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import accumulate

from controller.cluster.errors import AmbiguousError, ApiError, ConflictError, InvalidError, ThrottledError, UnreachableError
from controller.core.changes import Change, change_of
from controller.core.durations import format_duration
from controller.core.operations import Sight, forbidden_among
from controller.core.plan import Plan
from controller.core.status import MAX_MESSAGE
from controller.core.verdict import ActionVerdict, Decision
from controller.execute.operations import Operator
from controller.gates.client import Answer, reason_document
from controller.gates.questions import task_of
from controller.reconcilers.scope import Document, Scope
from controller.reconcilers.together import together

_AT_ONCE = 8
# A target that others write to may move on between the read and the dry-run.
_TRIES = 3
_MOST_STEPS = 500
_MOST_CHANGES = 100
_MOST_ERRORS = 5
_MOST_TEXT = 32 * 1024
_LONGEST_VALUE = 128


@dataclass(frozen=True, slots=True)
class Rehearsed:
    """What came of one step: the gate's answer, what the API server refused, and how long it took."""

    step: Document
    answer: Answer[ActionVerdict]
    errors: list[Document]
    took: timedelta

    @property
    def verdict(self) -> ActionVerdict:
        """What `action` said."""
        return self.answer.verdict

    @property
    def would_succeed(self) -> bool:
        """Whether policy allows every operation and the API server would accept it."""
        return self.verdict.decision is Decision.ALLOW and not self.errors

    def document(self) -> Document:
        """The step as the gate `safety` sees it."""
        return {
            "step": self.step["stepNumber"],
            "action": self.step["action"],
            "decision": str(self.verdict.decision),
            "reasons": [reason_document(r) for r in self.verdict.reasons],
            "errors": self.errors,
            "depends": bool(self.step["dependsOn"]),
        }


async def rehearse(scope: Scope, plan: Plan) -> list[Rehearsed]:
    """Rehearse every step, a few at once, in order of number."""
    turns = asyncio.Semaphore(_AT_ONCE)
    workflow = scope.document()

    async def one(step: Document) -> Rehearsed:
        async with turns:
            began = scope.parts.clock()
            for _ in range(_TRIES):
                question = {"workflow": workflow, "step": step}
                answer = await scope.session.ask("action", ActionVerdict, question, about=task_of(question))
                allowed = answer.verdict.decision is Decision.ALLOW
                errors, moved = await _errors(scope, answer.verdict) if allowed else (_unread(answer), False)
                if not moved:
                    break
            return Rehearsed(step, answer, errors, scope.parts.clock() - began)

    return await together(one(dict(step)) for step in plan.steps.values())


def dry_run_results(rehearsed: Sequence[Rehearsed], *, took: timedelta) -> Document:
    """What status keeps: step by step, and what would change, before and after; capped, and told how much the cap left out."""
    changes = [_change(change_of(operation)) for r in rehearsed for operation in r.verdict.operations]
    kept = _first(changes)
    longest = max(_LONGEST_VALUE, MAX_MESSAGE // (1 + len(rehearsed) // 10))
    return {
        "overallSuccess": all(r.would_succeed for r in rehearsed),
        "executionTime": format_duration(took),
        "stepsSimulated": len(rehearsed),
        "stepResults": [_result(r, longest) for r in rehearsed[:_MOST_STEPS]],
        "resourceChanges": kept,
        **({"omittedChanges": len(changes) - len(kept)} if len(changes) > len(kept) else {}),
    }


def _first(changes: Sequence[Document]) -> list[Document]:
    """As many of the changes as a status has room for."""
    sizes = accumulate(len(json.dumps(change)) for change in changes)
    return [change for change, size in zip(changes[:_MOST_CHANGES], sizes, strict=False) if size <= _MOST_TEXT]


def _result(rehearsed: Rehearsed, longest: int) -> Document:
    said = [f"{r.code}: {r.message}" for r in rehearsed.verdict.reasons] + [e["message"] for e in rehearsed.errors]
    result: Document = {
        "stepNumber": rehearsed.step["stepNumber"],
        "action": rehearsed.step["action"],
        "wouldSucceed": rehearsed.would_succeed,
        "simulatedDuration": format_duration(rehearsed.took),
    }
    return result | ({"validationErrors": [line[:longest] for line in said[:_MOST_ERRORS]]} if said else {})


def _change(change: Change) -> Document:
    document: Document = {"resourceType": change.kind, "resourceName": change.name, "changeType": change.type}
    if change.namespace:
        document["namespace"] = change.namespace
    for key, values in (("beforeState", change.before), ("afterState", change.after)):
        if values:
            document[key] = {path: value[:_LONGEST_VALUE] for path, value in values.items()}
    return document


def _unread(answer: Answer[ActionVerdict]) -> list[Document]:
    """What the API server said when it refused the reads that the gate asked for."""
    return [
        {"status": 403, "reason": "Forbidden", "message": fact["message"]}
        for fact in answer.facts.values()
        if not fact.get("available") and fact.get("reason") == "forbidden"
    ]


async def _errors(scope: Scope, verdict: ActionVerdict) -> tuple[list[Document], bool]:
    """What refused the first operation that was refused, and whether only because its target moved on since it was read."""
    operator = Operator(scope.parts.workflows.cluster, verdict.service_account)
    if fault := forbidden_among(verdict.operations):
        return [{"status": 422, "reason": "Forbidden by the executor", "message": fault}], False
    for operation in verdict.operations:
        try:
            await operator.rehearse(operation.do)
        except ThrottledError:
            continue
        except (AmbiguousError, UnreachableError):
            raise
        except ApiError as exc:
            refused = isinstance(exc, ConflictError | InvalidError)
            moved = refused and await operator.look(operation.do) is not Sight.NOT_APPLIED
            return [{"status": exc.status, "reason": exc.reason, "message": exc.message}], moved
    return [], False
