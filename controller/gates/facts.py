"""The one choke point for reads that gates ask for: allow-listed kinds, capped sizes, one deadline, Secrets as digests.

A read that fails is an answer too: `{"available": false, "reason": …}`, which proves nothing. A 404 is knowledge:
`{"available": true, "found": false}`.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Protocol

from cachetools import TTLCache

from controller.cluster.client import Cluster
from controller.cluster.errors import ApiError, ForbiddenError, NotFoundError
from controller.cluster.kinds import ACCESS_REVIEW, Kind, kind_of
from controller.core.errors import ControllerError
from controller.core.names import service_account_user
from controller.core.times import stamp
from controller.core.verdict import FactRequest, OperationRequest
from controller.execute.operations import Operator

Fact = dict[str, Any]

LIST_LIMIT = 1000
_CACHED_SECONDS = {"Node": 5.0, "Namespace": 5.0, "StorageClass": 60.0}
_NEVER_READ = {"Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding", "TokenReview", "SubjectAccessReview"}

# (verb, seconds) of every read.
ReadObserver = Callable[[str, float], None]


class Ledger(Protocol):
    """What the informers know of other workflows and attempts on one target."""

    def executions(self, target: Mapping[str, str | None]) -> Fact:
        """Count and list the latest attempts on a target."""


class AlertSource(Protocol):
    """Who answers `alerts`; what cannot be known is an answer too, never an error."""

    async def alerts(self, request: FactRequest) -> Fact:
        """List the alerts that fire now."""


class HistorySource(Protocol):
    """Who answers `history`; what cannot be known is an answer too, never an error."""

    async def history(self, request: FactRequest) -> Fact:
        """Tell of former attempts."""


class FactGatherer:
    """Answers fact requests.

    Args:
        cluster: the connection to the API server.
        ledger: who answers `executions`.
        deadline: seconds that one round of reads may take; what is not there then is unavailable (`timeout`).
        observe: told of each read's verb and duration.
        alerts: who answers `alerts`; without one they are not configured.
        history: who answers `history`, likewise.
    """

    def __init__(  # noqa: PLR0913 - one source per verb
        self,
        cluster: Cluster,
        ledger: Ledger,
        *,
        deadline: float,
        observe: ReadObserver,
        alerts: AlertSource | None = None,
        history: HistorySource | None = None,
    ) -> None:
        self._cluster = cluster
        self._ledger = ledger
        self._deadline = deadline
        self._observe = observe
        self._alerts = alerts
        self._history = history
        self._cache: TTLCache[tuple[str | None, str], tuple[float, Fact]] = TTLCache(maxsize=512, ttl=max(_CACHED_SECONDS.values()))

    async def read(self, requests: list[FactRequest], *, identity: str | None, fresh: bool) -> dict[str, Fact]:
        """Answer each request, by id, all at once.

        Args:
            requests: what a gate wants to know.
            identity: user name to read as; None is the controller, "" is nobody (nothing is read).
            fresh: past the cache.
        """
        answers = await asyncio.gather(*(self._answer(request, identity, fresh=fresh) for request in requests))
        return {request.id: answer for request, answer in zip(requests, answers, strict=True)}

    async def _answer(self, request: FactRequest, identity: str | None, *, fresh: bool) -> Fact:
        if identity == "":
            return unavailable("no_service_account", "the action names no ServiceAccount to read as")
        key = (identity, request.model_dump_json(exclude={"id", "optional"}))
        # What an attempt gets by name is the pre-image of its operations: an old one would only be refused by the server.
        lifetime = 0.0 if identity and request.verb == "get" else _CACHED_SECONDS.get(request.kind or "", 0.0)
        if not fresh and lifetime and (kept := self._cache.get(key)) and time.monotonic() - kept[0] < lifetime:
            return kept[1]
        began = time.monotonic()
        try:
            async with asyncio.timeout(self._deadline):
                answer = await self._look_up(request, identity)
        except TimeoutError:
            return unavailable("timeout", f"not read within {self._deadline:g} s")
        except ForbiddenError as exc:
            return unavailable("forbidden", exc.message)
        except ApiError as exc:
            return unavailable("error", str(exc))
        except ControllerError as exc:
            return unavailable("invalid_request", str(exc))
        finally:
            self._observe(request.verb, time.monotonic() - began)
        if lifetime:
            self._cache[key] = (began, answer)
        return answer

    async def _look_up(self, request: FactRequest, identity: str | None) -> Fact:
        match request.verb:
            case "get" | "list":
                kind = _readable(request)
                return await (self._get if request.verb == "get" else self._list)(kind, request, identity)
            case "access":
                return await self._access(request)
            case "preview":
                return await self._preview(request, identity)
            case "executions":
                target = {"apiVersion": request.apiVersion, "kind": request.kind, "namespace": request.namespace, "name": request.name}
                return {"available": True, "found": True, "observedAt": _now(), **self._ledger.executions(target)}
            case "alerts":
                return await self._alerts.alerts(request) if self._alerts else unavailable("not_configured", "there is no Alertmanager")
            case "history":
                return await self._history.history(request) if self._history else unavailable("not_configured", "there is no audit store")

    async def _get(self, kind: Kind, request: FactRequest, identity: str | None) -> Fact:
        if not request.name:
            raise ControllerError(f"fact {request.id!r}: a get needs a name")
        try:
            found = await self._cluster.get(kind, request.namespace, request.name, as_user=identity)
        except NotFoundError:
            return {"available": True, "found": False, "observedAt": _now()}
        return {
            "available": True,
            "found": True,
            "observedAt": _now(),
            "resourceVersion": found["metadata"].get("resourceVersion", ""),
            "object": _masked(kind, found),
        }

    async def _list(self, kind: Kind, request: FactRequest, identity: str | None) -> Fact:
        page = await self._cluster.list(
            kind,
            request.namespace,
            label_selector=request.labelSelector,
            field_selector=request.fieldSelector,
            limit=min(request.limit or LIST_LIMIT, LIST_LIMIT),
            as_user=identity,
        )
        return {
            "available": True,
            "found": True,
            "observedAt": _now(),
            "resourceVersion": page.resource_version,
            "items": [_masked(kind, item) for item in page.items],
            "truncated": bool(page.more),
        }

    async def _access(self, request: FactRequest) -> Fact:
        user = service_account_user(request.serviceAccount or "")
        namespace = user.split(":")[2]
        attributes = {
            "verb": request.accessVerb,
            "group": request.group or "",
            "resource": request.resource,
            "subresource": request.subresource,
            "namespace": request.namespace,
            "name": request.name,
        }
        review = await self._cluster.create(
            ACCESS_REVIEW,
            None,
            {
                "apiVersion": ACCESS_REVIEW.api_version,
                "kind": ACCESS_REVIEW.kind,
                "spec": {
                    "user": user,
                    "groups": ["system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated"],
                    "resourceAttributes": {key: value for key, value in attributes.items() if value},
                },
            },
        )
        status = review.get("status") or {}
        allowed = bool(status.get("allowed")) and not status.get("denied")
        return {"available": True, "found": True, "observedAt": _now(), "allowed": allowed, "reason": status.get("reason", "")}

    async def _preview(self, request: FactRequest, identity: str | None) -> Fact:
        if identity is None:
            raise ControllerError(f"fact {request.id!r}: only the gates of an attempt may ask for a preview")
        try:
            wanted = OperationRequest.model_validate(request.request or {})
        except ValueError as exc:
            raise ControllerError(f"fact {request.id!r}: the request to preview is malformed: {exc}") from exc
        operator = Operator(self._cluster, identity.rsplit(":", 1)[1])
        try:
            found = await operator.rehearse(wanted)
        except NotFoundError:
            return {"available": True, "found": False, "observedAt": _now()}
        kind = kind_of(wanted.apiVersion, wanted.kind)
        assert kind is not None
        return {"available": True, "found": True, "observedAt": _now(), "object": _masked(kind, found)}


def _readable(request: FactRequest) -> Kind:
    kind = kind_of(request.apiVersion or "", request.kind or "")
    if kind is None or kind.kind in _NEVER_READ:
        raise ControllerError(f"fact {request.id!r}: {request.apiVersion} {request.kind} is not among the kinds that gates may read")
    return kind


def unavailable(reason: str, message: str) -> Fact:
    """What is unknown, with the reason in one word, and in words for people."""
    return {"available": False, "reason": reason, "message": message[:1024], "observedAt": _now()}


def _masked(kind: Kind, found: dict[str, Any]) -> dict[str, Any]:
    """Leave out what no rule needs, and replace every value of a Secret by its digest."""
    metadata = {key: value for key, value in found["metadata"].items() if key != "managedFields"}
    if kind.kind != "Secret":
        return {**found, "metadata": metadata}
    annotations = {k: v for k, v in (metadata.get("annotations") or {}).items() if k != "kubectl.kubernetes.io/last-applied-configuration"}
    digests = {key: f"sha256:{hashlib.sha256(str(value).encode()).hexdigest()}" for key, value in (found.get("data") or {}).items()}
    return {**found, "metadata": {**metadata, "annotations": annotations}, "data": digests, "stringData": {}}


def _now() -> str:
    return stamp(datetime.now(UTC))
