"""The way to the API server: the only importer of `kubernetes`, and the only place where its answers become our errors.

Requests and answers are plain JSON documents. The official client contributes what is tedious and security-relevant: kubeconfig
and in-cluster configuration, token refresh, TLS. Its model objects are left out, because nobody here needs them and building
them costs more than the request.
"""

# ruff: noqa: ASYNC109, PLR0913 - what a request can carry are keywords; a caller passes on what is left of its deadline

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import urlencode, urlsplit

import aiohttp
from kubernetes.aio import config as kube_config
from kubernetes.aio.client import ApiClient, Configuration
from yaml import YAMLError

from controller.cluster.errors import AmbiguousError, ApiError, Attempted, UnreachableError, error_from_answer
from controller.cluster.kinds import Kind
from controller.cluster.limiter import Limiter
from controller.core.errors import PermanentError

Document = dict[str, Any]
PatchBody = dict[str, Any] | list[dict[str, Any]]
PatchType = Literal["json", "merge", "strategic", "apply"]
RequestObserver = Callable[[str, str, int, float, float], None]
"""Called after each request with verb, kind, HTTP status (0: no answer), seconds, and seconds spent in the limiter."""

FIELD_MANAGER = "phasegate"
DEFAULT_TIMEOUT = 10.0
_CONNECT_TIMEOUT = 5.0
_TLS_GOODBYE = 0.02
_LONGEST_ERROR_BODY = 64 * 1024
_CONNECTIONS = 256  # the watches of all informers hold one each; they must not starve ordinary requests
_CONTENT_TYPES: Mapping[PatchType, str] = {
    "json": "application/json-patch+json",
    "merge": "application/merge-patch+json",
    "strategic": "application/strategic-merge-patch+json",
    "apply": "application/apply-patch+yaml",
}


@dataclass(frozen=True, slots=True)
class Page:
    """One answer to a list request; ``more`` is the token for the next page, empty at the end."""

    items: list[Document]
    resource_version: str
    more: str


@dataclass(frozen=True, slots=True)
class _Request:
    """One request, ready to be sent."""

    attempted: Attempted
    method: str
    path: str
    query: Mapping[str, str]
    body: Any = None
    content_type: str = "application/json"


async def connect(
    kubeconfig: Path | str | None = None,
    *,
    context: str | None = None,
    qps: float = 0,
    burst: int = 1,
    observer: RequestObserver | None = None,
    timeout: float = DEFAULT_TIMEOUT,
) -> Cluster:
    """A client from a kubeconfig file; without one, from the pod's ServiceAccount, else from KUBECONFIG or the user's default."""
    configuration = Configuration()
    try:
        if kubeconfig is None and "KUBERNETES_SERVICE_HOST" in os.environ:
            kube_config.load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
        else:
            await kube_config.load_kube_config(  # type: ignore[no-untyped-call]
                config_file=str(kubeconfig) if kubeconfig else None, context=context, client_configuration=configuration
            )
    except (kube_config.ConfigException, OSError, TypeError, AttributeError, ValueError, YAMLError) as exc:
        # The library does not say what it stumbles over in a file that is no kubeconfig.
        source = kubeconfig or "the environment"
        message = f"cannot load the cluster configuration from {source}: {exc}; name a kubeconfig file with --kubeconfig"
        raise PermanentError(message) from exc
    return Cluster(configuration, qps=qps, burst=burst, observer=observer, timeout=timeout)


class Cluster:
    """The API server, as one identity; ``as_user`` on a call borrows another one by impersonation."""

    def __init__(
        self,
        configuration: Configuration,
        *,
        qps: float = 0,
        burst: int = 1,
        observer: RequestObserver | None = None,
        timeout: float = DEFAULT_TIMEOUT,
    ) -> None:
        host = str(configuration.host).rstrip("/")
        configuration.connection_pool_maxsize = _CONNECTIONS
        loopback = urlsplit(host).hostname in {"127.0.0.1", "::1", "localhost"}
        configuration.client_session_kwargs = {"trust_env": not loopback}
        self.server = host
        self._configuration = configuration
        self._api = ApiClient(configuration)
        self._limiter = Limiter(qps, burst)
        self._observer = observer
        self._timeout = timeout

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close every connection; watches end."""
        await self._api.close()  # type: ignore[no-untyped-call]
        # aiohttp's documentation asks for a moment: a TLS connection is closed in the loop's next turns, and a loop that ends before
        # leaves its socket to the garbage collector.
        await asyncio.sleep(_TLS_GOODBYE)

    def limit(self, qps: float, burst: int) -> None:
        """Change the client-side limit from now on; a ``qps`` of 0 turns it off."""
        self._limiter.limit(qps, burst)

    async def get(
        self,
        kind: Kind,
        namespace: str | None,
        name: str,
        *,
        subresource: str | None = None,
        as_user: str | None = None,
        timeout: float | None = None,
    ) -> Document:
        """One object, read live."""
        path = kind.path(namespace, name, subresource)
        return await self._send(_Request(_attempted("get", kind, namespace, name, as_user), "GET", path, {}), timeout)

    async def list(
        self,
        kind: Kind,
        namespace: str | None = None,
        *,
        label_selector: str | None = None,
        field_selector: str | None = None,
        limit: int | None = None,
        more: str | None = None,
        resource_version: str | None = None,
        as_user: str | None = None,
        timeout: float | None = None,
    ) -> Page:
        """One page of a collection; without ``limit`` the whole of it. ``resource_version`` "0" allows the server's cache."""
        query = _query(
            labelSelector=label_selector,
            fieldSelector=field_selector,
            limit=str(limit) if limit else None,
            resourceVersion=resource_version,
        ) | _query(**{"continue": more})
        request = _Request(_attempted("list", kind, namespace, None, as_user), "GET", kind.path(namespace), query)
        document = await self._send(request, timeout or 3 * self._timeout)
        items = document.get("items") or []
        for item in items:
            # Built-in kinds leave these out inside a list; everyone downstream relies on them.
            item["apiVersion"], item["kind"] = kind.api_version, kind.kind
        metadata = document.get("metadata") or {}
        return Page(items, metadata.get("resourceVersion", ""), metadata.get("continue", ""))

    async def create(
        self,
        kind: Kind,
        namespace: str | None,
        body: Document,
        *,
        name: str | None = None,
        subresource: str | None = None,
        dry_run: bool = False,
        as_user: str | None = None,
        field_manager: str = FIELD_MANAGER,
        strict: bool = False,
        timeout: float | None = None,
    ) -> Document:
        """Create an object, or POST to a subresource of ``name`` (an eviction, a binding)."""
        shown = name or body.get("metadata", {}).get("name")
        attempted = _attempted("create", _shown(kind, subresource), namespace, shown, as_user)
        path = kind.path(namespace, name if subresource else None, subresource)
        return await self._send(
            _Request(attempted, "POST", path, _write_query(field_manager, dry_run=dry_run, strict=strict), body), timeout
        )

    async def patch(
        self,
        kind: Kind,
        namespace: str | None,
        name: str,
        body: PatchBody,
        *,
        patch_type: PatchType = "merge",
        subresource: str | None = None,
        dry_run: bool = False,
        as_user: str | None = None,
        field_manager: str = FIELD_MANAGER,
        strict: bool = False,
        force: bool = False,
        timeout: float | None = None,
    ) -> Document:
        """Patch an object or its subresource; ``force`` is for ``apply`` only and takes over conflicting fields."""
        attempted = _attempted("patch", _shown(kind, subresource), namespace, name, as_user)
        query = _write_query(field_manager, dry_run=dry_run, strict=strict)
        if patch_type == "apply" and force:
            query["force"] = "true"
        path = kind.path(namespace, name, subresource)
        return await self._send(_Request(attempted, "PATCH", path, query, body, _CONTENT_TYPES[patch_type]), timeout)

    async def replace(
        self,
        kind: Kind,
        namespace: str | None,
        name: str,
        body: Document,
        *,
        subresource: str | None = None,
        dry_run: bool = False,
        as_user: str | None = None,
        field_manager: str = FIELD_MANAGER,
        strict: bool = False,
        timeout: float | None = None,
    ) -> Document:
        """Replace an object or its subresource; guarded by ``metadata.resourceVersion`` of the body."""
        attempted = _attempted("update", _shown(kind, subresource), namespace, name, as_user)
        path = kind.path(namespace, name, subresource)
        query = _write_query(field_manager, dry_run=dry_run, strict=strict)
        return await self._send(_Request(attempted, "PUT", path, query, body), timeout)

    async def delete(
        self,
        kind: Kind,
        namespace: str | None,
        name: str,
        *,
        uid: str | None = None,
        resource_version: str | None = None,
        grace_seconds: int | None = None,
        propagation: Literal["Background", "Foreground", "Orphan"] | None = None,
        dry_run: bool = False,
        as_user: str | None = None,
        timeout: float | None = None,
    ) -> Document:
        """Delete an object; with ``uid`` only that very one. A different uid answers ConflictError."""
        body: Document = {"kind": "DeleteOptions", "apiVersion": "v1"}
        preconditions = _query(uid=uid, resourceVersion=resource_version)
        if preconditions:
            body["preconditions"] = preconditions
        if grace_seconds is not None:
            body["gracePeriodSeconds"] = grace_seconds
        if propagation is not None:
            body["propagationPolicy"] = propagation
        if dry_run:
            body["dryRun"] = ["All"]
        request = _Request(_attempted("delete", kind, namespace, name, as_user), "DELETE", kind.path(namespace, name), {}, body)
        return await self._send(request, timeout)

    async def watch(
        self,
        kind: Kind,
        namespace: str | None,
        resource_version: str,
        timeout: float,
        *,
        inactivity: float | None = None,
        label_selector: str | None = None,
        field_selector: str | None = None,
    ) -> AsyncGenerator[Document | None, None]:
        """The events after ``resource_version``, bookmarks included, until ``timeout`` seconds are over.

        A line that is no JSON object is yielded as None: the caller decides what a lost event means to it. ``inactivity`` seconds
        without a single byte raise AmbiguousError. Watches are exempt from the client-side limit.
        """
        query = _query(labelSelector=label_selector, fieldSelector=field_selector) | {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": resource_version,
            "timeoutSeconds": str(max(1, int(timeout))),
        }
        request = _Request(_attempted("watch", kind, namespace, None, None), "GET", kind.path(namespace), query)
        limits = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_TIMEOUT, sock_read=inactivity)
        async with self._answer(request, limits, throttled=0.0) as response:
            pending = b""
            try:
                async for chunk in response.content.iter_any():
                    *lines, pending = (pending + chunk).split(b"\n")
                    for line in lines:
                        if line:
                            yield _json_object(line)
            finally:
                # A watch that is given up midway may sit on a dead connection: no polite TLS farewell, which would wait for an answer.
                if response.connection is not None and response.connection.transport is not None:
                    response.connection.transport.abort()

    async def is_ready(self, timeout: float = 2.0) -> bool:
        """Whether the API server says that it can serve."""
        request = _Request(Attempted("get", "/readyz", None, None), "GET", "/readyz", {})
        try:
            async with self._answer(request, aiohttp.ClientTimeout(total=timeout), throttled=0.0):
                return True
        except ApiError:
            return False

    async def _send(self, request: _Request, timeout: float | None) -> Document:
        throttled = await self._limiter.take()
        limits = aiohttp.ClientTimeout(total=timeout or self._timeout, sock_connect=_CONNECT_TIMEOUT)
        async with self._answer(request, limits, throttled) as response:
            raw = await response.read()
        document = _json_object(raw)
        if document is None:
            raise AmbiguousError(request.attempted, status=response.status, reason="Unreadable", message="the answer is not a JSON object")
        return document

    @asynccontextmanager
    async def _answer(self, request: _Request, limits: aiohttp.ClientTimeout, throttled: float) -> AsyncIterator[aiohttp.ClientResponse]:
        """Send, and hand out a 2xx answer; everything else, while it is read too, is one of our errors."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        status = 0
        try:
            url = self.server + request.path + ("?" + urlencode(request.query) if request.query else "")
            response = (
                await self._api.rest_client.request(  # type: ignore[no-untyped-call]
                    request.method, url, headers=await self._headers(request), body=request.body, _request_timeout=limits
                )
            ).response
            async with response:
                status = response.status
                if not response.ok:
                    body = await response.content.read(_LONGEST_ERROR_BODY)
                    raise error_from_answer(request.attempted, status, body, response.headers.get("Retry-After"))
                yield response
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as exc:
            raise _no_answer(UnreachableError, request, exc) from exc
        except (aiohttp.ClientError, TimeoutError, OSError) as exc:
            status = 0
            raise _no_answer(AmbiguousError, request, exc) from exc
        finally:
            if self._observer is not None:
                self._observer(request.attempted.verb, request.attempted.kind, status, loop.time() - began, throttled)

    async def _headers(self, request: _Request) -> dict[str, str]:
        self._forbid_blind_repeats()
        headers = {"Accept": "application/json", "User-Agent": FIELD_MANAGER, "Content-Type": request.content_type}
        token = await self._configuration.get_api_key_with_prefix("BearerToken", alias="authorization")
        if token:
            headers["Authorization"] = token if token.lower().startswith("bearer ") else f"Bearer {token}"
        if request.attempted.as_user:
            headers["Impersonate-User"] = request.attempted.as_user
        return headers

    def _forbid_blind_repeats(self) -> None:
        rest = self._api.rest_client
        if rest.pool_manager is None:
            rest.pool_manager = rest._create_pool_manager()  # noqa: SLF001 - the seam it documents for subclasses
            # aiohttp silently repeats a PUT or DELETE when a kept-alive connection breaks; whether a write is sent again is
            # decided by the write protocol alone (docs: protocol.md), never by the transport.
            rest.pool_manager._retry_connection = False  # noqa: SLF001 - there is no public switch


def _attempted(verb: str, kind: Kind | str, namespace: str | None, name: str | None, as_user: str | None) -> Attempted:
    return Attempted(verb, kind if isinstance(kind, str) else kind.kind, namespace, name, as_user)


def _shown(kind: Kind, subresource: str | None) -> str:
    return f"{kind.kind}/{subresource}" if subresource else kind.kind


def _query(**parameters: str | None) -> dict[str, str]:
    return {key: value for key, value in parameters.items() if value is not None}


def _write_query(field_manager: str, *, dry_run: bool, strict: bool) -> dict[str, str]:
    return _query(fieldManager=field_manager, dryRun="All" if dry_run else None, fieldValidation="Strict" if strict else None)


def _no_answer(error: type[ApiError], request: _Request, exc: Exception) -> ApiError:
    return error(request.attempted, status=0, reason=type(exc).__name__, message=str(exc) or "no answer in time")


def _json_object(raw: bytes) -> Document | None:
    try:
        document = json.loads(raw)
    except ValueError:
        return None
    return document if isinstance(document, dict) else None
