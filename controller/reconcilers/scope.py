"""What one reconcile of a workflow has at hand, shared by the stages of its life."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Protocol

from cachetools import LRUCache

from controller.cluster.events import EventRecorder
from controller.cluster.informer import Informer
from controller.core.durations import parse_duration
from controller.core.names import ROLLBACK_LABEL
from controller.core.plan import Plan
from controller.core.status import Draft, Fault
from controller.core.verdict import ApprovalVerdict, Verdict
from controller.gates.client import Answer, FactSource, GateClient, Session, reason_document
from controller.gates.documents import Workflow
from controller.gates.questions import workflow_document
from controller.observe.workflows import ReconcileObserver
from controller.reconcilers.objects import BY_OWNER, Objects
from controller.settings import Settings

Document = dict[str, Any]

# A look is a little after the instant that it is for.
MARGIN = timedelta(milliseconds=50)
_MOST_GROUPS, _LONGEST_NAME, _MOST_REASONS = 64, 512, 10

# The index of approvals by `namespace/name` of the workflow that they speak of.
BY_WORKFLOW = "workflow"


class Auditor(Protocol):
    """Who keeps what was done; `audit.Audit` is the one implementation. It neither waits nor fails."""

    def ended(self, workflow: Document, attempts: list[Document]) -> object:
        """A workflow has reached a terminal phase."""

    def deleted(self, workflow: Document, attempts: list[Document]) -> object:
        """A workflow is about to go."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What a workflow reconciler is built from."""

    workflows: Objects
    executions: Objects
    approvals: Informer
    gates: GateClient
    facts: FactSource
    settings: Callable[[], Settings]
    events: EventRecorder
    clock: Callable[[], datetime]
    observer: ReconcileObserver
    audit: Auditor
    requests: Informer
    """RemediationRequests; a workflow is made to belong to its own."""
    is_queued: Callable[[Document], bool]
    """Tells whether an attempt waits in this process to be carried out."""
    told: MutableMapping[tuple[str, str], bool] = field(default_factory=lambda: LRUCache(maxsize=4096))
    """Uid of a workflow and what its Events have said that is true until something changes: said once."""


@dataclass(slots=True)
class Scope:
    """One reconcile of one workflow: what was read, and the draft of what will be written."""

    parts: Parts
    workflow: Document
    draft: Draft
    plan: Plan | None
    session: Session
    cancels: list[tuple[Document, str]] = field(default_factory=list)
    recheck: timedelta | None = None

    @property
    def spec(self) -> Document:
        """What the author wrote."""
        spec: Document = self.workflow["spec"]
        return spec

    @property
    def graph(self) -> Plan:
        """The plan, in every stage after planning."""
        if self.plan is None:
            raise AssertionError("a stage after planning was entered without a plan")
        return self.plan

    def annotation(self, key: str) -> str | None:
        """One of the workflow's annotations."""
        value = (self.workflow["metadata"].get("annotations") or {}).get(key)
        return None if value is None else str(value)

    def document(self) -> Workflow:
        """The workflow as gates see it now."""
        return workflow_document(self.workflow, self.draft.status)

    def look_again(self, after: timedelta) -> None:
        """Ask to be reconciled again; the earliest wish counts."""
        self.recheck = after if self.recheck is None else min(self.recheck, after)

    def attempts(self, *, rollback: bool = False) -> dict[int, list[Document]]:
        """The attempts that the cache shows, by step, first ones first."""
        found: dict[int, list[Document]] = defaultdict(list)
        for execution in self.parts.executions.informer.by_index(BY_OWNER, self.workflow["metadata"]["uid"]):
            undoes = (execution["metadata"].get("labels") or {}).get(ROLLBACK_LABEL) == "true"
            if undoes is rollback:
                found[execution["spec"]["stepNumber"]].append(execution)
        for executions in found.values():
            executions.sort(key=lambda e: e["spec"].get("attempt", 0))
        return found

    def timeout(self, name: str) -> timedelta:
        """A time limit of the workflow (`planning`, `validation`, `step`, `monitoring`, `approval`), else that of the settings."""
        own = (self.spec.get("timeouts") or {}).get(name)
        if own:
            return parse_duration(own)
        limit: timedelta = getattr(self.parts.settings(), f"{name}_timeout")
        return limit


def owned_by(execution: Document, workflow: Document) -> bool:
    """Tell whether an attempt belongs to this very workflow."""
    return any(o["uid"] == workflow["metadata"]["uid"] for o in execution["metadata"].get("ownerReferences") or [])


def terms_of(answer: Answer[ApprovalVerdict]) -> Document:
    """What it takes to be approved, as status keeps it: cut to what the schema admits."""
    terms = answer.verdict.approval
    if not terms.required:
        return {"required": False}
    return {
        "required": True,
        "count": terms.count,
        "received": terms.received,
        "groups": [group[:_LONGEST_NAME] for group in terms.groups[:_MOST_GROUPS]],
        "notRequester": terms.not_requester,
        "reasons": [reason_document(reason) for reason in answer.verdict.reasons[:_MOST_REASONS]],
    }


def fault_of(answer: Answer[Any], reason: str, *, step: int | None = None) -> Fault:
    """Turn a denial into the record of a failure; the gate's own `failure_reason` beats ours."""
    verdict: Verdict = answer.verdict
    return Fault(verdict.failure_reason or reason, verdict.why, verdict.error_type or "policy_denied", verdict.remedy, step)
