"""Two small HTTP servers: one says whether this process works and what to do if not, the other hands out the metrics.

Health answers anyone. Metrics answer whoever presents a token that the API server recognises (TokenReview) and whose user may
`get` the non-resource URL /metrics (SubjectAccessReview).
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from aiohttp import web
from cachetools import TTLCache

from controller.cluster.client import Cluster
from controller.cluster.errors import ApiError
from controller.cluster.kinds import ACCESS_REVIEW, TOKEN_REVIEW
from controller.core.errors import PermanentError
from controller.observe import logs
from controller.observe.metrics import CONTENT_TYPE, Metrics

log = logs.events(__name__)

_HIGHEST_PORT = 65535


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why a check is false, and the way out."""

    why: str
    remedy: str


Check = Callable[[], Trouble | None]
"""Looks at what is known already (no I/O); None means fine."""


class HealthChecks:
    """Named checks: ``live`` ones decide whether the process should be restarted, ``ready`` ones whether it can do its work."""

    def __init__(self) -> None:
        self._live: dict[str, Check] = {}
        self._ready: dict[str, Check] = {}

    def add_live(self, name: str, check: Check) -> None:
        """A check whose failure only a restart can cure."""
        self._live[name] = check

    def add_ready(self, name: str, check: Check) -> None:
        """A check that may fail and recover by itself."""
        self._ready[name] = check

    def live_report(self) -> tuple[bool, dict[str, Any]]:
        """Whether all live checks hold, and the document that says so."""
        return _report(self._live)

    def ready_report(self) -> tuple[bool, dict[str, Any]]:
        """Whether all checks hold, and the document that says so."""
        return _report({**self._live, **self._ready})


def health_app(checks: HealthChecks) -> web.Application:
    """``/healthz`` and ``/readyz``, and their old names ``/health`` and ``/ready``."""

    async def live(_: web.Request) -> web.Response:
        return _answer(*checks.live_report())

    async def ready(_: web.Request) -> web.Response:
        return _answer(*checks.ready_report())

    app = web.Application()
    app.add_routes([web.get(path, live) for path in ("/healthz", "/health")])
    app.add_routes([web.get(path, ready) for path in ("/readyz", "/ready")])
    return app


Guard = Callable[[str], Awaitable[int]]
"""Judges a bearer token: 200, 401 or 403; 503 when the API server cannot be asked."""


def metrics_app(metrics: Metrics, guard: Guard | None) -> web.Application:
    """``/metrics``; without a guard it answers anyone, which is what ``--metrics-open`` asks for."""

    async def scrape(request: web.Request) -> web.Response:
        if guard is not None:
            scheme, _, token = request.headers.get("Authorization", "").partition(" ")
            status = await guard(token) if scheme.lower() == "bearer" and token else 401
            if status != web.HTTPOk.status_code:
                return web.Response(status=status, text=_REFUSALS[status])
        return web.Response(body=metrics.exposition(), headers={"Content-Type": CONTENT_TYPE})

    app = web.Application()
    app.add_routes([web.get("/metrics", scrape)])
    return app


_REFUSALS = {
    401: "send a token that this cluster accepts: Authorization: Bearer <token>\n",
    403: "the token's user may not `get` the nonResourceURL /metrics; bind a ClusterRole that allows it\n",
    503: "the API server could not be asked about the token; try again\n",
}


class TokenGuard:
    """Asks the API server about a token; a yes is remembered for a minute, a no for ten seconds."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._allowed: TTLCache[str, int] = TTLCache(256, 60)
        self._refused: TTLCache[str, int] = TTLCache(256, 10)

    async def __call__(self, token: str) -> int:
        """The HTTP status that this token gets."""
        digest = hashlib.sha256(token.encode()).hexdigest()
        known = self._allowed.get(digest) or self._refused.get(digest)
        if known is not None:
            return known
        try:
            status = await self._judge(token)
        except ApiError as exc:
            log.warning("metrics_token_not_reviewed", error=str(exc))
            return 503
        (self._allowed if status == web.HTTPOk.status_code else self._refused)[digest] = status
        return status

    async def _judge(self, token: str) -> int:
        review = await self._cluster.create(TOKEN_REVIEW, None, _review("authentication.k8s.io/v1", "TokenReview", {"token": token}))
        status = review.get("status", {})
        if status.get("authenticated") is not True:
            return 401
        user = status.get("user", {})
        spec = {
            "user": user.get("username", ""),
            "groups": user.get("groups", []),
            "uid": user.get("uid", ""),
            "nonResourceAttributes": {"path": "/metrics", "verb": "get"},
        }
        access = await self._cluster.create(ACCESS_REVIEW, None, _review("authorization.k8s.io/v1", "SubjectAccessReview", spec))
        return 200 if access.get("status", {}).get("allowed") is True else 403


class ListenError(PermanentError):
    """An address could not be listened on."""

    def __init__(self, address: str, cause: OSError) -> None:
        super().__init__(f"cannot listen on {address!r}: {cause}; give a free address as host:port")
        self.address = address


def host_and_port(address: str) -> tuple[str, int]:
    """Host and port of ``host:port``; an empty host means all interfaces.

    Raises:
        ValueError: it is no such address.
    """
    host, colon, port = address.rpartition(":")
    if not colon or "/" in host or not (port.isascii() and port.isdecimal()) or int(port) > _HIGHEST_PORT:
        raise ValueError(f"{address!r} is no host:port; one would be 127.0.0.1:8080")
    return host.strip("[]"), int(port)


async def serve(app: web.Application, address: str) -> web.AppRunner:
    """Serve on ``host:port`` (see ``host_and_port``); ``cleanup()`` of the answer ends it.

    Raises:
        ListenError: the address is taken, or not one of this machine.
    """
    host, port = host_and_port(address)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, host or None, port).start()
    except OSError as exc:
        await runner.cleanup()
        raise ListenError(address, exc) from exc
    return runner


def loop_check(longest_lag: float = 30.0, beat_every: float = 1.0) -> tuple[Check, asyncio.Task[None]]:
    """A live check that fails when the event loop has not come round for ``longest_lag`` seconds; cancel the task to end it.

    (It can only be answered late itself; the kubelet's timeout does the rest.)
    """
    loop = asyncio.get_running_loop()
    beat = [loop.time()]

    async def pulse() -> None:
        while True:
            beat[0] = loop.time()
            await asyncio.sleep(beat_every)

    def check() -> Trouble | None:
        lag = loop.time() - beat[0]
        return Trouble(f"the event loop is {lag:.0f} s late", "restart the process") if lag > longest_lag else None

    return check, asyncio.create_task(pulse(), name="loop pulse")


def _report(checks: dict[str, Check]) -> tuple[bool, dict[str, Any]]:
    troubles = {name: check() for name, check in checks.items()}
    listed = {
        name: {"ok": True} if trouble is None else {"ok": False, "why": trouble.why, "remedy": trouble.remedy}
        for name, trouble in troubles.items()
    }
    fine = all(trouble is None for trouble in troubles.values())
    return fine, {"status": "ok" if fine else "not ok", "checks": listed}


def _answer(fine: bool, document: dict[str, Any]) -> web.Response:  # noqa: FBT001 - the pair is what a report is
    return web.Response(status=200 if fine else 503, text=json.dumps(document, indent=2) + "\n", content_type="application/json")


def _review(api_version: str, kind: str, spec: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": api_version, "kind": kind, "spec": spec}
