"""The one choke point for writes to targets: the rendered request is checked, then sent as the action's ServiceAccount."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from controller.cluster.client import Cluster
from controller.cluster.errors import NotFoundError
from controller.cluster.kinds import kind_of
from controller.core import operations
from controller.core.errors import PermanentError
from controller.core.names import ATTEMPT_ANNOTATION, service_account_user
from controller.core.operations import Sight
from controller.core.verdict import OperationRequest


class ForbiddenOperationError(PermanentError):
    """A rendered request that is never sent, whatever policy said."""


@dataclass(frozen=True, slots=True)
class Operator:
    """Carries out operations as one action's ServiceAccount, on behalf of one attempt.

    Every method raises `ForbiddenOperationError` before anything is sent if the request's shape is out of bounds, and the
    cluster's `ApiError` tree for what the API server says.
    """

    cluster: Cluster
    service_account: str
    attempt_uid: str = "dry-run"

    async def rehearse(self, request: OperationRequest) -> dict[str, Any]:
        """Send the very same request with server-side dry-run; the answer is the object that would result."""
        return await self._send(request, dry_run=True)

    async def send(self, request: OperationRequest) -> dict[str, Any]:
        """Send the request; the answer is the object that resulted."""
        return await self._send(request, dry_run=False)

    async def look(self, request: OperationRequest) -> Sight:
        """Look at the target live, as the ServiceAccount, and judge whether the request has been carried out."""
        return operations.look(request, await self.live(request), self.attempt_uid)

    async def live(self, request: OperationRequest) -> dict[str, Any] | None:
        """Read the target of a request; None if there is none."""
        self._check(request)
        kind = kind_of(request.apiVersion, request.kind)
        assert kind is not None
        try:
            return await self.cluster.get(kind, request.namespace, request.name, as_user=self._user)
        except NotFoundError:
            return None

    @property
    def _user(self) -> str:
        return service_account_user(self.service_account)

    def _check(self, request: OperationRequest) -> None:
        if fault := operations.forbidden(request):
            raise ForbiddenOperationError(fault)
        if kind_of(request.apiVersion, request.kind) is None:
            raise ForbiddenOperationError(f"{request.apiVersion} {request.kind} has no entry in the table of kinds")

    async def _send(self, request: OperationRequest, *, dry_run: bool) -> dict[str, Any]:
        self._check(request)
        kind = kind_of(request.apiVersion, request.kind)
        assert kind is not None
        match request.verb:
            case "patch":
                assert request.body is not None
                assert request.patchType is not None
                return await self.cluster.patch(
                    kind,
                    request.namespace,
                    request.name,
                    request.body,
                    patch_type=request.patchType,
                    subresource=request.subresource,
                    dry_run=dry_run,
                    as_user=self._user,
                )
            case "create" | "job":
                return await self.cluster.create(kind, request.namespace, self._marked(request.body), dry_run=dry_run, as_user=self._user)
            case "delete":
                return await self.cluster.delete(
                    kind,
                    request.namespace,
                    request.name,
                    uid=request.uid,
                    grace_seconds=request.gracePeriodSeconds,
                    dry_run=dry_run,
                    as_user=self._user,
                )
            case "evict":
                eviction = {
                    "apiVersion": "policy/v1",
                    "kind": "Eviction",
                    "metadata": {"name": request.name, "namespace": request.namespace},
                    "deleteOptions": {"preconditions": {"uid": request.uid}, "gracePeriodSeconds": request.gracePeriodSeconds},
                }
                return await self.cluster.create(
                    kind, request.namespace, eviction, name=request.name, subresource="eviction", dry_run=dry_run, as_user=self._user
                )

    def _marked(self, body: dict[str, Any] | list[dict[str, Any]] | None) -> dict[str, Any]:
        """Mark an object as made by this attempt, so that a repeated creation is recognised."""
        assert isinstance(body, dict)
        metadata = dict(body.get("metadata") or {})
        metadata["annotations"] = {**(metadata.get("annotations") or {}), ATTEMPT_ANNOTATION: self.attempt_uid}
        return {**body, "metadata": metadata}
