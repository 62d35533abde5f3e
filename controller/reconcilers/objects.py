"""Writing our own objects: one guarded write each, and the answer goes into the cache at once (read your own writes)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from controller.cluster.client import Cluster
from controller.cluster.errors import ConflictError, NotFoundError
from controller.cluster.informer import Informer

Document = dict[str, Any]

# The index of executions by the uid of the workflow that owns them.
BY_OWNER = "owner"


@dataclass(frozen=True, slots=True)
class Objects:
    """The objects of one kind: the informer's cache to read from, the API server to write to."""

    cluster: Cluster
    informer: Informer

    def cached(self, namespace: str, name: str) -> Document | None:
        """What the cache shows, which may be old; the guards of every write make that harmless."""
        return self.informer.get(namespace, name)

    async def live(self, namespace: str, name: str) -> Document | None:
        """Read past the cache; None if there is no such object."""
        try:
            found = await self.cluster.get(self.informer.kind, namespace, name)
        except NotFoundError:
            return None
        self.informer.put(found)
        return found

    async def write_status(self, obj: Document, status: Document) -> Document:
        """Replace an object's status, guarded by its resourceVersion.

        Raises:
            ConflictError: our copy was old; the newer one is in the cache now, so the reconcile can begin again.
        """
        metadata = obj["metadata"]
        kind = self.informer.kind
        body = {
            "apiVersion": kind.api_version,
            "kind": kind.kind,
            "metadata": {key: metadata[key] for key in ("name", "namespace", "uid", "resourceVersion")},
            "status": status,
        }
        try:
            written = await self.cluster.replace(kind, metadata["namespace"], metadata["name"], body, subresource="status")
        except ConflictError:
            await self.live(metadata["namespace"], metadata["name"])
            raise
        self.informer.put(written)
        return written

    async def patch_metadata(self, obj: Document, metadata: Document) -> Document:
        """Merge into an object's metadata, guarded by its resourceVersion."""
        own = obj["metadata"]
        body = {"metadata": {**metadata, "resourceVersion": own["resourceVersion"]}}
        try:
            written = await self.cluster.patch(self.informer.kind, own["namespace"], own["name"], body, patch_type="merge")
        except ConflictError:
            await self.live(own["namespace"], own["name"])
            raise
        self.informer.put(written)
        return written
