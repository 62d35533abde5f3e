"""A small proxy in front of the API server: it counts what passes, can end a process at any request, and lets others meddle.

Two moments matter for a crash: before a request is forwarded (the API server never hears of it), and after it is committed but before
its answer arrives (the API server did it, nobody here knows).
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from typing import Self

import aiohttp
from aiohttp import web

from support.controller import ControllerProcess
from support.planes import kubeconfig

_HOP = {"host", "connection", "transfer-encoding", "content-length", "keep-alive"}


class Moment(StrEnum):
    """When, relative to a request, something happens."""

    BEFORE = "before it is forwarded"
    AFTER = "after it is committed, unanswered"


@dataclass(frozen=True, slots=True)
class Seen:
    """One request that passed."""

    method: str
    path: str
    dry_run: bool


Meddler = Callable[[Seen], Awaitable[int | None]]
"""Called before a counted request is forwarded, to do what others might; a status that it answers is answered instead of the server's."""


@dataclass(slots=True)
class FaultProxy:
    """Forwards to ``server``; ``at`` counts only requests that match ``counted`` (watches and lists of informers never do)."""

    server: str
    counted: re.Pattern[str]
    strike: Callable[[], None] = field(default=lambda: None)
    at: int = -1
    moment: Moment = Moment.BEFORE
    seen: list[Seen] = field(default_factory=list)
    struck: bool = False
    meddler: Meddler | None = None
    _session: aiohttp.ClientSession | None = None
    _runner: web.AppRunner | None = None
    url: str = ""

    async def __aenter__(self) -> Self:
        """Listen on a free port of loopback."""
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context, limit=0), auto_decompress=False)
        app = web.Application(client_max_size=8 << 20)
        app.router.add_route("*", "/{path:.*}", self._forward)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        port = self._runner.addresses[0][1]
        self.url = f"http://127.0.0.1:{port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop listening."""
        if self._runner:
            await self._runner.cleanup()
        if self._session:
            await self._session.close()

    def arm(self, at: int, moment: Moment, strike: Callable[[], None]) -> None:
        """Strike at the ``at``-th counted request from now on."""
        self.seen, self.struck = [], False
        self.at, self.moment, self.strike = at, moment, strike

    def disarm(self) -> None:
        """Strike no more; what was seen stays."""
        self.at = -1

    async def _forward(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        counted = bool(self.counted.search(f"{request.method} {request.path}")) and "watch" not in request.query
        hit = False
        if counted:
            hit = len(self.seen) == self.at and not self.struck
            self.seen.append(Seen(request.method, request.path, "dryRun" in request.query))
            if self.meddler is not None and (status := await self.meddler(self.seen[-1])) is not None:
                reason = {409: "Conflict", 422: "Invalid"}.get(status, "InternalError")
                return web.json_response({"kind": "Status", "code": status, "reason": reason, "message": "meddled with"}, status=status)
        if hit and self.moment is Moment.BEFORE:
            self._hit(request)
            raise ConnectionResetError("struck")
        assert self._session is not None
        headers = {k: v for k, v in request.headers.items() if k.lower() not in _HOP}
        url = f"{self.server}{request.path_qs}"
        async with self._session.request(
            request.method, url, headers=headers, data=body or None, timeout=aiohttp.ClientTimeout(total=None)
        ) as answer:
            if hit:
                await answer.read()
                self._hit(request)
                raise ConnectionResetError("struck")
            response = web.StreamResponse(status=answer.status, headers={k: v for k, v in answer.headers.items() if k.lower() not in _HOP})
            await response.prepare(request)
            async for chunk in answer.content.iter_any():
                await response.write(chunk)
            await response.write_eof()
            return response

    def _hit(self, request: web.Request) -> None:
        self.struck = True
        self.strike()
        if request.transport is not None:
            request.transport.abort()


@asynccontextmanager
async def between(process: ControllerProcess, counted: str, *flags: str, meddler: Meddler | None = None) -> AsyncIterator[FaultProxy]:
    """A proxy between a controller and the API server: the controller is started anew for it, and killed at the end."""
    async with FaultProxy(process.plane.server, re.compile(counted), meddler=meddler) as proxy:
        through = kubeconfig(process.plane.controller_kubeconfig, process.log.with_suffix(".through.yaml"), server=proxy.url)
        await asyncio.to_thread(process.kill)
        try:
            # In a thread, as the proxy answers in this loop.
            await asyncio.to_thread(partial(process.start, *flags, kubeconfig=through))
            yield proxy
        finally:
            await asyncio.to_thread(process.kill)
