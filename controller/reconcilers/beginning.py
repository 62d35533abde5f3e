"""The beginning of a workflow's life: planning and validating. Nothing of the cluster is changed here."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from controller.core import phases
from controller.core.durations import format_duration
from controller.core.names import APPROVED_BY_ANNOTATION
from controller.core.plan import GraphError, build_plan, plan_hash
from controller.core.status import MAX_MESSAGE, Fault, Notice
from controller.core.times import instant, stamp
from controller.core.verdict import ApprovalVerdict, Decision, PlanningVerdict, SafetyVerdict
from controller.gates.client import Answer
from controller.reconcilers.rehearsal import Rehearsed, dry_run_results, rehearse
from controller.reconcilers.scope import BY_WORKFLOW, MARGIN, Document, Scope, fault_of, terms_of
from controller.reconcilers.simulation import simulate

# Keys of `conditionSince` that are about a safety check.
_CHECK = "safety/"
# A decision on an approval comes as an event; this is for a policy that waits for something else and does not say for how long.
_LONGEST_LOOK = 30.0
_MOST_DECISIONS = 50


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
            draft.fail(fault_of(answer, "planning_error"))
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
    if not results.get("safetyChecksPassed"):
        rehearsed = await _rehearsed_safely(scope)
        if rehearsed is None:
            return
        if scope.spec.get("simulate"):
            await simulate(scope, rehearsed)
            return
    if not await _is_approved(scope):
        return
    scope.draft.notices.append(Notice("WorkflowValidated", f"plan {scope.draft.status['executionPlan']['planHash']}"))
    scope.draft.enter(phases.EXECUTING)


async def _rehearsed_safely(scope: Scope) -> list[Rehearsed] | None:
    """Rehearse the steps, if that is wanted, and ask `safety`; None where it does not say yes."""
    draft, plan = scope.draft, scope.graph
    strategy = scope.spec.get("executionStrategy") or {}
    wanted = strategy.get("dryRunFirst", True) or scope.spec.get("simulate", False)
    began = scope.parts.clock()
    rehearsed = await rehearse(scope, plan) if wanted else []
    question = {
        "workflow": scope.document(),
        "steps": [dict(step) for step in plan.steps.values()],
        "dry_run": {"performed": wanted, "steps": [r.document() for r in rehearsed]},
        "since": {k.removeprefix(_CHECK): v for k, v in (draft.status.get("conditionSince") or {}).items() if k.startswith(_CHECK)},
    }
    answer = await scope.session.ask("safety", SafetyVerdict, question)
    draft.judged("safety", answer.summary(draft.now))
    verdict = answer.verdict
    for check in verdict.checks:
        draft.since(_CHECK + check.type, unmet=not check.passed)
    if verdict.decision is Decision.WAIT:
        _wait(scope, answer, "validation")
        return None
    results: Document = {
        "safetyChecksPassed": verdict.decision is Decision.ALLOW,
        "checks": [{**check.model_dump(), "message": check.message[:MAX_MESSAGE]} for check in verdict.checks],
        "dryRunPerformed": wanted,
        "approvalReceived": False,
    }
    if wanted:
        results["dryRunResults"] = dry_run_results(rehearsed, took=scope.parts.clock() - began)
    draft.status["validationResults"] = results
    if verdict.decision is Decision.DENY:
        results["validationErrors"] = [r.line()[:MAX_MESSAGE] for r in verdict.reasons[:50]]
        draft.fail(fault_of(answer, "safety_validation_failed"))
        return None
    return rehearsed


async def _is_approved(scope: Scope) -> bool:
    draft = scope.draft
    former: Document = draft.status.get("approval") or {}
    decisions = _decisions(scope)
    steps = [dict(step) for step in scope.graph.steps.values()]
    answer = await scope.session.ask("approval", ApprovalVerdict, {"workflow": scope.document(), "steps": steps, "approvals": decisions})
    draft.judged("approval", answer.summary(draft.now))
    terms = answer.verdict.approval
    approval: Document = {
        **({"requestedAt": former["requestedAt"]} if "requestedAt" in former else {}),
        "planHash": draft.status["executionPlan"]["planHash"],
        "policyRevision": answer.revision,
        "decisions": decisions,
        **terms_of(answer),
    }
    if terms.required:
        if former.get("required"):
            approval["expiresAt"] = former["expiresAt"]
        else:
            # For the first time, or again after policy had ceased to ask: people have the whole time.
            approval["requestedAt"] = stamp(draft.now)
            approval["expiresAt"] = stamp(draft.now + timedelta(seconds=terms.expires_seconds))
            draft.notices.append(Notice("ApprovalRequired", answer.verdict.why))
    draft.status["approval"] = approval
    match answer.verdict.decision:
        case Decision.DENY:
            draft.fail(fault_of(answer, "approval_rejected"))
            return False
        case Decision.WAIT:
            _wait(scope, answer, "validation", otherwise=_LONGEST_LOOK)
            if "expiresAt" in approval and (expires := instant(approval["expiresAt"])) > draft.now:
                scope.look_again(expires - draft.now + MARGIN)
            return False
        case Decision.ALLOW:
            if terms.required and not draft.status["validationResults"].get("approvalReceived"):
                draft.status["validationResults"] = {
                    **draft.status["validationResults"],
                    "approvalReceived": True,
                    "approvalTimestamp": stamp(draft.now),
                }
                said_yes = {d["approver"] for d in decisions if (d["decision"], d["planHash"]) == ("Approved", approval["planHash"])}
                draft.notices.append(Notice("ApprovalReceived", ", ".join(sorted(said_yes))))
            return True


def _decisions(scope: Scope) -> list[Document]:
    """What people decided about this very workflow, of each the last yes and the last no to a plan; which of them count is policy."""
    metadata, plan = scope.workflow["metadata"], scope.draft.status["executionPlan"]["planHash"]
    key = f"{metadata['namespace']}/{metadata['name']}"
    found = [
        {
            "approver": a["spec"]["approver"],
            "groups": a["spec"].get("approverGroups") or [],
            "decision": a["spec"]["decision"],
            "planHash": a["spec"]["planHash"],
            "workflowUid": metadata["uid"],
            "comment": a["spec"].get("comment", ""),
            "time": a["metadata"]["creationTimestamp"],
            "source": "WorkflowApproval",
        }
        for a in scope.parts.approvals.by_index(BY_WORKFLOW, key)
        if a["spec"]["workflowRef"].get("uid") == metadata["uid"]
    ]
    found.sort(key=lambda d: (d["time"], d["approver"]))
    if user := scope.annotation(APPROVED_BY_ANNOTATION):
        found.append(
            {
                "approver": user,
                "groups": [],
                "decision": "Approved",
                "planHash": plan,
                "workflowUid": metadata["uid"],
                "comment": "",
                # As exact as the API server's, so that a no of the same second is not overruled.
                "time": stamp(scope.draft.now.replace(microsecond=0)),
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
    last = {(d["approver"], d["decision"], d["planHash"], d["source"]): d for d in found}
    # Those about another plan are the first to be left out.
    return sorted(last.values(), key=lambda d: (d["planHash"] == plan, d["time"], d["approver"]))[-_MOST_DECISIONS:]


def _wait(scope: Scope, answer: Answer[Any], limit: str, *, otherwise: float = 2.0) -> None:
    """Wait until the phase's own time is over; where the gate does not say when to look again, after ``otherwise`` seconds."""
    draft = scope.draft
    allowed = scope.timeout(limit)
    draft.wait(answer.verdict.why, answer.verdict.remedy)
    if not answer.verdict.time_counts:
        draft.stop_clock()
    elif draft.elapsed() > allowed:
        draft.fail(Fault("timeout", f"{draft.phase} took longer than {format_duration(allowed)}: {answer.verdict.why}", "timeout"))
        return
    else:
        scope.look_again(allowed - draft.elapsed() + MARGIN)
    scope.look_again(timedelta(seconds=answer.verdict.next_check_seconds or otherwise))
