"""Health says what is wrong and what to do; metrics answer only those who may see them."""

from __future__ import annotations

import asyncio
import socket
import time
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from controller.cluster.client import Cluster, Configuration
from controller.observe.health import (
    HealthChecks,
    ListenError,
    TokenGuard,
    Trouble,
    health_app,
    host_and_port,
    loop_check,
    metrics_app,
    serve,
)
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


async def test_an_event_loop_lives_while_it_comes_round_and_is_dead_when_it_is_stuck() -> None:
    check, pulse = loop_check(longest_lag=0.3, beat_every=0.01)
    for _ in range(10):
        await asyncio.sleep(0.05)
        assert check() is None
    time.sleep(0.4)  # noqa: ASYNC251 - it shall be stuck
    trouble = check()
    assert trouble is not None
    assert "event loop" in trouble.why
    await asyncio.sleep(0.05)
    assert check() is None
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
        with pytest.raises(ListenError, match=f"cannot listen on '{address}'"):
            await serve(web.Application(), address)


@pytest.mark.parametrize(
    ("address", "parts"),
    [("127.0.0.1:8080", ("127.0.0.1", 8080)), (":8080", ("", 8080)), ("[::1]:0", ("::1", 0)), ("localhost:65535", ("localhost", 65535))],
)
def test_an_address_is_a_host_and_a_port(address: str, parts: tuple[str, int]) -> None:
    assert host_and_port(address) == parts


@pytest.mark.parametrize("address", ["nonsense", "8080", "localhost:", "localhost:65536", "localhost:-1", "http://localhost:8080", ""])
def test_what_is_no_address_is_said_with_one_that_would_be(address: str) -> None:
    with pytest.raises(ValueError, match=r"is no host:port; one would be 127\.0\.0\.1:8080"):
        host_and_port(address)
