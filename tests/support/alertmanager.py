"""An Alertmanager for tests: a real HTTP server that speaks the documented API v2 as far as alerts are read."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

Document = dict[str, Any]
Reply = Callable[[web.Request], Awaitable[web.StreamResponse]]

_MATCHER = re.compile(r'^(\w+)\s*(=~|=)\s*"(.*)"$')


def alert(name: str, began: str = "2026-01-01T00:00:00.000Z", **more: Any) -> Document:
    """One alert as the API's `gettableAlert` has it."""
    return {
        "labels": {"alertname": name, "namespace": "shop"},
        "annotations": {"summary": "s" * 300, "description": "it is slow", "runbook_url": "http://runbooks.example"},
        "receivers": [{"name": "default"}],
        "startsAt": began,
        "updatedAt": began,
        "endsAt": "2026-01-01T01:00:00.000Z",
        "generatorURL": "http://prometheus.example/graph",
        "fingerprint": f"fp-{name}",
        "status": {"state": "active", "silencedBy": [], "inhibitedBy": []},
        **more,
    }


@dataclass
class Server:
    """An Alertmanager with these alerts; it keeps what it was asked. ``reply`` answers in its place."""

    found: list[Document] = field(default_factory=list)
    reply: Reply | None = None
    asked: list[web.Request] = field(default_factory=list)
    address: str = ""

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """The alerts that meet every matcher; 400 where one is no matcher."""
        self.asked.append(request)
        if self.reply:
            return await self.reply(request)
        matchers = [_MATCHER.match(one) for one in request.query.getall("filter", [])]
        if not all(matchers):
            return web.json_response("bad matcher format", status=400)
        return web.json_response([one for one in self.found if all(_meets(one["labels"], m) for m in matchers if m)])


async def never(_: web.Request) -> web.StreamResponse:
    """A reply that does not come."""
    await asyncio.Event().wait()
    raise AssertionError


def _meets(labels: dict[str, str], matcher: re.Match[str]) -> bool:
    name, sign, value = matcher.groups()
    return bool(re.fullmatch(value, labels.get(name, ""))) if sign == "=~" else labels.get(name, "") == value


@asynccontextmanager
async def serving(*found: Document, reply: Reply | None = None, path: str = "/api/v2/alerts") -> AsyncIterator[Server]:
    """A server with these alerts on a free port of loopback."""
    server = Server(list(found), reply)
    app = web.Application()
    app.router.add_get(path, server.answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    server.address = f"127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield server
    finally:
        await runner.cleanup()
