"""Reading alerts over real HTTP, from a server that speaks Alertmanager's documented API: what it says, and all that it may do wrong."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any

import pytest
from aiohttp import web
from support.alertmanager import alert, never, serving

from controller.cluster.client import Cluster, Configuration
from controller.core.errors import ControllerError
from controller.core.verdict import FactRequest
from controller.gates.alerts import MOST_ALERTS, Alertmanager
from controller.gates.facts import Fact, FactGatherer

Document = dict[str, Any]

SECRET = "t0p/secret"
SECRET_IN_URL = "t0p%2Fsecret"


async def read(url: str, *, deadline: float = 5, **request: Any) -> Fact:
    async with Alertmanager(lambda: url, deadline=deadline) as alertmanager:
        return await alertmanager.alerts(FactRequest.model_validate({"id": "it", "verb": "alerts", **request}))


def said(fact: Fact) -> tuple[bool, str]:
    return fact["available"], fact["reason"]


async def test_an_alert_is_answered_without_what_no_rule_needs() -> None:
    async with serving(alert("Slow")) as server:
        got = await read(f"http://{server.address}")
    assert (got["available"], got["found"], got["truncated"]) == (True, True, False)
    assert got["items"] == [
        {
            "fingerprint": "fp-Slow",
            "startsAt": "2026-01-01T00:00:00.000Z",
            "labels": {"alertname": "Slow", "namespace": "shop"},
            "annotations": {"summary": "s" * 256, "description": "it is slow"},
            "status": {"state": "active"},
        }
    ]


async def test_only_alerts_that_reach_somebody_are_asked_for() -> None:
    async with serving() as server:
        got = await read(f"http://{server.address}")
    assert (got["available"], got["items"]) == (True, [])
    assert dict(server.asked[0].query) == {"active": "true", "silenced": "false", "inhibited": "false"}


async def test_matchers_are_sent_one_by_one() -> None:
    shop, bank, other = (alert(ns, labels={"namespace": ns, "severity": "page, now"}) for ns in ("shop", "bank", "other"))
    async with serving(shop, bank, other) as server:
        got = await read(f"http://{server.address}", labelSelector='namespace=~"shop|bank" , severity="page, now"')
    assert [item["labels"]["namespace"] for item in got["items"]] == ["shop", "bank"]
    assert server.asked[0].query.getall("filter") == ['namespace=~"shop|bank"', 'severity="page, now"']


@pytest.mark.parametrize("selector", ["namespace=shop", 'namespace="shop",', 'namespace="shop" severity="page"', "{}", '="shop"'])
async def test_what_is_no_list_of_matchers_is_never_sent(selector: str) -> None:
    async with serving() as server:
        with pytest.raises(ControllerError, match="fact 'it': its labelSelector is no list of matchers"):
            await read(f"http://{server.address}", labelSelector=selector)
    assert server.asked == []


async def test_matchers_that_the_server_does_not_understand_are_named() -> None:
    async with serving() as server:
        got = await read(f"http://{server.address}", labelSelector='namespace!="shop"')
    assert (said(got), got["message"]) == (
        (False, "error"),
        f"the Alertmanager http://{server.address} answered 400: it does not understand the matchers",
    )


async def test_of_too_many_alerts_the_newest_are_answered() -> None:
    many = [alert(f"A{n}", f"2026-01-01T{n // 60:02}:{n % 60:02}:00.000Z") for n in range(MOST_ALERTS + 1)]
    async with serving(*many) as server:
        got = await read(f"http://{server.address}")
    assert (len(got["items"]), got["truncated"]) == (MOST_ALERTS, True)
    assert [got["items"][0]["labels"]["alertname"], got["items"][-1]["labels"]["alertname"]] == [f"A{MOST_ALERTS}", "A1"]


async def test_the_newest_are_told_by_time_not_by_text() -> None:
    async with serving(alert("Old", "2026-01-01T12:00:00+02:00"), alert("New", "2026-01-01T11:00:00.5Z")) as server:
        got = await read(f"http://{server.address}")
    assert [item["labels"]["alertname"] for item in got["items"]] == ["New", "Old"]


async def test_a_server_below_a_prefix_is_found_with_and_without_a_slash() -> None:
    async with serving(alert("Slow"), path="/am/api/v2/alerts") as server:
        assert [len((await read(f"http://{server.address}/am{end}"))["items"]) for end in ("", "/")] == [1, 1]


async def test_a_server_that_is_too_slow_is_unknown() -> None:
    async with serving(reply=never) as server:
        got = await read(f"http://{server.address}", deadline=0.2)
    assert (said(got), got["message"]) == ((False, "timeout"), f"the Alertmanager http://{server.address} gave no answer within 0.2 s")


async def test_a_server_that_trickles_is_too_slow() -> None:
    async def trickle(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b" ")
            await asyncio.sleep(0.05)

    async with serving(reply=trickle) as server:
        assert said(await read(f"http://{server.address}", deadline=0.3)) == (False, "timeout")


@pytest.mark.parametrize("status", [500, 503, 401, 404, 204])
async def test_a_server_that_does_not_answer_with_200_is_unknown(status: int) -> None:
    async def fail(_: web.Request) -> web.StreamResponse:
        return web.Response(status=status, text="secret words of the server")

    async with serving(reply=fail) as server:
        got = await read(f"http://{server.address}")
    assert (said(got), got["message"]) == ((False, "error"), f"the Alertmanager http://{server.address} answered {status}")


@pytest.mark.parametrize("headers", [{}, {"Content-Length": str(6 << 20)}])
async def test_of_an_answer_of_5_mib_only_the_beginning_is_read(headers: dict[str, str]) -> None:
    async def flood(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers=headers)
        await response.prepare(request)
        for _ in range(5):
            await response.write(b" " * (1 << 20))
        await asyncio.Event().wait()
        raise AssertionError

    async with serving(reply=flood) as server:
        got = await read(f"http://{server.address}")
    assert said(got) == (False, "too_large")
    assert "1 MiB" in got["message"]


@pytest.mark.parametrize(
    "body",
    [
        b"[{",
        b"",
        b"\xff\xfe",
        b"[" * 100_000,
        b"null",
        b'{"status": "success", "data": []}',
        b"[7]",
        json.dumps([alert("A", "yesterday")]).encode(),
        json.dumps([alert("A", "2026-01-01T00:00:00")]).encode(),
        json.dumps([alert("A", startsAt=7)]).encode(),
        json.dumps([alert("A"), alert("B", labels=None)]).encode(),
        json.dumps([alert("A", labels={"namespace": 7})]).encode(),
        json.dumps([alert("A", annotations=[])]).encode(),
        json.dumps([alert("A", fingerprint=None)]).encode(),
        json.dumps([alert("A", status="active")]).encode(),
        b'[{"fingerprint": "x", "labels": {}, "annotations": {}, "status": {}}]',
    ],
)
async def test_of_an_answer_that_is_malformed_in_any_place_nothing_is_concluded(body: bytes) -> None:
    async def malformed(_: web.Request) -> web.StreamResponse:
        return web.Response(body=body, content_type="application/json")

    async with serving(reply=malformed) as server:
        assert said(await read(f"http://{server.address}")) == (False, "malformed")


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_a_redirect_is_not_followed_and_carries_no_credentials_away(status: int) -> None:
    async with serving(alert("Elsewhere")) as elsewhere:

        async def move(_: web.Request) -> web.StreamResponse:
            return web.Response(status=status, headers={"Location": f"http://{elsewhere.address}/api/v2/alerts"})

        async with serving(reply=move) as server:
            got = await read(f"http://zoe:{SECRET_IN_URL}@{server.address}")
    assert said(got) == (False, "redirected")
    assert elsewhere.asked == []
    assert_no_credentials(got)


async def test_credentials_of_the_url_are_sent_and_told_to_nobody(caplog: pytest.LogCaptureFixture) -> None:
    async with serving(alert("Slow")) as server:
        got = await read(f"http://zoe:{SECRET_IN_URL}@{server.address}")
    assert got["available"] is True
    assert server.asked[0].headers["Authorization"] == "Basic " + base64.b64encode(f"zoe:{SECRET}".encode()).decode()
    assert "@" not in str(server.asked[0].url)
    assert_no_credentials(got)
    assert SECRET not in caplog.text


async def test_without_credentials_none_are_sent() -> None:
    async with serving() as server:
        await read(f"http://{server.address}")
    assert "Authorization" not in server.asked[0].headers


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://zoe:{secret}@127.0.0.1:1", "unreachable"),
        ("http://zoe:{secret}@nowhere.invalid", "unreachable"),
        ("https://zoe:{secret}@{address}", "unreachable"),
        ("http://zoe:{secret}@127.0.0.1:99999", "unreachable"),
        ("http://zoe:{secret}@", "unreachable"),
        ("http://zoe:{secret}@[::1", "invalid_url"),
        ("http://zoe:t0p/secret@127.0.0.1:1", "invalid_url"),
        ("http://zoe:t0p?secret@127.0.0.1:1", "invalid_url"),
        ("http://zoe:t0p#secret@127.0.0.1:1", "invalid_url"),
    ],
)
async def test_a_url_that_leads_nowhere_is_told_without_its_credentials(url: str, reason: str) -> None:
    async with serving() as server:
        got = await read(url.format(secret=SECRET_IN_URL, address=server.address))
    assert said(got) == (False, reason)
    assert_no_credentials(got)


def assert_no_credentials(fact: Fact) -> None:
    text = json.dumps(fact)
    assert not [word for word in ("zoe", "t0p", "secret") if word in text], text


async def test_the_url_is_asked_for_before_each_read() -> None:
    url = ""
    async with serving(alert("Slow")) as server, Alertmanager(lambda: url, deadline=5) as alertmanager:
        wanted = FactRequest(id="it", verb="alerts")
        before = await alertmanager.alerts(wanted)
        url = f"http://{server.address}"
        after = await alertmanager.alerts(wanted)
        url = ""
        again = await alertmanager.alerts(wanted)
    assert said(before) == said(again) == (False, "not_configured")
    assert len(after["items"]) == 1


async def test_a_gate_s_request_reaches_the_alertmanager_and_what_is_no_matcher_is_an_answer_too() -> None:
    class Ledger:
        """Nobody asks it."""

        def executions(self, target: Any) -> Document:
            raise AssertionError(target)

    seen: list[str] = []
    async with (
        serving(alert("Slow")) as server,
        Alertmanager(lambda: f"http://{server.address}", deadline=5) as alertmanager,
        Cluster(Configuration(host="http://127.0.0.1:1")) as cluster,
    ):
        facts = FactGatherer(cluster, Ledger(), deadline=5, observe=lambda verb, _: seen.append(verb), alerts=alertmanager)
        good = FactRequest(id="good", verb="alerts", labelSelector='namespace="shop"')
        bad = FactRequest(id="bad", verb="alerts", labelSelector="namespace in (shop)")
        got = await facts.read([good, bad], identity=None, fresh=False)
    assert [item["labels"]["alertname"] for item in got["good"]["items"]] == ["Slow"]
    assert said(got["bad"]) == (False, "invalid_request")
    assert seen == ["alerts", "alerts"]
