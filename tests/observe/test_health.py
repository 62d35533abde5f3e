"""Health says what is wrong and what to do; metrics answer only those who may see them."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from controller.cluster.client import Cluster, Configuration
from controller.observe.health import HealthChecks, TokenGuard, Trouble, health_app, loop_check, metrics_app, serve
from controller.observe.metrics import Metrics


def free_address() -> str:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{sock.getsockname()[1]}"


async def fetched(app: web.Application, path: str, token: str | None = None) -> tuple[int, str]:
    address = free_address()
    runner = await serve(app, address)
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        async with aiohttp.ClientSession() as session, session.get(f"http://{address}{path}", headers=headers) as answer:
            return answer.status, await answer.text()
    finally:
        await runner.cleanup()


@pytest.mark.parametrize(("path", "status"), [("/healthz", 200), ("/health", 200), ("/readyz", 503), ("/ready", 503), ("/", 404)])
async def test_a_false_check_makes_it_unready_but_not_dead(path: str, status: int) -> None:
    checks = HealthChecks()
    checks.add_live("loop", lambda: None)
    checks.add_ready("policy", lambda: Trouble("no policy set is served", "mend gates.rego"))
    found, text = await fetched(health_app(checks), path)
    assert found == status
    if status == 503:
        assert '"policy": {\n      "ok": false,\n      "why": "no policy set is served",\n      "remedy": "mend gates.rego"' in text
        assert '"loop": {\n      "ok": true' in text


async def test_a_stuck_event_loop_is_dead() -> None:
    check, pulse = loop_check(longest_lag=0.05)
    await asyncio.sleep(0)
    assert check() is None
    await asyncio.sleep(0.1)
    trouble = check()
    assert trouble is not None
    assert "event loop" in trouble.why
    pulse.cancel()


async def test_metrics_without_a_guard_answer_anyone() -> None:
    status, text = await fetched(metrics_app(Metrics(), None), "/metrics")
    assert status == 200
    assert "kubernaut_workflowexecution_created_total 0.0" in text


class ReviewingApiServer:
    """The two reviews, as the real API server answers them."""

    def __init__(self) -> None:
        self.reviews = 0

    def app(self) -> web.Application:
        app = web.Application()
        app.add_routes([web.post("/apis/{group}/v1/{plural}", self._review)])
        return app

    async def _review(self, request: web.Request) -> web.Response:
        self.reviews += 1
        spec = (await request.json())["spec"]
        status: dict[str, Any]
        if request.match_info["plural"] == "tokenreviews":
            user = {"username": spec["token"], "groups": ["system:authenticated"]}
            status = {"authenticated": spec["token"] != "forged", "user": user}
        else:
            assert spec["nonResourceAttributes"] == {"path": "/metrics", "verb": "get"}
            status = {"allowed": spec["user"] == "prometheus"}
        return web.json_response({"status": status}, status=201)


@pytest.mark.parametrize(("token", "status"), [("prometheus", 200), ("someone", 403), ("forged", 401), (None, 401)])
async def test_metrics_want_a_token_whose_user_may_read_them(token: str | None, status: int) -> None:
    address = free_address()
    runner = await serve(ReviewingApiServer().app(), address)
    async with Cluster(Configuration(host=f"http://{address}")) as cluster:
        found, _ = await fetched(metrics_app(Metrics(), TokenGuard(cluster)), "/metrics", token)
    await runner.cleanup()
    assert found == status


async def test_answers_are_remembered_and_an_unreachable_api_server_means_503() -> None:
    address = free_address()
    server = ReviewingApiServer()
    runner = await serve(server.app(), address)
    async with Cluster(Configuration(host=f"http://{address}")) as cluster:
        guard = TokenGuard(cluster)
        assert [await guard("prometheus") for _ in range(3)] == [200, 200, 200]
        assert server.reviews == 2
        await runner.cleanup()
        assert await guard("another") == 503
        assert await guard("prometheus") == 200


async def test_an_address_that_is_taken_is_named() -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        address = f"127.0.0.1:{sock.getsockname()[1]}"
        with pytest.raises(OSError, match=f"cannot listen on '{address}'"):
            await serve(web.Application(), address)
