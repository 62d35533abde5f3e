"""A workflow belongs to the RemediationRequest that it serves, from when both exist; that it does not yet holds nothing up."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from controller.cluster.errors import ApiError, ConflictError
from controller.cluster.kinds import REMEDIATION_REQUEST
from controller.core.names import FINALIZER
from controller.reconcilers.scope import Document, Parts


def request_of(workflow: Mapping[str, Any]) -> str:
    """`namespace/name` of the RemediationRequest that a workflow names, "" where it names none: its key in the index."""
    reference = workflow["spec"].get("remediationRequestRef")
    if not reference:
        return ""
    return f"{reference.get('namespace') or workflow['metadata']['namespace']}/{reference['name']}"


async def adopt(parts: Parts, workflow: Document) -> Document:
    """Give a workflow our finalizer, and its owner once there is one; answers the workflow as it is then.

    Raises:
        RetryableError: somebody wrote it meanwhile, or the API server did not answer.
    """
    metadata = workflow["metadata"]
    is_new = FINALIZER not in (metadata.get("finalizers") or []) and "completionTime" not in (workflow.get("status") or {})
    changes: Document = {"finalizers": [*(metadata.get("finalizers") or []), FINALIZER]} if is_new else {}
    owner, trouble = _owner(parts, workflow)
    if owner is not None:
        changes["ownerReferences"] = [*(metadata.get("ownerReferences") or []), owner]
    if changes:
        try:
            workflow = await parts.workflows.patch_metadata(workflow, changes)
        except ConflictError:
            raise
        except ApiError as exc:
            if owner is None:
                raise
            trouble = f"it could not be made the owner: {exc.message}"
            if is_new:
                workflow = await parts.workflows.patch_metadata(workflow, {"finalizers": changes["finalizers"]})
    if is_new:
        parts.events.emit(workflow, "Normal", "WorkflowExecutionCreated", "accepted", "Reconcile")
    if trouble:
        _tell(parts, workflow, trouble)
    return workflow


def _owner(parts: Parts, workflow: Document) -> tuple[Document | None, str]:
    """The owner reference that is still to be written, or why there is none yet."""
    key, metadata = request_of(workflow), workflow["metadata"]
    if not key or any(o["kind"] == REMEDIATION_REQUEST.kind for o in metadata.get("ownerReferences") or []):
        return None, ""
    namespace, name = key.split("/", 1)
    if namespace != metadata["namespace"]:
        return (
            None,
            f"RemediationRequest {key} is in another namespace, and owners do not cross namespaces; make one in {metadata['namespace']}",
        )
    found = parts.requests.get(namespace, name)
    if found is None and not parts.requests.synced.is_set():
        return None, ""
    if found is None:
        return None, f"there is no RemediationRequest {key} yet; it becomes the owner as soon as there is"
    wanted = workflow["spec"]["remediationRequestRef"].get("uid")
    if wanted and wanted != found["metadata"]["uid"]:
        return None, f"RemediationRequest {key} has the uid {found['metadata']['uid']}, and remediationRequestRef means {wanted}"
    return {
        "apiVersion": REMEDIATION_REQUEST.api_version,
        "kind": REMEDIATION_REQUEST.kind,
        "name": name,
        "uid": found["metadata"]["uid"],
        "controller": True,
    }, ""


def _tell(parts: Parts, workflow: Document, trouble: str) -> None:
    key = (workflow["metadata"]["uid"], trouble)
    if key not in parts.told:
        parts.told[key] = True
        parts.events.emit(workflow, "Warning", "OwnerReferenceFailed", trouble, "Reconcile")
