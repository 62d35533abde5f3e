"""Write C: an attempt is created under its derived name, from what the parent's status says; one that is ours already is gone on with."""

from __future__ import annotations

import asyncio
import hashlib
import json
from datetime import timedelta

from controller.cluster.errors import AlreadyExistsError, ApiError, ForbiddenError, InvalidError, NotFoundError
from controller.core.errors import RetryableError
from controller.core.names import ROLLBACK_LABEL, STEP_LABEL, STEP_NUMBER_LABEL, WORKFLOW_LABEL, canonical_action, label_value
from controller.core.status import Start
from controller.reconcilers.scope import Document, Scope, owned_by

_FIRST_DELAY = 0.1


class CreationRefusedError(Exception):
    """The API server will never accept this attempt."""

    def __init__(self, start: Start, cause: ApiError) -> None:
        super().__init__(str(cause))
        self.start = start
        self.error_type = "insufficient_permissions" if isinstance(cause, ForbiddenError) else "validation_error"


async def create_attempt(scope: Scope, start: Start) -> None:
    """Create an attempt, or find it created.

    Raises:
        CreationRefusedError: it will never be accepted.
        RetryableError: it could not be created now, or the name is another owner's.
    """
    parts, body = scope.parts, attempt_object(scope, start)
    namespace, kind = scope.workflow["metadata"]["namespace"], parts.executions.informer.kind
    tries = parts.settings().child_creation_attempts
    for turn in range(tries):
        try:
            parts.executions.informer.put(await parts.executions.cluster.create(kind, namespace, body))
        except AlreadyExistsError:
            await _recognise(scope, start, body)
            return
        except (InvalidError, NotFoundError) as exc:
            parts.observer.attempt_created(ok=False)
            raise CreationRefusedError(start, exc) from exc
        except ApiError as exc:
            if turn == tries - 1:
                parts.observer.attempt_created(ok=False)
                if isinstance(exc, ForbiddenError):
                    # Not before: an API server that has just started refuses everything.
                    raise CreationRefusedError(start, exc) from exc
                raise RetryableError(str(exc)) from exc
            await asyncio.sleep(_FIRST_DELAY * 2**turn)
        else:
            parts.observer.attempt_created(ok=True)
            return


async def _recognise(scope: Scope, start: Start, body: Document) -> None:
    """Take over an attempt that exists: only if it is this workflow's and was made from the same spec."""
    namespace = scope.workflow["metadata"]["namespace"]
    found = await scope.parts.executions.live(namespace, start.name)
    ours = found is not None and found["spec"].get("specHash") == body["spec"]["specHash"]
    if found is None or not ours or not owned_by(found, scope.workflow):
        raise RetryableError(
            f"KubernetesExecution {namespace}/{start.name} is another owner's leftover; it is waited for until it is gone",
            delay=timedelta(seconds=1),
        )


def attempt_object(scope: Scope, start: Start) -> Document:
    """The KubernetesExecution to create; the same one every time, because it is derived from what is on record."""
    metadata, step = scope.workflow["metadata"], scope.graph.steps[start.step]
    adjusted = {} if start.rollback else scope.draft.step(start.step).get("adjusted") or {}
    spec: Document = {
        "workflowExecutionRef": {"name": metadata["name"], "uid": metadata["uid"]},
        "stepNumber": start.step,
        "stepName": step["name"],
        "attempt": start.number,
        "action": step["action"],
        "parameters": adjusted.get("parameters") or step["parameters"],
        "timeout": adjusted.get("timeout") or step.get("timeout") or (scope.spec.get("timeouts") or {}).get("step"),
        "targetCluster": step.get("targetCluster"),
        "undoOf": start.undo_of or None,
        "overwrite": start.overwrite or None,
    }
    if start.rollback_spec is not None:
        spec |= {"action": start.rollback_spec["action"], "parameters": start.rollback_spec.get("parameters") or {}}
    overrides = scope.spec.get("conditionOverrides") or {}
    spec["conditionOverrides"] = next((terms for action, terms in overrides.items() if canonical_action(action) == spec["action"]), None)
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
    kind, owner = scope.parts.executions.informer.kind, scope.parts.workflows.informer.kind
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
