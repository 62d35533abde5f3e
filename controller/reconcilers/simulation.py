"""Simulating a workflow: every gate is asked as if each step went well, and what they say is reported; nothing is changed.

`planning`, `action` with its dry-run, and `safety` have been asked as for any workflow. Here follow the gates that a real run would only
meet later, each with a question of the same form in which what would have happened is pretended.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from controller.core.names import attempt_name
from controller.core.status import MAX_MESSAGE
from controller.core.times import stamp
from controller.core.verdict import (
    ApprovalVerdict,
    CompletionVerdict,
    Decision,
    FailureVerdict,
    MonitoringVerdict,
    Reason,
    RollbackVerdict,
    VerifyVerdict,
)
from controller.gates.client import Answer
from controller.reconcilers.rehearsal import Rehearsed
from controller.reconcilers.running import ask_dispatch
from controller.reconcilers.scope import Document, Scope, terms_of
from controller.reconcilers.together import together

_SEVERITY = {Decision.DENY: "high", Decision.WAIT: "medium", Decision.ALLOW: "low"}
_MOST_ISSUES = 100
_AT_ONCE = 8


async def simulate(scope: Scope, rehearsed: list[Rehearsed]) -> None:
    """Ask the rest of the gates, report what they say, and end the workflow as completed."""
    draft = scope.draft
    issues = [issue for r in rehearsed for issue in _said(r.answer, r.step["stepNumber"])]
    issues += await _approval(scope)
    issues += await _dispatch(scope)
    issues += await _ends(scope, rehearsed)
    issues += await _failures(scope, rehearsed)
    issues += await _afterwards(scope, rehearsed)
    results = dict(draft.status["validationResults"])
    results["dryRunResults"] = {**results["dryRunResults"], "potentialIssues": issues[:_MOST_ISSUES]}
    draft.status["validationResults"] = results
    draft.status["workflowResult"] = {"outcome": "unknown", "effectivenessScore": 0.0, "resourceHealth": "unknown"}
    good = sum(r.would_succeed for r in rehearsed)
    draft.complete("unknown", f"simulated: nothing was changed; {good} of {len(rehearsed)} steps would succeed")


async def _approval(scope: Scope) -> list[Document]:
    steps = [dict(step) for step in scope.graph.steps.values()]
    answer = await scope.session.ask("approval", ApprovalVerdict, {"workflow": scope.document(), "steps": steps, "approvals": []})
    _judged(scope, answer)
    scope.draft.status["approval"] = terms_of(answer)
    return _said(answer)


async def _dispatch(scope: Scope) -> list[Document]:
    """Let the steps start in the order that `dispatch` gives, as if each were done at once."""
    plan, issues = scope.graph, []
    waiting, done = list(plan.order()), set[int]()
    while ready := [n for n in waiting if set(plan.steps[n]["dependsOn"]) <= done]:
        answer = await ask_dispatch(scope, [_pretended(scope, n, "pending") for n in sorted(ready)], ready, [], {})
        _judged(scope, answer)
        verdict = answer.verdict
        issues += _said(answer)
        if verdict.decision is not Decision.ALLOW:
            break
        kept = [(entry.step, reason, "high") for entry in verdict.block for reason in entry.reasons]
        kept += [(entry.step, reason, "medium") for entry in verdict.hold for reason in entry.reasons]
        kept += [(skip.step, skip.reason, "low") for skip in verdict.skip]
        issues += [_issue(reason, severity, step) for step, reason, severity in kept]
        moved = {*verdict.start, *(skip.step for skip in verdict.skip)}
        done |= moved
        out = moved | {step for step, _, severity in kept if severity != "low"}
        if not out:
            break
        waiting = [n for n in waiting if n not in out]
    late = [n for n in waiting if n not in done]
    if late:
        issues.append(
            {"severity": "medium", "description": f"steps that would not start as things stand: {', '.join(map(str, late[:50]))}"}
        )
    return issues


async def _ends(scope: Scope, rehearsed: Iterable[Rehearsed]) -> list[Document]:
    """Ask `verify` and `completion` of each step. That nothing has come to hold yet is no news; a denial is."""
    turns = asyncio.Semaphore(_AT_ONCE)

    async def one(rehearsed: Rehearsed) -> list[Document]:
        number = rehearsed.step["stepNumber"]
        question = {"workflow": scope.document(), "step": _pretended(scope, number, "executing"), "attempt": _attempt(scope, rehearsed)}
        async with turns:
            verified = await scope.session.ask("verify", VerifyVerdict, question, fresh=True)
            completed = await scope.session.ask("completion", CompletionVerdict, {**question, "since": {}})
        _judged(scope, verified)
        _judged(scope, completed)
        return [i for a in (verified, completed) if a.verdict.decision is Decision.DENY for i in _said(a, number)]

    found = await together(one(r) for r in rehearsed if r.would_succeed)
    return [issue for issues in found for issue in issues]


async def _failures(scope: Scope, rehearsed: list[Rehearsed]) -> list[Document]:
    """Say what the failure of a step would lead to; steps that `failure` cannot tell apart are asked for once."""
    alike: dict[tuple[Any, ...], list[Rehearsed]] = {}
    for r in rehearsed:
        alike.setdefault((r.step["action"], r.step["criticalStep"], r.step["maxRetries"]), []).append(r)
    issues = []
    for group in alike.values():
        last = group[-1]
        number = last.step["stepNumber"]
        question = {
            "workflow": scope.document(),
            "step": {**_done(scope, last), "status": "executing"},
            "steps": [_done(scope, r) for r in rehearsed if r.step["stepNumber"] < number],
            "attempt": {**_attempt(scope, last), "errorType": "execution_error", "failureReason": "step_execution_failed", "message": ""},
        }
        answer = await scope.session.ask("failure", FailureVerdict, question)
        _judged(scope, answer)
        numbers = ", ".join(str(r.step["stepNumber"]) for r in group[:20])
        told = f"what happens first if an attempt at step {numbers} fails: {answer.verdict.action}"
        issues.append({"severity": "low", "description": told[:MAX_MESSAGE]})
        issues += _said(answer, number)
    return issues


async def _afterwards(scope: Scope, rehearsed: list[Rehearsed]) -> list[Document]:
    """Ask `monitoring` and `rollback` as if every step were completed."""
    steps = [_done(scope, r) for r in rehearsed]
    workflow = scope.document()
    workflow["status"] = {**workflow["status"], "executionStartTime": stamp(scope.draft.now), "monitoringStartTime": stamp(scope.draft.now)}
    watched = await scope.session.ask("monitoring", MonitoringVerdict, {"workflow": workflow, "steps": steps})
    undone = await scope.session.ask("rollback", RollbackVerdict, {"workflow": workflow, "steps": steps})
    _judged(scope, watched)
    _judged(scope, undone)
    return [*(_said(watched) if watched.verdict.decision is Decision.DENY else []), *_said(undone)]


def _judged(scope: Scope, answer: Answer[Any]) -> None:
    scope.draft.judged(answer.gate, answer.summary(scope.draft.now))


def _pretended(scope: Scope, number: int, status: str) -> Document:
    return {**scope.graph.steps[number], "status": status, "attempts": 0 if status == "pending" else 1, "retriesAttempted": 0}


def _done(scope: Scope, rehearsed: Rehearsed) -> Document:
    """A step as if it had been carried out."""
    number = rehearsed.step["stepNumber"]
    done = _pretended(scope, number, "completed")
    sent = bool(rehearsed.verdict.operations)
    return {**done, "completionOrder": number, "operationsSent": sent, "reversible": rehearsed.verdict.reversible}


def _attempt(scope: Scope, rehearsed: Rehearsed) -> Document:
    """An attempt as if its operations had just been answered."""
    now = stamp(scope.draft.now)
    operations = [{**o.model_dump(exclude_none=True), "sentAt": now, "answeredAt": now} for o in rehearsed.verdict.operations]
    return {
        "name": attempt_name(scope.draft.name, rehearsed.step["stepNumber"], 0),
        "uid": "",
        "number": 0,
        "owned": True,
        "rollback": False,
        "overwrite": False,
        "phase": "verifying",
        "startTime": now,
        "operations": operations,
        "since": {},
    }


def _said(answer: Answer[Any], step: int | None = None) -> list[Document]:
    """A verdict's reasons and warnings as issues."""
    verdict = answer.verdict
    told = [_issue(reason, _SEVERITY[verdict.decision], step) for reason in verdict.reasons]
    return told + [_issue(warning, "low", step) for warning in verdict.warnings]


def _issue(reason: Reason, severity: str, step: int | None = None) -> Document:
    issue: Document = {"severity": severity, "description": f"{reason.policy}: {reason.code}: {reason.message}"[:MAX_MESSAGE]}
    if step is not None:
        issue["stepNumber"] = step
    if reason.remedy:
        issue["recommendation"] = reason.remedy[:MAX_MESSAGE]
    return issue
