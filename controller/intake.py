"""What makes a key come onto the work queue: what the informers see, another policy set, and beginning to lead.

Nothing is decided from what an event says, only that something is worth a look.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from controller.cluster.informer import Informer
from controller.cluster.queue import WorkQueue
from controller.core import attempt as attempts
from controller.core import phases
from controller.reconcilers.workflow import workflow_key_of

Key = tuple[str, str, str]
"""Controller, namespace, name."""
# The index of workflows by `namespace/name` of the RemediationRequest that they name.
BY_REQUEST = "request"
Document = dict[str, Any]


class Intake:
    """Adds keys of the controllers that this process leads; one that it begins to lead gets all of its own by ``add_all``."""

    def __init__(  # noqa: PLR0913, PLR0917 - what is looked at
        self,
        queue: WorkQueue[Key],
        workflows: Informer,
        executions: Informer,
        approvals: Informer,
        requests: Informer,
        leads: Callable[[str], bool],
    ) -> None:
        self._queue = queue
        self._leads = leads
        self._all = {"workflow": workflows, "execution": executions}
        workflows.subscribe(self._on_workflow)
        executions.subscribe(self._on_attempt_of_workflow)
        executions.subscribe(self._on_execution)
        approvals.subscribe(self._on_approval)
        requests.subscribe(self._on_request)

    def add_all(self, controller: str) -> None:
        """Look at every object of a controller, ended ones too: they may want to be deleted, or be due for it."""
        for document in self._all[controller].all():
            self._add(controller, document["metadata"]["namespace"], document["metadata"]["name"])

    def add_unfinished(self) -> None:
        """Look at everything that may go on."""
        for workflow in self._all["workflow"].all():
            phase = (workflow.get("status") or {}).get("phase", "")
            owned = bool(workflow["metadata"].get("ownerReferences"))
            if phase not in phases.TERMINAL or not owned:
                self._add("workflow", workflow["metadata"]["namespace"], workflow["metadata"]["name"])
        for execution in self._all["execution"].all():
            if not attempts.has_ended(execution):
                self._add("execution", execution["metadata"]["namespace"], execution["metadata"]["name"])

    def _add(self, controller: str, namespace: str, name: str) -> None:
        if self._leads(controller):
            self._queue.add((controller, namespace, name))

    def _on_workflow(self, old: Document | None, new: Document | None) -> None:
        if new is not None and (old is None or _was_edited(old, new)):
            self._add("workflow", new["metadata"]["namespace"], new["metadata"]["name"])

    def _on_execution(self, old: Document | None, new: Document | None) -> None:
        if new is not None and (old is None or _was_edited(old, new)):
            self._add("execution", new["metadata"]["namespace"], new["metadata"]["name"])

    def _on_attempt_of_workflow(self, old: Document | None, new: Document | None) -> None:
        """An attempt concerns its workflow when it ends or goes; what it does meanwhile is its own affair."""
        gone = new is None
        ended = new is not None and attempts.has_ended(new) and not (old is not None and attempts.has_ended(old))
        execution = new or old
        if execution is not None and (gone or ended) and (owner := workflow_key_of(execution)):
            self._add("workflow", *owner)

    def _on_approval(self, _: Document | None, new: Document | None) -> None:
        if new is not None:
            self._add("workflow", new["metadata"]["namespace"], new["spec"]["workflowRef"]["name"])

    def _on_request(self, old: Document | None, new: Document | None) -> None:
        if old is None and new is not None:
            key = f"{new['metadata']['namespace']}/{new['metadata']['name']}"
            for workflow in self._all["workflow"].by_index(BY_REQUEST, key):
                self._add("workflow", workflow["metadata"]["namespace"], workflow["metadata"]["name"])


def _was_edited(old: Document, new: Document) -> bool:
    """Tell an edit by someone from a write of status, which only its writer and the resourceVersion care about."""
    before, after = old["metadata"], new["metadata"]
    return any(before.get(key) != after.get(key) for key in ("uid", "generation", "annotations", "deletionTimestamp"))
