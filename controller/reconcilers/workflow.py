"""One workflow: read, let the stage of its phase decide, write once, then do what the write allows.

The order is the write protocol's: the parent's status says what may start before a child is created, and everything that a reconcile
does in the world (create attempts, cancel them, emit Events) comes after its one write.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import timedelta

from cachetools import LRUCache

from controller.cluster.errors import ApiError, ConflictError, InvalidError, NotFoundError
from controller.core import attempt as attempts
from controller.core import phases
from controller.core.errors import RetryableError
from controller.core.names import CANCEL_ANNOTATION, FINALIZER, ROLLBACK_ANNOTATION
from controller.core.plan import GraphError, Plan, build_plan
from controller.core.status import MAX_MESSAGE, Draft, Fault
from controller.core.times import instant
from controller.core.verdict import MalformedVerdictError
from controller.gates.client import PolicyNotReadyError
from controller.reconcilers.beginning import plan_workflow, validate_workflow
from controller.reconcilers.creating import CreationRefusedError, create_attempt
from controller.reconcilers.ending import monitor, roll_back
from controller.reconcilers.objects import BY_OWNER
from controller.reconcilers.ownership import adopt
from controller.reconcilers.running import attempt_failed, cancel, run_steps
from controller.reconcilers.scope import Document, Parts, Scope
from controller.reconcilers.together import together

_STAGES: dict[str, Callable[[Scope], Awaitable[None]]] = {
    phases.NEW: plan_workflow,
    phases.PLANNING: plan_workflow,
    phases.VALIDATING: validate_workflow,
    phases.EXECUTING: run_steps,
    phases.MONITORING: monitor,
    phases.ROLLING_BACK: roll_back,
}
# In these phases nothing runs that a cancel would have to wait for; executing looks after that itself.
_CANCELLED_AT_ONCE = frozenset({phases.PLANNING, phases.VALIDATING, phases.MONITORING})
_DELETION_PATIENCE = timedelta(seconds=30)


class WorkflowReconciler:
    """Sequences the steps of WorkflowExecutions."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._plans: LRUCache[str, Plan] = LRUCache(maxsize=512)

    async def reconcile(self, namespace: str, name: str) -> timedelta | None:
        """Take one workflow as far as it goes now; answers when to look again, or None if an event will tell.

        Raises:
            RetryableError: nothing was lost, try again.
        """
        workflow = self._parts.workflows.cached(namespace, name)
        if workflow is None:
            return None
        if workflow["metadata"].get("deletionTimestamp"):
            return await self._release(workflow)
        phase = (workflow.get("status") or {}).get("phase", phases.NEW)
        workflow = await adopt(self._parts, workflow)
        if phase in phases.TERMINAL and not self._reopened(workflow, phase):
            return await self._expire(workflow)
        return await self._advance(workflow)

    # the one write

    async def _advance(self, workflow: Document) -> timedelta | None:
        now = self._parts.clock()
        draft = Draft(workflow, now)
        session = self._parts.gates.session(self._parts.facts, now)
        scope = Scope(self._parts, workflow, draft, self._plan(workflow), session)
        try:
            await self._decide(scope)
        except (PolicyNotReadyError, MalformedVerdictError) as exc:
            await self._report_policy_problem(workflow, exc)
            raise
        return await self._apply(scope)

    async def _decide(self, scope: Scope) -> None:
        """Let stage follow stage until one stays where it is."""
        if scope.draft.phase == phases.DEGRADED:
            scope.draft.status["rollbackReason"] = (scope.annotation(ROLLBACK_ANNOTATION) or "")[:MAX_MESSAGE]
            scope.draft.enter(phases.ROLLING_BACK, "asked for by hand")
            # A write of its own: the API server lets a degraded workflow go on to this phase and no other.
            scope.look_again(timedelta(0))
            return
        while (stage := _STAGES.get(scope.draft.phase)) is not None:
            before = scope.draft.phase
            if before in _CANCELLED_AT_ONCE and (reason := scope.annotation(CANCEL_ANNOTATION)) is not None:
                await cancel(scope, reason)
            else:
                await stage(scope)
            if scope.draft.phase == before:
                return

    async def _apply(self, scope: Scope) -> timedelta | None:
        draft, workflow = scope.draft, scope.workflow
        own = self._own(workflow) if draft.phase in phases.TERMINAL else []
        if own:
            draft.touched(attempts.touched(own))
        workflow = await self._write(workflow, draft)
        if draft.phase in phases.TERMINAL:
            self._parts.audit.ended(workflow, own)
        for notice in draft.notices:
            self._parts.events.emit(workflow, "Warning" if notice.warning else "Normal", notice.reason, notice.message, "Reconcile")
        try:
            await together(create_attempt(scope, start) for start in draft.starts)
        except CreationRefusedError as exc:
            await self._creation_refused(scope, exc)
            raise RetryableError(str(exc), delay=timedelta(0)) from exc
        for execution, reason in scope.cancels:
            await self._cancel(execution, reason)
        if draft.phase in phases.TERMINAL:
            # No event will tell when the time to live is over, or that it was asked to be taken back while it still ran.
            return timedelta(0) if self._reopened(workflow, draft.phase) else await self._expire(workflow)
        return scope.recheck

    async def _report_policy_problem(self, workflow: Document, problem: RetryableError) -> None:
        """Say in the workflow why nothing happens; the status proper stays what it was."""
        draft = Draft(workflow, self._parts.clock())
        draft.policy_problem = str(problem)
        if draft.phase == phases.NEW:
            draft.enter(phases.PLANNING)
        draft.stop_clock()
        draft.wait(f"a policy decision: {problem}", "see /readyz of the controller, and the log of its OPA")
        await self._write(workflow, draft)

    async def _write(self, workflow: Document, draft: Draft) -> Document:
        """Write the status, if it says anything new; answers the workflow as it is then."""
        status = draft.final()
        if not draft.changed(status):
            return workflow
        observer, began = self._parts.observer, time.perf_counter()
        try:
            written = await self._parts.workflows.write_status(workflow, status)
        except ConflictError:
            observer.status_conflict()
            raise
        except InvalidError as exc:
            # Nothing would bring the key back, and nobody would know: it is tried again, and told.
            observer.status_failed()
            told = f"{exc}; it is tried again, and goes on once whoever wrote that field (a policy's text, another executor) mends it"
            self._parts.events.emit(workflow, "Warning", "StatusRefused", told, "Reconcile")
            raise RetryableError(str(exc)) from exc
        except ApiError:
            observer.status_failed()
            raise
        observer.status_written(time.perf_counter() - began)
        observer.moved(workflow, written, draft.now)
        return written

    # attempts

    async def _creation_refused(self, scope: Scope, refused: CreationRefusedError) -> None:
        """Ask the failure gate what an attempt that can never be created leads to."""
        workflow, start = (
            self._parts.workflows.cached(scope.workflow["metadata"]["namespace"], scope.workflow["metadata"]["name"]),
            refused.start,
        )
        if workflow is None:
            return
        now = self._parts.clock()
        fresh = Scope(self._parts, workflow, Draft(workflow, now), scope.plan, self._parts.gates.session(self._parts.facts, now))
        if start.rollback:
            fresh.draft.undo_failed(start.step, str(refused))
        else:
            await attempt_failed(fresh, start.step, None, Fault("step_creation_failed", str(refused), refused.error_type, step=start.step))
        await self._apply(fresh)

    async def _cancel(self, execution: Document, reason: str) -> None:
        if CANCEL_ANNOTATION in (execution["metadata"].get("annotations") or {}):
            return
        try:
            await self._parts.executions.patch_metadata(execution, {"annotations": {CANCEL_ANNOTATION: reason}})
        except (NotFoundError, ConflictError):
            # It is gone, or it has just been written (perhaps its end): the next reconcile sees which.
            return

    # the two ends of an object's life

    async def _release(self, workflow: Document) -> timedelta | None:
        """Let a deleted workflow go: cancel what runs, wait for it (bounded), then remove the finalizer."""
        metadata = workflow["metadata"]
        if FINALIZER not in (metadata.get("finalizers") or []):
            return None
        own = self._own(workflow)
        running = [e for e in own if not attempts.has_ended(e)]
        waited = self._parts.clock() - instant(metadata["deletionTimestamp"])
        if running and waited < _DELETION_PATIENCE:
            for execution in running:
                await self._cancel(execution, "its workflow is being deleted")
            return timedelta(seconds=1)
        self._parts.audit.deleted(workflow, own)
        rest = [f for f in metadata["finalizers"] if f != FINALIZER]
        try:
            await self._parts.workflows.patch_metadata(workflow, {"finalizers": rest})
        except NotFoundError:
            return None
        self._parts.observer.released()
        self._parts.events.emit(workflow, "Normal", "WorkflowExecutionDeleted", "released", "Delete")
        return None

    async def _expire(self, workflow: Document) -> timedelta | None:
        """Delete a finished workflow that nothing owns once its time is over.

        Raises:
            ConflictError: somebody has written it since it was read, perhaps to have it taken back.
        """
        metadata, status = workflow["metadata"], workflow["status"]
        seconds = workflow["spec"].get("ttlSecondsAfterFinished", 86400)
        if metadata.get("ownerReferences") or "completionTime" not in status:
            return None
        left = instant(status["completionTime"]) + timedelta(seconds=seconds) - self._parts.clock()
        if left > timedelta(0):
            return left
        cluster, kind = self._parts.workflows.cluster, self._parts.workflows.informer.kind
        seen = {"uid": metadata["uid"], "resource_version": metadata["resourceVersion"]}
        with suppress(NotFoundError):
            await cluster.delete(kind, metadata["namespace"], metadata["name"], **seen)
        return None

    def _own(self, workflow: Document) -> list[Document]:
        """Every attempt of a workflow, undo attempts included, that the cache shows."""
        return self._parts.executions.informer.by_index(BY_OWNER, workflow["metadata"]["uid"])

    def _reopened(self, workflow: Document, phase: str) -> bool:
        return phase == phases.DEGRADED and ROLLBACK_ANNOTATION in (workflow["metadata"].get("annotations") or {})

    def _plan(self, workflow: Document) -> Plan | None:
        """The plan of a workflow that has been planned; the spec's steps never change, so it is built once."""
        if not (workflow.get("status") or {}).get("executionPlan"):
            return None
        key = workflow["metadata"]["uid"]
        plan = self._plans.get(key)
        if plan is None:
            try:
                plan = self._plans[key] = build_plan(workflow["spec"])
            except GraphError as exc:
                raise RetryableError(f"the plan on record cannot be built again: {exc}") from exc
        return plan


def workflow_key_of(execution: Document) -> tuple[str, str] | None:
    """Namespace and name of the workflow that owns an attempt."""
    for owner in execution["metadata"].get("ownerReferences") or []:
        if owner.get("controller"):
            return execution["metadata"]["namespace"], owner["name"]
    return None
