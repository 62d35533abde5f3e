"""The end of a workflow's life: monitoring what was done, or taking it back."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import Any

from controller.core import attempt as attempts
from controller.core import phases
from controller.core.durations import format_duration, parse_duration
from controller.core.names import attempt_name
from controller.core.status import MAX_MESSAGE, Draft, Fault, Notice, Start
from controller.core.verdict import Decision, MalformedVerdictError, MonitoringVerdict, RollbackVerdict
from controller.gates.client import Answer
from controller.gates.questions import started_steps
from controller.reconcilers.running import outlived
from controller.reconcilers.scope import MARGIN, Document, Scope, fault_of, owned_by

_RECORD_IS_GONE = "the record of what it did is gone, so it cannot be taken back; compare its target by hand"


async def monitor(scope: Scope) -> None:
    """Ask `monitoring` until its window ends; it says how well the workflow did."""
    draft = scope.draft
    question = {"workflow": scope.document(), "steps": started_steps(scope.graph, draft.steps(), scope.attempts())}
    answer = await scope.session.ask("monitoring", MonitoringVerdict, question)
    draft.judged("monitoring", answer.summary(draft.now))
    verdict = answer.verdict
    if verdict.decision is Decision.WAIT:
        if draft.elapsed() <= scope.timeout("monitoring"):
            draft.wait(answer.verdict.why, answer.verdict.remedy)
            scope.look_again(timedelta(seconds=verdict.next_check_seconds or 1))
            return
        _result(scope, verdict, outcome="unknown")
        draft.status["failureReason"] = "monitoring_timeout_cannot_verify_success"
        draft.complete("unknown", f"not confirmed within {format_duration(scope.timeout('monitoring'))}: {answer.verdict.why}")
        return
    _result(scope, verdict, outcome=verdict.outcome)
    if verdict.rollback:
        draft.blame(fault_of(answer, "monitoring_failed"))
        draft.status["rollbackReason"] = answer.verdict.why[:1024]
        draft.enter(phases.ROLLING_BACK, answer.verdict.why)
    elif verdict.decision is Decision.DENY:
        draft.fail(fault_of(answer, "monitoring_failed"))
    else:
        told = f"{len(draft.completed_steps())} of {draft.status['totalSteps']} steps completed, outcome {verdict.outcome}"
        draft.complete(verdict.outcome, _with_warnings(told, answer))


def _result(scope: Scope, verdict: MonitoringVerdict, *, outcome: str) -> None:
    scope.draft.status["workflowResult"] = {
        "outcome": outcome,
        "effectivenessScore": verdict.effectiveness_score,
        "resourceHealth": verdict.resource_health,
        "newAlertsTriggered": verdict.new_alerts,
        "recommendedActions": [action[:MAX_MESSAGE] for action in verdict.recommended_actions[:20]],
    }


async def roll_back(scope: Scope) -> None:
    """Take steps back one at a time, in the order that `rollback` gives, until nothing is left to undo."""
    draft = scope.draft
    undos = scope.attempts(rollback=True)
    for entry in list(draft.steps()):
        if (
            entry.get("rollbackRef")
            and entry["status"] not in {"rolled_back", "rollback_failed"}
            and not await _undo_ended(scope, entry["stepNumber"], undos)
        ):
            return
    question = {"workflow": scope.document(), "steps": started_steps(scope.graph, draft.steps(), scope.attempts())}
    answer = await scope.session.ask("rollback", RollbackVerdict, question)
    draft.judged("rollback", answer.summary(draft.now))
    verdict = answer.verdict
    if strange := sorted({*verdict.undo, *verdict.overwrite} - scope.graph.steps.keys()):
        raise MalformedVerdictError(f"RollbackVerdict speaks of steps that there are not: {strange[:10]}")
    if verdict.decision is Decision.WAIT:
        draft.wait(answer.verdict.why, answer.verdict.remedy)
        scope.look_again(timedelta(seconds=verdict.next_check_seconds or 1))
        return
    if verdict.decision is Decision.DENY or verdict.stop_for_human:
        _finish(scope, answer, stopped=answer.verdict.why or "policy stopped the rollback")
        return
    for number in verdict.undo:
        if _undo(scope, number, undos.get(number, []), overwrite=number in verdict.overwrite):
            return
    _finish(scope, answer, stopped="")


def _undo(scope: Scope, number: int, undos: list[Document], *, overwrite: bool) -> bool:
    """Start the undo of the latest attempt that is not taken back yet, once all have ended; False if nothing of the step is left."""
    draft, metadata, limit = scope.draft, scope.workflow["metadata"], _undo_limit(scope, number)
    sent = [a for a in scope.attempts().get(number, []) if attempts.sent_operations(a)]
    if running := next((a["metadata"]["name"] for a in sent if not attempts.has_ended(a)), ""):
        if draft.elapsed() > limit:
            draft.undo_failed(number, f"its attempt {running} did not end: nobody knows what it still does; compare its target by hand")
            return False
        draft.wait(f"attempt {running} to end, before step {number} is taken back")
        scope.look_again(limit - draft.elapsed() + MARGIN)
        return True
    count = draft.step(number).get("rollbackAttempts", 0)
    name = attempt_name(metadata["name"], number, count, rollback=True)
    spec = scope.graph.steps[number].get("rollbackSpec")
    taken_back = {u["spec"].get("undoOf") for u in undos}
    of = next((a["metadata"]["name"] for a in reversed(sent) if a["metadata"]["name"] not in taken_back), "")
    if spec:
        if count:
            return False
        start = Start(number, 0, name, rollback=True, timeout=spec.get("timeout", ""), rollback_spec=spec, overwrite=overwrite)
    elif of:
        start = Start(number, count, name, rollback=True, undo_of=of, overwrite=overwrite)
    else:
        draft.undo_failed(number, _RECORD_IS_GONE)
        return False
    draft.start_undo(number, count, start)
    draft.wait(f"step {number} to be taken back")
    scope.look_again(limit + MARGIN)
    return True


async def _undo_ended(scope: Scope, number: int, undos: dict[int, list[Document]]) -> bool:
    """See how the current undo attempt of a step does; True once the step is settled or a further attempt is to be undone."""
    draft = scope.draft
    reference: Document = draft.step(number)["rollbackRef"]
    execution = next((u for u in undos.get(number, []) if u["metadata"]["name"] == reference["name"]), None)
    if execution is None:
        execution = await scope.parts.executions.live(scope.workflow["metadata"]["namespace"], reference["name"])
        if execution is None:
            if reference.get("uid"):
                draft.undo_failed(number, f"KubernetesExecution {reference['name']} was deleted by someone")
                return True
            start = _start_of_undo(scope, number, undos)
            if start is None:
                draft.undo_failed(number, _RECORD_IS_GONE)
                return True
            draft.restart_undo(number, start)
            scope.look_again(_undo_limit(scope, number) + MARGIN)
            return False
        if not owned_by(execution, scope.workflow):
            draft.wait(f"the name {reference['name']} is still taken by another owner's leftover; delete that KubernetesExecution")
            scope.look_again(timedelta(seconds=1))
            return False
        undos.setdefault(number, []).append(execution)
    draft.seen(number, execution["metadata"]["uid"], rollback=True)
    match attempts.phase_of(execution):
        case attempts.COMPLETED:
            if _left(scope, number, undos.get(number, [])):
                return True
            draft.undone(number, f"taken back by {reference['name']}")
            return True
        case attempts.FAILED:
            results = (execution.get("status") or {}).get("executionResults") or {}
            draft.undo_failed(number, results.get("errorMessage") or "the undo failed without saying why")
            return True
        case _:
            late = outlived(scope, execution, execution["metadata"]["creationTimestamp"], _undo_limit(scope, number))
            if late:
                draft.undo_failed(number, f"the undo was not done in time: {late}")
            return bool(late)


def _undo_limit(scope: Scope, number: int) -> timedelta:
    own = (scope.graph.steps[number].get("rollbackSpec") or {}).get("timeout")
    return parse_duration(own) if own else scope.parts.settings().rollback_step_timeout


def _left(scope: Scope, number: int, undos: list[Document]) -> bool:
    """Tell whether an earlier attempt of a step is still to be taken back."""
    if scope.graph.steps[number].get("rollbackSpec"):
        return False
    taken_back = {u["spec"].get("undoOf") for u in undos}
    return any(attempts.sent_operations(a) and a["metadata"]["name"] not in taken_back for a in scope.attempts().get(number, []))


def _start_of_undo(scope: Scope, number: int, undos: dict[int, list[Document]]) -> Start | None:
    """Derive the undo attempt that a crash kept from being created; the same one, because it is derived from what is on record.

    None where that record is gone.
    """
    entry = scope.draft.step(number)
    name, count, overwrite = entry["rollbackRef"]["name"], entry["rollbackAttempts"] - 1, entry.get("rollbackOverwrites", False)
    spec = scope.graph.steps[number].get("rollbackSpec")
    if spec:
        return Start(number, count, name, rollback=True, timeout=spec.get("timeout", ""), rollback_spec=spec, overwrite=overwrite)
    taken_back = {u["spec"].get("undoOf") for u in undos.get(number, [])}
    left = (a for a in reversed(scope.attempts().get(number, [])) if attempts.sent_operations(a))
    of = next((a["metadata"]["name"] for a in left if a["metadata"]["name"] not in taken_back), None)
    if of is None:
        return None
    return Start(number, count, name, rollback=True, undo_of=of, overwrite=overwrite)


def _finish(scope: Scope, answer: Answer[RollbackVerdict], *, stopped: str) -> None:
    draft = scope.draft
    undone = _in_order(draft, "rolled_back")
    kept = _in_order(draft, "rollback_failed") + (answer.verdict.undo if stopped else [])
    told = _with_warnings(f"undone: {_listed(undone)}; not undone: {_listed(kept)}", answer)
    if stopped or kept:
        fault = Fault(
            "rollback_failed",
            f"{stopped or 'the rollback is partial'}; {told}",
            remedy="look at errorMessage of the steps that were not undone",
        )
        draft.status["failureReason"] = fault.reason
        draft.fail(fault)
        return
    draft.enter(phases.ROLLED_BACK, told)
    draft.notices.append(Notice("RollbackCompleted", told))


def _with_warnings(told: str, answer: Answer[Any]) -> str:
    return "; ".join([told, *(warning.message for warning in answer.verdict.warnings)])


def _in_order(draft: Draft, status: str) -> list[int]:
    """Steps of this status in the order in which they were taken back: the one that failed, then the last completed first."""
    found = [e for e in draft.steps() if e["status"] == status]
    found.sort(key=lambda e: (e.get("completionOrder", math.inf), e["stepNumber"]), reverse=True)
    return [e["stepNumber"] for e in found]


def _listed(numbers: list[Any]) -> str:
    return ", ".join(str(n) for n in numbers) or "none"
