"""Hands the current bundle to OPA over loopback, the moment it changes, and hears from it what it made of it.

OPA's own long poll does the waiting: it sends the ETag of what it has and how long it is willing to wait, and is answered when
there is something newer. An OPA that restarts empty sends no ETag and is answered at once.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import Any

from aiohttp import web

from controller.observe import health, logs
from controller.policy.bundle import Bundle

log = logs.events(__name__)

BUNDLE_NAME = "kubernaut"
BUNDLE_PATH = "/bundles/kubernaut.tar.gz"
STATUS_PATH = "/status"

StatusObserver = Callable[[str, list[str]], None]
"""Called with the revision that OPA has active (empty: none) and what it could not activate."""

# With this content type OPA goes on long polling; with any other it falls back to its polling interval.
_HEADERS = {"Content-Type": "application/vnd.openpolicyagent.bundles"}
_WAIT = re.compile(r"\bwait=(\d+)")
_LONGEST_WAIT = 300.0
_FIRST_SET_WAIT = 2.0
_LONGEST_STATUS = 4 << 20


class BundleServer:
    """Serves at most one bundle: the newest one that was published."""

    def __init__(self, observer: StatusObserver | None = None) -> None:
        self.observer = observer
        self._bundle: Bundle | None = None
        self._errors: list[str] = []
        self._changed = asyncio.Event()
        self._runner: web.AppRunner | None = None

    @property
    def revision(self) -> str | None:
        """The revision that is served."""
        return self._bundle.revision if self._bundle else None

    def publish(self, bundle: Bundle) -> None:
        """Serve this one from now on; every OPA that waits is answered."""
        self._bundle = bundle
        self._changed.set()
        self._changed = asyncio.Event()

    def app(self) -> web.Application:
        """The routes, for a server of one's own."""
        app = web.Application(client_max_size=_LONGEST_STATUS)
        app.add_routes([web.get(BUNDLE_PATH, self._answer_bundle), web.post(STATUS_PATH, self._take_status)])
        return app

    async def start(self, address: str) -> None:
        """Listen on ``host:port``, a loopback address."""
        self._runner = await health.serve(self.app(), address)

    async def stop(self) -> None:
        """Stop listening; whoever waits is cut off."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _answer_bundle(self, request: web.Request) -> web.Response:
        known = request.headers.get("If-None-Match", "").strip('W/"')
        if known:
            # OPA names what it has. Its status plugin stays silent as long as nothing changes, which may be long after our restart.
            self._tell(known, [] if known == self.revision else self._errors)
        wait = _WAIT.search(request.headers.get("Prefer", ""))
        patience = min(float(wait[1]), _LONGEST_WAIT) if wait else 0.0
        if self._bundle is None:
            # Before the first set OPA may send no wish to wait; a short hold saves its backoff.
            patience = max(patience, _FIRST_SET_WAIT)
        bundle = await self._newer_than(known, patience)
        if bundle is None:
            return web.Response(status=503, text="no policy set is ready yet\n", headers={"Retry-After": "1"})
        headers = {**_HEADERS, "ETag": f'"{bundle.revision}"'}
        if bundle.revision == known:
            return web.Response(status=304, headers=headers)
        return web.Response(body=bundle.content, headers=headers)

    async def _newer_than(self, known: str, patience: float) -> Bundle | None:
        try:
            async with asyncio.timeout(patience):
                while self._bundle is None or self._bundle.revision == known:
                    await self._changed.wait()
        except TimeoutError:
            pass
        return self._bundle

    async def _take_status(self, request: web.Request) -> web.Response:
        try:
            document = await request.json()
            bundle = (document.get("bundles") or {}).get(BUNDLE_NAME) or {}
            revision, errors = str(bundle.get("active_revision") or ""), _errors(bundle)
        except (ValueError, AttributeError):
            return web.Response(status=400, text="this is no OPA status document\n")
        if errors:
            log.warning("opa_refused_bundle", revision=revision, errors=errors)
        self._tell(revision, errors)
        return web.Response(status=204)

    def _tell(self, revision: str, errors: list[str]) -> None:
        self._errors = errors
        if self.observer is not None:
            self.observer(revision, errors)


def _errors(bundle: dict[str, Any]) -> list[str]:
    """What OPA says went wrong; one line each."""
    lines = [str(bundle["message"])] if bundle.get("message") else []
    errors = bundle.get("errors") or []
    return lines + [str(error.get("message", error)) if isinstance(error, dict) else str(error) for error in errors]
