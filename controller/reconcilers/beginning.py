"""The beginning of a workflow's life: planning and validating. Nothing of the cluster is changed here."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

from controller.cluster.errors import AmbiguousError, ApiError, ConflictError, InvalidError, ThrottledError, UnreachableError
from controller.core import phases
from controller.core.durations import format_duration
from controller.core.names import APPROVED_BY_ANNOTATION
from controller.core.operations import CHANGE_OF, Sight, forbidden_among
from controller.core.plan import GraphError, Plan, build_plan, plan_hash
from controller.core.status import MAX_MESSAGE, Fault, Notice
from controller.core.times import instant, stamp
from controller.core.verdict import ActionVerdict, ApprovalVerdict, Decision, PlanningVerdict, SafetyVerdict
from controller.execute.operations import Operator
from controller.gates.client import Answer, reason_document
from controller.reconcilers.refusals import RIGHTS_PATIENCE
from controller.reconcilers.scope import BY_WORKFLOW, Document, Scope, fault_of
from controller.reconcilers.together import together

_DRY_RUNS_AT_ONCE = 8
# A target that others write to may move on between the read and the dry-run.
_REHEARSALS = 3
_MISSING_RIGHT = "right"
# A decision on an approval comes as an event; this is for a policy that waits for something else and does not say for how long.
_LONGEST_LOOK = 30.0


async def plan_workflow(scope: Scope) -> None:
    """Put the steps in order, ask `planning`, record the plan."""
    draft = scope.draft
    if draft.phase == phases.NEW:
        draft.enter(phases.PLANNING)
    try:
        plan = scope.plan or build_plan(scope.spec)
    except GraphError as exc:
        draft.fail(Fault(exc.reason, str(exc), "validation_error", "mend workflowDefinition.steps and apply it under a new name"))
        return
    steps = [dict(step) for step in plan.steps.values()]
    answer = await scope.session.ask("planning", PlanningVerdict, {"workflow": scope.document(), "steps": steps})
    draft.judged("planning", answer.summary(draft.now))
    match answer.verdict.decision:
        case Decision.DENY:
            draft.fail(fault_of(answer, "planning_error", error_type="validation_error"))
        case Decision.WAIT:
            _wait(scope, answer, "planning")
        case Decision.ALLOW:
            scope.plan = plan
            digests = answer.verdict.action_digests
            estimated = format_duration(timedelta(seconds=answer.verdict.estimated_duration_seconds))
            draft.planned(plan, scope.spec, digests, plan_hash(plan, scope.spec, digests), estimated)
            draft.enter(phases.VALIDATING)


async def validate_workflow(scope: Scope) -> None:
    """Rehearse every step, ask `safety`, then `approval`; only then may anything start."""
    results = scope.draft.status.get("validationResults") or {}
    if not results.get("safetyChecksPassed") and not await _is_safe(scope):
        return
    if not await _is_approved(scope):
        return
    scope.draft.notices.append(Notice("WorkflowValidated", f"plan {scope.draft.status['executionPlan']['planHash']}"))
    if scope.spec.get("simulate"):
        scope.draft.status["workflowResult"] = {"outcome": "unknown", "effectivenessScore": 0.0, "resourceHealth": "unknown"}
        scope.draft.enter(phases.COMPLETED, "simulated: nothing was changed")
        return
    scope.draft.enter(phases.EXECUTING)


async def _is_safe(scope: Scope) -> bool:
    draft, plan = scope.draft, scope.graph
    strategy = scope.spec.get("executionStrategy") or {}
    wanted = strategy.get("dryRunFirst", True) or scope.spec.get("simulate", False)
    rehearsed = await _rehearse(scope, plan) if wanted else []
    question = {
        "workflow": scope.document(),
        "steps": [dict(step) for step in plan.steps.values()],
        "dry_run": {"performed": wanted, "steps": [{k: v for k, v in r.items() if k != "operations"} for r in rehearsed]},
    }
    answer = await scope.session.ask("safety", SafetyVerdict, question)
    draft.judged("safety", answer.summary(draft.now))
    verdict = answer.verdict
    if verdict.decision is Decision.WAIT:
        _wait(scope, answer, "validation")
        return False
    if _may_be_given(scope, verdict):
        draft.wait(answer.verdict.why, answer.verdict.remedy)
        scope.look_again(RIGHTS_PATIENCE / 6)
        return False
    results: Document = {
        "safetyChecksPassed": verdict.decision is Decision.ALLOW,
        "checks": [{**check.model_dump(), "message": check.message[:MAX_MESSAGE]} for check in verdict.checks],
        "dryRunPerformed": wanted,
        "approvalReceived": False,
    }
    if wanted:
        results["dryRunResults"] = _dry_run_results(rehearsed)
    draft.status["validationResults"] = results
    if verdict.decision is Decision.DENY:
        results["validationErrors"] = [r.line()[:MAX_MESSAGE] for r in verdict.reasons[:50]]
        draft.notices.append(Notice("WorkflowValidationFailed", answer.verdict.why, warning=True))
        draft.fail(fault_of(answer, "safety_validation_failed", error_type="validation_error"))
        return False
    return True


def _may_be_given(scope: Scope, verdict: SafetyVerdict) -> bool:
    """Tell whether a right is missing that was not seen missing for long."""
    missing = verdict.decision is Decision.DENY and verdict.failure_reason == "rbac_validation_failed"
    since = scope.draft.since(_MISSING_RIGHT, unmet=missing)
    if missing and scope.draft.now - instant(since) < RIGHTS_PATIENCE:
        return True
    scope.draft.since(_MISSING_RIGHT, unmet=False)
    return False


async def _rehearse(scope: Scope, plan: Plan) -> list[Document]:
    """Ask each step's `action` gate and rehearse its operations on the server, a few steps at once."""
    turns = asyncio.Semaphore(_DRY_RUNS_AT_ONCE)
    workflow = scope.document()

    async def one(step: dict[str, Any]) -> Document:
        async with turns:
            for _ in range(_REHEARSALS):
                answer = await scope.session.ask("action", ActionVerdict, {"workflow": workflow, "step": step})
                allowed = answer.verdict.decision is Decision.ALLOW
                errors, moved = await _rehearsal_errors(scope, answer.verdict) if allowed else (_unread(answer), False)
                if not moved:
                    break
            return {
                "step": step["stepNumber"],
                "action": step["action"],
                "decision": str(answer.verdict.decision),
                "reasons": [reason_document(r) for r in answer.verdict.reasons],
                "errors": errors,
                "depends": bool(step["dependsOn"]),
                "operations": [o.do.model_dump(exclude_none=True, exclude={"body"}) for o in answer.verdict.operations],
            }

    return await together(one(dict(step)) for step in plan.steps.values())


def _unread(answer: Answer[ActionVerdict]) -> list[Document]:
    """What the API server said when it refused the reads that the gate asked for."""
    return [
        {"status": 403, "reason": "Forbidden", "message": fact["message"]}
        for fact in answer.facts.values()
        if not fact.get("available") and fact.get("reason") == "forbidden"
    ]


async def _rehearsal_errors(scope: Scope, verdict: ActionVerdict) -> tuple[list[Document], bool]:
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


def _dry_run_results(rehearsed: list[Document]) -> Document:
    steps = []
    changes: list[Document] = []
    for entry in rehearsed:
        good = entry["decision"] == "allow" and not entry["errors"]
        said = [f"{r['code']}: {r['message']}"[:MAX_MESSAGE] for r in entry["reasons"]] + [e["message"] for e in entry["errors"]]
        steps.append({"stepNumber": entry["step"], "action": entry["action"], "wouldSucceed": good, "validationErrors": said[:5]})
        changes.extend(
            {
                "resourceType": o["kind"],
                "resourceName": o["name"],
                "namespace": o.get("namespace", ""),
                "changeType": CHANGE_OF[o["verb"]],
            }
            for o in entry["operations"]
        )
    return {
        "overallSuccess": all(step["wouldSucceed"] for step in steps),
        "stepsSimulated": len(steps),
        "stepResults": steps[:100],
        "resourceChanges": changes[:100],
    }


async def _is_approved(scope: Scope) -> bool:
    draft = scope.draft
    approval: Document = dict(draft.status.get("approval") or {})
    decisions = _decisions(scope)
    steps = [dict(step) for step in scope.graph.steps.values()]
    answer = await scope.session.ask("approval", ApprovalVerdict, {"workflow": scope.document(), "steps": steps, "approvals": decisions})
    draft.judged("approval", answer.summary(draft.now))
    terms = answer.verdict.approval
    approval |= {
        "required": terms.required,
        "planHash": draft.status["executionPlan"]["planHash"],
        "policyRevision": answer.revision,
        "decisions": decisions,
    }
    if terms.required:
        approval["reasons"] = [reason_document(r) for r in answer.verdict.reasons[:10]]
        if "requestedAt" not in approval:
            approval["requestedAt"] = stamp(draft.now)
            approval["expiresAt"] = stamp(draft.now + timedelta(seconds=terms.expires_seconds))
            draft.notices.append(Notice("ApprovalRequired", answer.verdict.why))
    draft.status["approval"] = approval
    match answer.verdict.decision:
        case Decision.DENY:
            draft.fail(fault_of(answer, "approval_rejected"))
            return False
        case Decision.WAIT:
            draft.wait(answer.verdict.why, answer.verdict.remedy)
            scope.look_again(timedelta(seconds=answer.verdict.next_check_seconds or _LONGEST_LOOK))
            if "expiresAt" in approval and (expires := instant(approval["expiresAt"])) > draft.now:
                scope.look_again(expires - draft.now + timedelta(milliseconds=50))
            return False
        case Decision.ALLOW:
            if terms.required and not draft.status["validationResults"].get("approvalReceived"):
                draft.status["validationResults"] = {
                    **draft.status["validationResults"],
                    "approvalReceived": True,
                    "approvalTimestamp": stamp(draft.now),
                }
                draft.notices.append(Notice("ApprovalReceived", ", ".join(d["approver"] for d in decisions)))
            return True


def _decisions(scope: Scope) -> list[Document]:
    """Every decision on this very workflow, oldest first; which of them count is policy."""
    metadata = scope.workflow["metadata"]
    key = f"{metadata['namespace']}/{metadata['name']}"
    found = [
        {
            "approver": a["spec"]["approver"],
            "groups": a["spec"].get("approverGroups") or [],
            "decision": a["spec"]["decision"],
            "planHash": a["spec"]["planHash"],
            "workflowUid": a["spec"]["workflowRef"].get("uid", ""),
            "comment": a["spec"].get("comment", ""),
            "time": a["metadata"]["creationTimestamp"],
            "source": "WorkflowApproval",
        }
        for a in scope.parts.approvals.by_index(BY_WORKFLOW, key)
    ]
    found.sort(key=lambda d: (d["time"], d["approver"]))
    if user := scope.annotation(APPROVED_BY_ANNOTATION):
        found.append(
            {
                "approver": user,
                "groups": [],
                "decision": "Approved",
                "planHash": scope.draft.status["executionPlan"]["planHash"],
                "workflowUid": metadata["uid"],
                "comment": "",
                "time": stamp(scope.draft.now),
                "source": "annotation",
            }
        )
        former = [
            d
            for d in (scope.draft.status.get("approval") or {}).get("decisions") or []
            if d.get("source") == "annotation" and d["approver"] == user
        ]
        if former:
            found[-1] = former[-1]
    return found[:50]


def _wait(scope: Scope, answer: Answer[Any], limit: str) -> None:
    """Wait for what a gate waits for, until the phase's own time is over."""
    draft = scope.draft
    began = instant(draft.status[phases.ENTERED[draft.phase]])
    allowed = scope.timeout(limit)
    if draft.now - began > allowed:
        draft.fail(Fault("timeout", f"{draft.phase} took longer than {format_duration(allowed)}: {answer.verdict.why}", "timeout"))
        return
    draft.wait(answer.verdict.why, answer.verdict.remedy)
    scope.look_again(timedelta(seconds=answer.verdict.next_check_seconds or 2))
