"""One workflow: read, let the stage of its phase decide, write once, then do what the write allows.

The order is the write protocol's: the parent's status says what may start before a child is created, and everything that a reconcile
does in the world (create attempts, cancel them, emit Events) comes after its one write.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Awaitable, Callable
from datetime import timedelta

from cachetools import LRUCache

from controller.cluster.errors import AlreadyExistsError, ApiError, ConflictError, ForbiddenError, InvalidError, NotFoundError
from controller.core import attempt as attempts
from controller.core import phases
from controller.core.errors import RetryableError
from controller.core.names import (
    CANCEL_ANNOTATION,
    FINALIZER,
    ROLLBACK_ANNOTATION,
    ROLLBACK_LABEL,
    STEP_LABEL,
    STEP_NUMBER_LABEL,
    WORKFLOW_LABEL,
    label_value,
)
from controller.core.plan import GraphError, Plan, build_plan
from controller.core.status import Draft, Fault, Start
from controller.core.times import instant
from controller.core.verdict import MalformedVerdictError
from controller.gates.client import PolicyNotReadyError
from controller.reconcilers.beginning import plan_workflow, validate_workflow
from controller.reconcilers.ending import monitor, roll_back
from controller.reconcilers.objects import BY_OWNER
from controller.reconcilers.running import attempt_failed, cancel, run_steps
from controller.reconcilers.scope import Document, Parts, Scope, owned_by
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
_CANCELLED_AT_ONCE = frozenset({phases.VALIDATING, phases.MONITORING})
_FIRST_DELAY = 0.1
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
        if phase in phases.TERMINAL and not self._reopened(workflow, phase):
            return await self._expire(workflow)
        if FINALIZER not in (workflow["metadata"].get("finalizers") or []):
            workflow = await self._adopt(workflow)
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
            scope.draft.status["rollbackReason"] = scope.annotation(ROLLBACK_ANNOTATION) or ""
            scope.draft.enter(phases.ROLLING_BACK, "asked for by hand")
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
        status = draft.final()
        if draft.changed(status):
            workflow = await self._parts.workflows.write_status(workflow, status)
        for notice in draft.notices:
            self._parts.events.emit(workflow, "Warning" if notice.warning else "Normal", notice.reason, notice.message, "Reconcile")
        await together(self._create(scope, start) for start in draft.starts)
        for execution, reason in scope.cancels:
            await self._cancel(execution, reason)
        if draft.phase in phases.TERMINAL:
            # No event will tell when the time to live is over.
            return await self._expire(workflow)
        return scope.recheck

    async def _report_policy_problem(self, workflow: Document, problem: RetryableError) -> None:
        """Say in the workflow why nothing happens; the status proper stays what it was."""
        draft = Draft(workflow, self._parts.clock())
        draft.policy_problem = str(problem)
        if draft.phase == phases.NEW:
            draft.enter(phases.PLANNING)
        draft.wait(f"a policy decision: {problem}", "see /readyz of the controller, and the log of its OPA")
        status = draft.final()
        if draft.changed(status):
            await self._parts.workflows.write_status(workflow, status)

    # attempts

    async def _create(self, scope: Scope, start: Start) -> None:
        """Write C: create an attempt under its derived name; one that is ours already is gone on with."""
        body = self._attempt_object(scope, start)
        namespace = scope.workflow["metadata"]["namespace"]
        kind = self._parts.executions.informer.kind
        tries = self._parts.settings().child_creation_attempts
        for turn in range(tries):
            try:
                self._parts.executions.informer.put(await self._parts.executions.cluster.create(kind, namespace, body))
            except AlreadyExistsError:
                await self._adopt_attempt(scope, start, body)
                return
            except (InvalidError, NotFoundError) as exc:
                await self._creation_failed(scope, start, exc)
                return
            except ApiError as exc:
                if turn == tries - 1:
                    if isinstance(exc, ForbiddenError):
                        # Not before: an API server that has just started refuses everything.
                        await self._creation_failed(scope, start, exc)
                    raise RetryableError(str(exc)) from exc
                await asyncio.sleep(_FIRST_DELAY * 2**turn)
            else:
                return

    async def _adopt_attempt(self, scope: Scope, start: Start, body: Document) -> None:
        """Take over an attempt that exists: only if it is this workflow's and was made from the same spec."""
        namespace = scope.workflow["metadata"]["namespace"]
        found = await self._parts.executions.live(namespace, start.name)
        ours = found is not None and found["spec"].get("specHash") == body["spec"]["specHash"]
        if found is None or not ours or not owned_by(found, scope.workflow):
            raise RetryableError(
                f"KubernetesExecution {namespace}/{start.name} is another owner's leftover; it is waited for until it is gone",
                delay=timedelta(seconds=1),
            )

    async def _creation_failed(self, scope: Scope, start: Start, exc: ApiError) -> None:
        """An attempt that the API server will never accept: ask the failure gate what that leads to."""
        workflow = self._parts.workflows.cached(scope.workflow["metadata"]["namespace"], scope.workflow["metadata"]["name"])
        if workflow is None:
            return
        now = self._parts.clock()
        fresh = Scope(self._parts, workflow, Draft(workflow, now), scope.plan, self._parts.gates.session(self._parts.facts, now))
        error_type = "insufficient_permissions" if isinstance(exc, ForbiddenError) else "validation_error"
        if start.rollback:
            fresh.draft.undo_failed(start.step, str(exc))
        else:
            await attempt_failed(fresh, start.step, None, Fault("step_creation_failed", str(exc), error_type, step=start.step))
        await self._apply(fresh)
        raise RetryableError(str(exc), delay=timedelta(0)) from exc

    def _attempt_object(self, scope: Scope, start: Start) -> Document:
        metadata, step = scope.workflow["metadata"], scope.graph.steps[start.step]
        spec: Document = {
            "workflowExecutionRef": {"name": metadata["name"], "uid": metadata["uid"]},
            "stepNumber": start.step,
            "stepName": step["name"],
            "attempt": start.number,
            "action": step["action"],
            "parameters": step["parameters"],
            "timeout": step.get("timeout") or (scope.spec.get("timeouts") or {}).get("step"),
            "targetCluster": step.get("targetCluster"),
            "undoOf": start.undo_of or None,
            "overwrite": start.overwrite or None,
        }
        if start.parameters is not None:
            spec |= {"action": start.parameters["action"], "parameters": start.parameters.get("parameters") or {}}
        if start.rollback:
            spec["timeout"] = start.timeout or None
        else:
            for key in ("preConditions", "postConditions"):
                spec[key] = [c for c in step.get(key) or [] if not c.get("rego")] or None
        spec = {key: value for key, value in spec.items() if value is not None}
        spec["specHash"] = hashlib.sha256(json.dumps(spec, sort_keys=True).encode()).hexdigest()[:16]
        labels = {
            WORKFLOW_LABEL: metadata["name"],
            STEP_LABEL: label_value(step["name"]),
            STEP_NUMBER_LABEL: str(start.step),
        }
        if start.rollback:
            labels[ROLLBACK_LABEL] = "true"
        kind, owner = self._parts.executions.informer.kind, self._parts.workflows.informer.kind
        return {
            "apiVersion": kind.api_version,
            "kind": kind.kind,
            "metadata": {
                "name": start.name,
                "namespace": metadata["namespace"],
                "labels": labels,
                "ownerReferences": [
                    {
                        "apiVersion": owner.api_version,
                        "kind": owner.kind,
                        "name": metadata["name"],
                        "uid": metadata["uid"],
                        "controller": True,
                        "blockOwnerDeletion": True,
                    }
                ],
            },
            "spec": spec,
        }

    async def _cancel(self, execution: Document, reason: str) -> None:
        if CANCEL_ANNOTATION in (execution["metadata"].get("annotations") or {}):
            return
        try:
            await self._parts.executions.patch_metadata(execution, {"annotations": {CANCEL_ANNOTATION: reason}})
        except (NotFoundError, ConflictError):
            # It is gone, or it has just been written (perhaps its end): the next reconcile sees which.
            return

    # the two ends of an object's life

    async def _adopt(self, workflow: Document) -> Document:
        finalizers = [*(workflow["metadata"].get("finalizers") or []), FINALIZER]
        workflow = await self._parts.workflows.patch_metadata(workflow, {"finalizers": finalizers})
        self._parts.events.emit(workflow, "Normal", "WorkflowExecutionCreated", "accepted", "Reconcile")
        return workflow

    async def _release(self, workflow: Document) -> timedelta | None:
        """Let a deleted workflow go: cancel what runs, wait for it (bounded), then remove the finalizer."""
        metadata = workflow["metadata"]
        if FINALIZER not in (metadata.get("finalizers") or []):
            return None
        running = [e for e in self._parts.executions.informer.by_index(BY_OWNER, metadata["uid"]) if not attempts.has_ended(e)]
        waited = self._parts.clock() - instant(metadata["deletionTimestamp"])
        if running and waited < _DELETION_PATIENCE:
            for execution in running:
                await self._cancel(execution, "its workflow is being deleted")
            return timedelta(seconds=1)
        rest = [f for f in metadata["finalizers"] if f != FINALIZER]
        try:
            await self._parts.workflows.patch_metadata(workflow, {"finalizers": rest})
        except NotFoundError:
            return None
        self._parts.events.emit(workflow, "Normal", "WorkflowExecutionDeleted", "released", "Delete")
        return None

    async def _expire(self, workflow: Document) -> timedelta | None:
        """Delete a finished workflow that nothing owns once its time is over, after a live read."""
        metadata, status = workflow["metadata"], workflow["status"]
        seconds = workflow["spec"].get("ttlSecondsAfterFinished", 86400)
        if metadata.get("ownerReferences") or "completionTime" not in status:
            return None
        left = instant(status["completionTime"]) + timedelta(seconds=seconds) - self._parts.clock()
        if left > timedelta(0):
            return left
        live = await self._parts.workflows.live(metadata["namespace"], metadata["name"])
        if (
            live is not None
            and live["metadata"]["uid"] == metadata["uid"]
            and live["status"].get("completionTime") == status["completionTime"]
        ):
            cluster = self._parts.workflows.cluster
            await cluster.delete(self._parts.workflows.informer.kind, metadata["namespace"], metadata["name"], uid=metadata["uid"])
        return None

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
