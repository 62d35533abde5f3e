"""One attempt at a step: from the `action` gate through its operations to the `verify` gate, by the write protocol.

read → gather → ask → apply, in three stages named after what is on record: nothing (prepare), an intent (carry out), every answer
(verify). Whatever interrupted the last reconcile, the record tells where to go on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from controller.cluster.errors import (
    AmbiguousError,
    ApiError,
    ConflictError,
    ForbiddenError,
    InvalidError,
    NotFoundError,
    ThrottledError,
    UnreachableError,
)
from controller.core import attempt as attempts
from controller.core.attempt import AttemptDraft
from controller.core.durations import parse_duration
from controller.core.errors import RetryableError
from controller.core.names import CANCEL_ANNOTATION, ROLLBACK_LABEL, canonical_action
from controller.core.operations import Sight, forbidden_among, without_value_tests
from controller.core.status import Fault
from controller.core.verdict import ActionVerdict, Decision, MalformedVerdictError, OperationRequest, VerifyVerdict
from controller.execute.operations import ForbiddenOperationError, Operator
from controller.gates.client import Answer, FactSource, GateClient, PolicyNotReadyError
from controller.gates.questions import attempt_document, task_of, workflow_document
from controller.reconcilers.objects import BY_OWNER, Objects
from controller.reconcilers.refusals import (
    RIGHTS_PATIENCE,
    ChangedError,
    GivenUpError,
    RefusedError,
    denied,
    forbidden_read,
    warnings,
)
from controller.settings import Settings

Document = dict[str, Any]

MAX_REFUSALS = 3
_FIRST_LOOK = timedelta(milliseconds=200)
_MISSING_RIGHT = "right"


@dataclass(frozen=True, slots=True)
class ExecutionReconciler:
    """Carries out KubernetesExecutions."""

    executions: Objects
    workflows: Objects
    gates: GateClient
    facts: FactSource
    settings: Callable[[], Settings]
    clock: Callable[[], datetime]

    async def reconcile(self, namespace: str, name: str) -> timedelta | None:
        """Take one attempt as far as it goes now; answers when to look again, or None if an event will tell.

        Raises:
            RetryableError: nothing was lost, try again.
        """
        execution = self.executions.cached(namespace, name)
        if execution is None or attempts.has_ended(execution):
            return None
        run = _Run(self, execution, await self._owner(execution))
        return await run.advance()

    async def _owner(self, execution: Document) -> Document | None:
        """The live workflow that lists this attempt; asked of the API server when the cache does not show it."""
        reference, namespace = execution["spec"]["workflowExecutionRef"], execution["metadata"]["namespace"]
        cached = self.workflows.cached(namespace, reference["name"])
        if cached is not None and _lists(cached, execution):
            return cached
        return await self.workflows.live(namespace, reference["name"])


def _lists(workflow: Document, execution: Document) -> bool:
    """Tell whether a workflow owns an attempt and names it as the current one of its step."""
    own = execution["metadata"]
    owners = {o["uid"] for o in own.get("ownerReferences") or [] if o.get("controller")}
    if workflow["metadata"]["uid"] not in owners or workflow["metadata"].get("deletionTimestamp"):
        return False
    entries = (workflow.get("status") or {}).get("stepStatuses") or []
    return any(own["name"] in {(e.get(key) or {}).get("name") for key in ("k8sExecutionRef", "rollbackRef")} for e in entries)


class _Run:
    """One reconcile of one attempt."""

    def __init__(self, parts: ExecutionReconciler, execution: Document, workflow: Document | None) -> None:
        self._parts = parts
        self._execution = execution
        self._workflow = workflow
        self._owned = workflow is not None and _lists(workflow, execution)
        self._draft = AttemptDraft(execution, parts.clock())
        self._spec: Document = execution["spec"]
        self._versions: list[str] = []

    async def advance(self) -> timedelta | None:
        """Go on from what is on record.

        Raises:
            RetryableError: without a decision there is no move; that none can be had is on record then.
        """
        try:
            match self._draft.phase:
                case attempts.EXECUTING:
                    return await self._carry_out(sure=False)
                case attempts.VERIFYING:
                    return await self._verify()
                case _:
                    return await self._prepare()
        except (PolicyNotReadyError, MalformedVerdictError) as exc:
            await self._report_policy_problem(exc)
            raise

    # the stages

    async def _prepare(self) -> timedelta | None:
        """Ask `action`, rehearse what it says, put it on record (K1), and go on to carry it out."""
        for _ in range(MAX_REFUSALS):
            if fault := self._overdue() or self._cancelled():
                return await self._fail(fault)
            answer = await self._ask_action()
            verdict = answer.verdict
            self._draft.judged("action", answer.summary(self._draft.now))
            self._draft.conditions("preConditionResults", verdict.conditions)
            self._draft.validated(verdict, answer.summary(self._draft.now))
            if verdict.decision is Decision.DENY:
                return await self._fail(denied(answer, "policy_denied"))
            if verdict.decision is Decision.WAIT:
                return await self._stand_by(answer)
            try:
                fault = await self._rehearse(verdict)
            except ForbiddenError as exc:
                return await self._forbidden(exc.message)
            if fault:
                return await self._fail(fault)
            self._draft.met(_MISSING_RIGHT)
            if self._spec.get("simulate"):
                return await self._complete("simulated: nothing was sent", {})
            self._draft.intend(verdict, self._versions)
            if not verdict.operations:
                return await self._verify()
            await self._write()
            outcome = await self._carry_out_prepared()
            if not outcome.again:
                return outcome.requeue
        return await self._fail(
            Fault("step_execution_failed", f"the target changed under each of {MAX_REFUSALS} tries", "resource_conflict")
        )

    async def _stand_by(self, answer: Answer[ActionVerdict]) -> timedelta | None:
        """Wait for what `action` waits for; a read that was refused is a right that is missing."""
        if refusal := forbidden_read(answer):
            return await self._forbidden(refusal)
        self._draft.met(_MISSING_RIGHT)
        self._draft.hold(attempts.VALIDATING, answer.verdict.why)
        return await self._wait(answer.verdict.next_check_seconds)

    async def _carry_out_prepared(self) -> _Outcome:
        """Send the first operation right after K1: nobody can have sent it before."""
        try:
            return _Outcome(await self._carry_out(sure=True))
        except RefusedError:
            self._draft = AttemptDraft(self._execution, self._parts.clock())
            self._draft.withdraw()
            return _Outcome(None, again=True)

    async def _carry_out(self, *, sure: bool) -> timedelta | None:
        """Send what has no answer on record.

        Args:
            sure: the first operation without an answer cannot have been sent yet. Otherwise somebody has to look first.

        Raises:
            RefusedError: the very first operation was refused on its only try, so nothing of this attempt was done.
        """
        operator = Operator(self._parts.executions.cluster, self._draft.status["serviceAccount"], self._execution["metadata"]["uid"])
        while (following := self._draft.next_operation()) is not None:
            index, request = following
            if self._spec.get("overwrite"):
                request = without_value_tests(request)
            try:
                resulting = await self._send(operator, request, sure=sure, alone=index == 0)
            except ForbiddenError as exc:
                return await self._forbidden(exc.message)
            except ForbiddenOperationError as exc:
                return await self._fail(Fault("policy_denied", str(exc), "policy_denied"))
            except GivenUpError as exc:
                return await self._fail(exc.fault)
            except ThrottledError as exc:
                return exc.delay or timedelta(seconds=1)
            except ChangedError as exc:
                reason = "rollback_failed" if self._spec.get("undoOf") else "step_execution_failed"
                return await self._fail(Fault(reason, str(exc), "resource_conflict"))
            metadata = resulting.get("metadata") or {}
            more = self._draft.answered(
                index, self._parts.clock(), version=metadata.get("resourceVersion", ""), uid=metadata.get("uid", "")
            )
            if more:
                await self._write()
            sure = True
        if self._spec.get("undoOf"):
            return await self._complete("taken back", {})
        return await self._verify()

    async def _send(self, operator: Operator, request: OperationRequest, *, sure: bool, alone: bool) -> Document:
        """Carry out one request exactly once; answers the object that resulted ({} where only a look proved it)."""
        if not sure:
            sight = await operator.look(request)
            if sight is Sight.APPLIED:
                return {}
            if sight is Sight.CHANGED:
                raise ChangedError(request, undoing=self._undoing)
            if fault := self._overdue() or self._cancelled():
                raise GivenUpError(fault)
        try:
            return await operator.send(request)
        except (ConflictError, InvalidError, NotFoundError) as exc:
            if sure and alone and not self._undoing:
                # Whatever is there now, this attempt did not do it.
                raise RefusedError(str(exc)) from exc
            if await operator.look(request) is Sight.APPLIED:
                return {}
            raise ChangedError(request, undoing=self._undoing, cause=exc) from exc
        except UnreachableError:
            raise
        except AmbiguousError as exc:
            # It may have been carried out. The next reconcile looks before anything is sent again.
            raise RetryableError(str(exc), delay=_FIRST_LOOK) from exc

    async def _verify(self) -> timedelta | None:
        """Ask `verify` until its conditions hold or their time is over."""
        if fault := self._overdue() or self._cancelled():
            return await self._fail(fault)
        session = self._parts.gates.session(self._parts.facts, self._parts.clock())
        question = self._question()
        try:
            answer = await session.ask("verify", VerifyVerdict, question, fresh=True, about=task_of(question))
        except RetryableError as exc:
            # Without a verdict there is no end; but what was answered is known now, and has to be on record.
            self._draft.hold(attempts.VERIFYING, f"a policy decision: {exc}")
            if not isinstance(exc, PolicyNotReadyError | MalformedVerdictError):
                await self._write()
            raise
        verdict = answer.verdict
        self._draft.now = session.now
        self._draft.judged("verify", answer.summary(session.now))
        self._draft.conditions("postConditionResults", verdict.conditions)
        match verdict.decision:
            case Decision.ALLOW:
                return await self._complete(warnings(answer) or "done", verdict.result)
            case Decision.DENY:
                return await self._fail(denied(answer, "postcondition_failed"))
            case Decision.WAIT:
                self._draft.hold(attempts.VERIFYING, answer.verdict.why)
                return await self._wait(verdict.next_check_seconds)

    # asking and rehearsing

    async def _ask_action(self) -> Answer[ActionVerdict]:
        question = self._question()
        if self._undoing:
            question["undo"] = await self._recorded_undo()
        session = self._parts.gates.session(self._parts.facts, self._draft.now)
        return await session.ask("action", ActionVerdict, question, about=task_of(question))

    async def _recorded_undo(self) -> list[Document]:
        """What takes the other attempt back: its recorded undo operations, last first, only those that were sent."""
        namespace, name = self._execution["metadata"]["namespace"], self._spec["undoOf"]
        other = self._parts.executions.cached(namespace, name) or await self._parts.executions.live(namespace, name)
        if other is None:
            return []
        return [{"do": o["undo"], "undo": None} for o in reversed(attempts.sent_operations(other)) if o.get("undo")]

    async def _rehearse(self, verdict: ActionVerdict) -> Fault | None:
        """Send every operation with server-side dry-run; the first that the API server refuses is the attempt's fault."""
        operator = Operator(self._parts.executions.cluster, verdict.service_account, self._execution["metadata"]["uid"])
        self._versions = []
        if fault := forbidden_among(verdict.operations):
            return Fault("policy_denied", fault, "policy_denied", "mend the rule `operations` of the action: what it may touch is bounded")
        for operation in verdict.operations:
            request = without_value_tests(operation.do) if self._spec.get("overwrite") else operation.do
            self._versions.append("")
            try:
                rehearsed = await operator.rehearse(request)
            except (ConflictError, InvalidError, NotFoundError) as exc:
                if refused := await self._rehearsal_fault(operator, request, exc):
                    return refused
            except ThrottledError:
                continue
            else:
                self._versions[-1] = str((rehearsed.get("metadata") or {}).get("resourceVersion") or "")
        self._draft.rehearsed(verdict.operations)
        return None

    async def _rehearsal_fault(self, operator: Operator, request: OperationRequest, exc: ApiError) -> Fault | None:
        """Judge a refused rehearsal: a target that moved on since it was read is no fault of the attempt's."""
        if self._undoing:
            if await operator.look(request) is Sight.APPLIED:
                return None
            remedy = "compare the object with the recorded undo"
            return Fault("rollback_failed", f"changed_since: {exc.message}", "resource_conflict", remedy)
        if await operator.look(request) is not Sight.NOT_APPLIED:
            raise RetryableError(f"the target changed while it was looked at: {exc}", delay=_FIRST_LOOK) from exc
        return Fault("dry_run_failed", exc.message, "validation_error")

    # what gates see

    @property
    def _undoing(self) -> bool:
        return bool(self._spec.get("undoOf"))

    @property
    def _rolls_back(self) -> bool:
        """An undo of what is on record, or what the author wrote as the step's way back."""
        return (self._execution["metadata"].get("labels") or {}).get(ROLLBACK_LABEL) == "true"

    def _question(self) -> Document:
        """What both gates of an attempt are asked."""
        question: Document = {
            "workflow": workflow_document(self._workflow) if self._workflow else {},
            "step": self._step(),
            "attempt": self._attempt(),
        }
        if self._rolls_back and not self._undoing:
            question["recorded"] = self._recorded()
        return question

    def _recorded(self) -> list[Document]:
        """What the step's own attempts sent, first to last: an author's rollbackSpec may build on it."""
        own = self._parts.executions.informer.by_index(BY_OWNER, self._spec["workflowExecutionRef"]["uid"])
        forward = [
            e
            for e in own
            if e["spec"]["stepNumber"] == self._spec["stepNumber"] and ROLLBACK_LABEL not in (e["metadata"].get("labels") or {})
        ]
        forward.sort(key=lambda e: e["spec"].get("attempt", 0))
        return [dict(operation) for e in forward for operation in attempts.sent_operations(e)]

    def _step(self) -> Document:
        step: Document = {
            "stepNumber": self._spec["stepNumber"],
            "name": self._spec.get("stepName", ""),
            "action": canonical_action(self._spec["action"]),
            "parameters": self._spec.get("parameters") or {},
        }
        for key in ("targetCluster", "timeout", "preConditions", "postConditions"):
            if self._spec.get(key):
                step[key] = self._spec[key]
        return step

    def _attempt(self) -> Document:
        return dict(attempt_document({**self._execution, "status": self._draft.status}, owned=self._owned))

    # time

    def _overdue(self) -> Fault | None:
        settings = self._parts.settings()
        usual = settings.rollback_step_timeout if self._rolls_back else settings.step_timeout
        limit = parse_duration(self._spec["timeout"]) if self._spec.get("timeout") else usual
        if self._draft.elapsed(self._parts.clock()) <= limit:
            return None
        waited = (self._draft.status["executionResults"].get("message") or "").strip()
        allowed = self._spec.get("timeout") or ("the rollback step timeout" if self._rolls_back else "the step timeout")
        return Fault("timeout", f"not done within {allowed}" + (f"; it waited for {waited}" if waited else ""), "timeout")

    def _cancelled(self) -> Fault | None:
        annotations = self._execution["metadata"].get("annotations") or {}
        if CANCEL_ANNOTATION not in annotations and not self._execution["metadata"].get("deletionTimestamp"):
            return None
        reason = annotations.get(CANCEL_ANNOTATION) or "it is being deleted"
        if reason == "timeout":
            return Fault("timeout", "its workflow gave it up: it outlived the step's time", "timeout")
        return Fault("cancelled", f"cancelled: {reason}")

    # writing

    async def _report_policy_problem(self, problem: RetryableError) -> None:
        """Say in the attempt why nothing happens, if anything is said of it yet; its time stands still."""
        if self._draft.phase:
            self._draft.without_policy(str(problem))
            await self._write()

    async def _write(self) -> None:
        if self._draft.changed():
            self._execution = await self._parts.executions.write_status(self._execution, self._draft.final())
            self._draft = AttemptDraft(self._execution, self._parts.clock())

    async def _wait(self, seconds: float | None) -> timedelta:
        await self._write()
        return timedelta(seconds=seconds if seconds is not None else 1.0)

    async def _complete(self, message: str, result: Document) -> timedelta | None:
        self._draft.complete(message, result, self._parts.clock())
        try:
            await self._write()
        except InvalidError as exc:
            # A team's module may answer a result that the schema does not know. What was done is done, and has to be on record.
            self._draft.complete(f"{message}; its result is left out, it does not fit the schema: {exc.message}", {}, self._parts.clock())
            await self._write()
        return None

    async def _forbidden(self, message: str) -> timedelta | None:
        """Wait for a right that is missing, but not for long: nothing tells when it is given."""
        self._draft.forbidden()
        if self._parts.clock() - self._draft.unmet_since(_MISSING_RIGHT) > RIGHTS_PATIENCE:
            remedy = "give the action's ServiceAccount the right there, and the controller the right to impersonate it; deploy/ shows both"
            return await self._fail(Fault("step_execution_failed", message, "insufficient_permissions", remedy))
        self._draft.hold(self._draft.phase or attempts.VALIDATING, message)
        return await self._wait(None)

    async def _fail(self, fault: Fault) -> timedelta | None:
        self._draft.fail(fault, self._parts.clock())
        await self._write()
        return None


@dataclass(frozen=True, slots=True)
class _Outcome:
    requeue: timedelta | None
    again: bool = False
