"""The middle of a workflow's life: attempts that end, steps that start, and what happens when one fails."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any, get_args

from controller.core import attempt as attempts
from controller.core import phases, stopwatch
from controller.core.durations import format_duration, parse_duration
from controller.core.names import CANCEL_ANNOTATION
from controller.core.status import Draft, Fault
from controller.core.times import instant
from controller.core.verdict import (
    CompletionVerdict,
    ConditionResult,
    Decision,
    DispatchVerdict,
    ErrorType,
    FailureVerdict,
    MalformedVerdictError,
)
from controller.gates.client import Answer, reason_document
from controller.gates.questions import attempt_document, started_steps, step_document
from controller.reconcilers.refusals import warnings
from controller.reconcilers.scope import MARGIN, Document, Scope, fault_of, owned_by

_HALTS = {"rollback": phases.ROLLING_BACK, "fail": phases.FAILED, "degrade": phases.DEGRADED, "block": phases.BLOCKED}
# How long a cancelled attempt that had begun is waited for: it says itself what it waited for, and what it has done.
_CANCEL_GRACE = timedelta(seconds=10)
_QUEUED_LOOK = timedelta(seconds=1)
_MOST_REASONS = 8


async def run_steps(scope: Scope) -> None:
    """See which attempts have ended, start what may start, and leave the phase when nothing is left to do."""
    draft = scope.draft
    own = scope.attempts()
    draft.proceed()
    for number in draft.executing():
        await _attend(scope, number, own.get(number, []))
    reason = scope.annotation(CANCEL_ANNOTATION)
    if not draft.halting and reason is None and draft.all_settled():
        draft.enter(phases.MONITORING)
        return
    if draft.executing() and (draft.halting or reason is not None):
        draft.wait(f"running steps to end: {_names(scope, draft.executing())}")
        return
    if draft.halting:
        _halt(scope)
        return
    if reason is not None:
        await cancel(scope, reason)
        return
    await _dispatch(scope)
    if draft.executing() and not draft.status.get("waitingFor"):
        draft.wait(f"running steps to end: {_names(scope, draft.executing())}")


# attempts under way


async def _attend(scope: Scope, number: int, executions: list[Document]) -> None:
    """Look at one step's current attempt."""
    draft = scope.draft
    reference = draft.step(number)["k8sExecutionRef"]
    execution = next((e for e in executions if e["metadata"]["name"] == reference["name"]), None)
    if execution is None:
        execution = await _find(scope, number, reference)
        if execution is None:
            return
    draft.seen(number, execution["metadata"]["uid"])
    match attempts.phase_of(execution):
        case attempts.COMPLETED:
            await _attempt_completed(scope, number, execution)
        case attempts.FAILED:
            await attempt_failed(scope, number, execution, _fault_of_attempt(execution, number))
        case _:
            await _still_running(scope, number, execution)


async def _find(scope: Scope, number: int, reference: Document) -> Document | None:
    """Look past the cache for an attempt that it does not show; create it again if it never was, judge it if it is gone."""
    draft, namespace = scope.draft, scope.workflow["metadata"]["namespace"]
    found = await scope.parts.executions.live(namespace, reference["name"])
    if found is not None:
        if owned_by(found, scope.workflow):
            return found
        draft.wait(f"the name {reference['name']} is still taken by another owner's leftover; delete that KubernetesExecution")
        scope.look_again(timedelta(seconds=1))
        return None
    if reference.get("uid"):
        fault = Fault("step_creation_failed", f"KubernetesExecution {reference['name']} was deleted by someone", step=number)
        await attempt_failed(scope, number, None, fault)
        return None
    draft.restart(number)
    scope.look_again(_limit(scope, number) + MARGIN)
    return None


async def _still_running(scope: Scope, number: int, execution: Document) -> None:
    """Give up an attempt that outlives the step's time."""
    entry, limit = scope.draft.step(number), _limit(scope, number)
    late = outlived(scope, execution, entry["startTime"], limit)
    if late:
        fault = Fault("timeout", f"step {entry['name']} was not done within {format_duration(limit)}: {late}", "timeout", step=number)
        await attempt_failed(scope, number, execution, fault)


def _limit(scope: Scope, number: int) -> timedelta:
    """How long an attempt at a step may take."""
    own = (scope.draft.step(number).get("adjusted") or {}).get("timeout") or scope.graph.steps[number].get("timeout")
    return parse_duration(own) if own else scope.timeout("step")


def outlived(scope: Scope, execution: Document, started: str, limit: timedelta) -> str:
    """See that an attempt which has not ended does within its time; answers in words that it will not, "" while it may.

    One whose time is over is cancelled. One that never began is given up at once; one that has begun says itself, if it can, what it
    waited for and what it has done.
    """
    status, now = execution.get("status") or {}, scope.draft.now
    begun = status.get("startTime")
    over = now - (instant(begun or started) + limit + stopwatch.uncounted(status, now))
    if over <= timedelta(0):
        scope.look_again(-over + MARGIN)
        return ""
    if not begun and scope.parts.is_queued(execution):
        scope.look_again(_QUEUED_LOOK)
        return ""
    if CANCEL_ANNOTATION not in (execution["metadata"].get("annotations") or {}):
        scope.cancels.append((execution, "timeout"))
    if begun and over <= _CANCEL_GRACE:
        scope.look_again(_CANCEL_GRACE - over + MARGIN)
        return ""
    return "its attempt did not end" if begun else "nobody began its attempt"


async def _attempt_completed(scope: Scope, number: int, execution: Document) -> None:
    draft = scope.draft
    prefix = f"{number}/"
    since = {k.removeprefix(prefix): v for k, v in (draft.status.get("conditionSince") or {}).items() if k.startswith(prefix)}
    question = {
        "workflow": scope.document(),
        "step": step_document(scope.graph.steps[number], draft.step(number), [execution]),
        "attempt": attempt_document(execution, owned=True),
        "since": since,
    }
    answer = await scope.session.ask("completion", CompletionVerdict, question)
    draft.judged("completion", answer.summary(draft.now))
    _remember(scope, number, answer.verdict.conditions)
    match answer.verdict.decision:
        case Decision.ALLOW:
            results = (execution.get("status") or {}).get("executionResults") or {}
            told = [results.get("message") or "done", warnings(answer)]
            draft.completed(number, "; ".join(line for line in told if line))
        case Decision.WAIT:
            draft.wait(f"step {number}: {answer.verdict.why}")
            scope.look_again(timedelta(seconds=answer.verdict.next_check_seconds or 1))
        case Decision.DENY:
            fault = replace(fault_of(answer, "postcondition_failed", step=number), snapshot=attempts.snapshot_of(execution))
            await attempt_failed(scope, number, execution, fault)


async def attempt_failed(scope: Scope, number: int, execution: Document | None, fault: Fault) -> None:
    """Ask `failure` what a failed attempt leads to."""
    draft = scope.draft
    if draft.halting:
        draft.failed(number, fault)
        return
    question: Document = {
        "workflow": scope.document(),
        "step": step_document(scope.graph.steps[number], draft.step(number), scope.attempts().get(number) or filter(None, [execution])),
        "steps": started_steps(scope.graph, draft.steps(), scope.attempts()),
    }
    attempt = attempt_document(execution, owned=True) if execution else {"name": draft.step(number)["k8sExecutionRef"]["name"]}
    question["attempt"] = {**attempt, "errorType": fault.error_type, "message": fault.message, "failureReason": fault.reason}
    answer = await scope.session.ask("failure", FailureVerdict, question)
    draft.judged("failure", answer.summary(draft.now))
    if answer.verdict.decision is Decision.WAIT:
        draft.wait(f"step {number}: {answer.verdict.why}")
        scope.look_again(timedelta(seconds=answer.verdict.next_check_seconds or 1))
        return
    _apply_failure(scope, number, fault, answer)


def _apply_failure(scope: Scope, number: int, fault: Fault, answer: Answer[FailureVerdict]) -> None:
    draft, verdict = scope.draft, answer.verdict
    fault = replace(fault, reason=verdict.failure_reason or fault.reason, step=number)
    match verdict.action:
        case "retry":
            draft.retry(number, fault, draft.now + timedelta(seconds=verdict.delay_seconds))
        case "continue":
            draft.failed(number, fault)
            draft.skip_dependants(scope.graph, number)
        case "block":
            draft.failed(number, fault, "blocked")
            draft.halt("block", fault)
        case _:
            draft.failed(number, fault)
            draft.halt(verdict.action, fault)


def _fault_of_attempt(execution: Document, number: int) -> Fault:
    results = (execution.get("status") or {}).get("executionResults") or {}
    return Fault(
        results.get("failureReason") or "step_execution_failed",
        results.get("errorMessage") or results.get("message") or "the attempt failed without saying why",
        results["errorType"] if results.get("errorType") in get_args(ErrorType) else "execution_error",
        results.get("remedy") or "",
        number,
        attempts.snapshot_of(execution),
    )


# starting


async def _dispatch(scope: Scope) -> None:
    draft, plan = scope.draft, scope.graph
    ready, due = draft.ready(plan)
    if due is not None:
        scope.look_again(due - draft.now)
    running = draft.executing()
    if not ready:
        if not running and due is not None:
            draft.wait("the next retry")
        return
    steps = [step_document(plan.steps[n], draft.step(n)) for n in sorted({*ready, *running})]
    answer = await ask_dispatch(scope, steps, ready, running, draft.status.get("conditionSince") or {})
    verdict, summary = answer.verdict, answer.summary(draft.now)
    # Where nothing moves, the verdict gives the reasons of its holds as its own.
    told = summary["reasons"]
    held = [line for entry in verdict.hold for reason in entry.reasons if (line := reason_document(reason)) not in told]
    if held:
        summary["reasons"] = [*told, *held][:_MOST_REASONS]
    draft.judged("dispatch", summary)
    _remember(scope, None, verdict.conditions)
    if verdict.decision is Decision.DENY:
        draft.halt("block", fault_of(answer, "policy_denied"))
        if not running:
            _halt(scope)
        return
    if verdict.next_check_seconds is not None:
        scope.look_again(timedelta(seconds=verdict.next_check_seconds))
    if verdict.decision is Decision.WAIT:
        draft.wait(answer.verdict.why, answer.verdict.remedy)
        if not verdict.time_counts:
            draft.forget_pending()
        return
    _apply_dispatch(scope, ready, answer)


async def ask_dispatch(
    scope: Scope, steps: Sequence[Mapping[str, object]], ready: list[int], running: list[int], since: Mapping[str, str]
) -> Answer[DispatchVerdict]:
    """Ask `dispatch` which of the ready steps start.

    Raises:
        MalformedVerdictError: it speaks of other steps than it was asked about.
    """
    question = {"workflow": scope.document(), "steps": list(steps), "ready": ready, "running": running, "since": dict(since)}
    answer = await scope.session.ask("dispatch", DispatchVerdict, question)
    verdict = answer.verdict
    about = {*verdict.start, *(entry.step for entry in (*verdict.hold, *verdict.block)), *(entry.step for entry in verdict.skip)}
    about |= {adjustment.step for adjustment in verdict.adjustments} - {0}
    if strange := sorted(about - set(ready)):
        raise MalformedVerdictError(f"DispatchVerdict speaks of steps that are not ready: {strange[:10]}")
    return answer


def _apply_dispatch(scope: Scope, ready: list[int], answer: Answer[DispatchVerdict]) -> None:
    draft, verdict = scope.draft, answer.verdict
    _leave_out(draft, verdict, set(ready))
    for number in verdict.start:
        if number in ready and draft.state(number) == "pending" and not draft.halting:
            draft.start(number, _adjustments(verdict, number))
            # Whoever carries it out tells of its end; should nobody, nothing else would tell.
            scope.look_again(_limit(scope, number) + MARGIN)
    for adjustment in verdict.adjustments:
        if not adjustment.step or draft.state(adjustment.step) in {"executing", "skipped"}:
            draft.adjusted(adjustment.step, adjustment.adjustment, adjustment.reason)
    if held := [h.step for h in verdict.hold]:
        why = "; ".join(f"{r.code}: {r.message}" for h in verdict.hold[:3] for r in h.reasons[:1])
        draft.wait(f"held back: {_names(scope, held)}: {why}")
    if verdict.skip or verdict.block:
        # What was skipped or blocked may free others, or end the phase.
        scope.look_again(timedelta(0))


def _leave_out(draft: Draft, verdict: DispatchVerdict, ready: set[int]) -> None:
    """Skip and block steps as `dispatch` says."""
    for skip in verdict.skip:
        if skip.step in ready:
            draft.skip(skip.step, f"{skip.reason.code}: {skip.reason.message}")
    for block in verdict.block:
        if block.step in ready:
            first = block.reasons[0]
            fault = Fault("precondition_failed", first.line(), "validation_error", first.remedy or "", block.step)
            draft.failed(block.step, fault, "blocked")
            draft.halt("block", fault)


def _adjustments(verdict: DispatchVerdict, number: int) -> Document:
    """What of a step is other than its author wrote; of two timeouts the longer, of two sets of parameters the last."""
    own = [a for a in verdict.adjustments if a.step == number]
    longest = max((a.timeout_seconds for a in own if a.timeout_seconds is not None), default=None)
    parameters = next((a.parameters for a in reversed(own) if a.parameters is not None), None)
    adjusted = {"timeout": format_duration(timedelta(seconds=longest)) if longest is not None else None, "parameters": parameters}
    return {key: value for key, value in adjusted.items() if value is not None}


def _remember(scope: Scope, number: int | None, results: Iterable[ConditionResult]) -> None:
    """Keep since when each condition of a step has been unmet."""
    for result in results:
        step = number if number is not None else result.step
        scope.draft.since(f"{step}/{result.type}", unmet=not result.passed)


# ending


async def cancel(scope: Scope, reason: str) -> None:
    """Ask `failure` what a cancelled workflow turns to; nothing runs any more."""
    question: dict[str, Any] = {
        "workflow": scope.document(),
        "steps": started_steps(scope.graph, scope.draft.steps(), scope.attempts()) if scope.plan else [],
        "cancel": {"reason": reason},
    }
    answer = await scope.session.ask("failure", FailureVerdict, question)
    scope.draft.judged("failure", answer.summary(scope.draft.now))
    if answer.verdict.decision is Decision.WAIT:
        scope.draft.wait(answer.verdict.why)
        scope.look_again(timedelta(seconds=answer.verdict.next_check_seconds or 1))
        return
    action = answer.verdict.action if _HALTS.get(answer.verdict.action) in phases.TRANSITIONS[scope.draft.phase] else "fail"
    scope.draft.halt(action, Fault(answer.verdict.failure_reason or "cancelled", f"cancelled: {reason}"))
    _halt(scope)


def _halt(scope: Scope) -> None:
    """Nothing runs any more: turn to what was decided when the first step failed."""
    draft = scope.draft
    halting = draft.halting or {}
    action = str(halting.get("action", "fail"))
    if action == "rollback":
        draft.status["rollbackReason"] = str(halting.get("message", ""))[:1024]
        draft.enter(phases.ROLLING_BACK, str(halting.get("message", "")))
        return
    fault = Fault(draft.status["failureReason"], str(halting.get("message", "")), draft.status["errorType"], str(halting.get("remedy", "")))
    draft.fail(fault, _HALTS[action])


def _names(scope: Scope, numbers: Iterable[int]) -> str:
    return ", ".join(f"{n} ({scope.draft.step(n)['name']})" for n in list(numbers)[:5])
