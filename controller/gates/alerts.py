"""Alerts of an Alertmanager, over its HTTP API v2: who answers the fact verb `alerts`.

The answer holds at most 500 alerts, the newest first, as the Alertmanager has them: neither silenced nor inhibited. A request may narrow
them by ``labelSelector``, which is read as Alertmanager's matchers: `namespace=~"shop|bank",severity="page"`, values always in quotes.

Whatever goes wrong is `{"available": false, "reason": …}`: `not_configured`, `invalid_request`, `invalid_url`, `timeout`, `unreachable`,
`redirected`, `error`, `too_large` or `malformed`. Credentials of the URL are sent to its host and told to nobody.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, Self
from urllib.parse import unquote, urlsplit

import aiohttp

from controller.core.errors import ControllerError
from controller.core.times import stamp
from controller.core.verdict import FactRequest
from controller.gates.facts import Fact, unavailable

MOST_ALERTS = 500
_MOST_BYTES = 1 << 20
_CONNECTIONS = 4
_SHOWN = {"summary", "description"}
_LONGEST_ANNOTATION = 256
_ACTIVE = (("active", "true"), ("silenced", "false"), ("inhibited", "false"))
_MATCHER = re.compile(r'\s*([a-zA-Z_][a-zA-Z0-9_]*\s*(?:=~|!~|!=|=)\s*"(?:[^"\\]|\\.)*")\s*(,|$)')


class _AnswerError(Exception):
    """The Alertmanager did not answer as it should; ``reason`` as the fact says it."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class Alertmanager:
    """Reads the alerts that fire now.

    Args:
        url: asked before each read for where the Alertmanager is, `http(s)://[user:password@]host[:port][/prefix]`; "" is nowhere.
        deadline: seconds that one read may take.
    """

    def __init__(self, url: Callable[[], str], *, deadline: float) -> None:
        self._url = url
        self._deadline = aiohttp.ClientTimeout(total=deadline)
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close every connection."""
        if self._session:
            await self._session.close()

    async def alerts(self, request: FactRequest) -> Fact:
        """Answer `{available, found, observedAt, items[], truncated}`, or why not."""
        url = self._url()
        if not url:
            return unavailable("not_configured", "the setting alertmanager-url is empty")
        query = [*_ACTIVE, *(("filter", matcher) for matcher in _matchers(request))]
        host = "of the setting alertmanager-url"
        try:
            where, host, credentials = _parts(url)
            alerts = _alerts(await self._get(where, query, credentials))
        except _AnswerError as exc:
            return unavailable(exc.reason, f"the Alertmanager {host} {exc}")
        except TimeoutError:
            return unavailable("timeout", f"the Alertmanager {host} gave no answer within {self._deadline.total:g} s")
        except (aiohttp.ClientError, OSError, ValueError) as exc:
            # The texts of these errors may quote the whole URL.
            return unavailable("unreachable", f"the Alertmanager {host} cannot be reached ({type(exc).__name__})")
        alerts.sort(key=_began, reverse=True)
        return {
            "available": True,
            "found": True,
            "observedAt": stamp(datetime.now(UTC)),
            "items": [_item(alert) for alert in alerts[:MOST_ALERTS]],
            "truncated": len(alerts) > MOST_ALERTS,
        }

    async def _get(self, url: str, query: list[tuple[str, str]], credentials: dict[str, str]) -> bytes:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=_CONNECTIONS), cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False
            )
        # Packed, the limit would have to count what is unpacked. A redirect could carry the credentials anywhere.
        headers = {"Accept": "application/json", "Accept-Encoding": "identity", **credentials}
        async with self._session.get(url, params=query, headers=headers, timeout=self._deadline, allow_redirects=False) as response:
            if HTTPStatus.MULTIPLE_CHOICES <= response.status < HTTPStatus.BAD_REQUEST:
                raise _AnswerError("redirected", f"answered {response.status}: it is elsewhere, and redirects are not followed")
            if response.status == HTTPStatus.BAD_REQUEST:
                raise _AnswerError("error", "answered 400: it does not understand the matchers")
            if response.status != HTTPStatus.OK:
                raise _AnswerError("error", f"answered {response.status}")
            body = bytearray()
            async for part in response.content.iter_any():
                body += part
                if len(body) > _MOST_BYTES:
                    raise _AnswerError("too_large", f"has more to say than {_MOST_BYTES >> 20} MiB: narrow the request by matchers")
            return bytes(body)


def _matchers(request: FactRequest) -> list[str]:
    """Take the matchers apart, because the API takes one per parameter."""
    text, at, found = (request.labelSelector or "").strip(), 0, []
    while at < len(text):
        match = _MATCHER.match(text, at)
        if match is None or (match[2] == "," and match.end() == len(text)):
            raise ControllerError(f'fact {request.id!r}: its labelSelector is no list of matchers such as namespace="shop"')
        found.append(match[1])
        at = match.end()
    return found


def _parts(url: str) -> tuple[str, str, dict[str, str]]:
    """Where to ask, how to call it, and the header with the URL's credentials."""
    try:
        parts = urlsplit(url)
    except ValueError as exc:
        raise _AnswerError("invalid_url", "cannot be asked: the setting is no URL") from exc
    if "@" in url.partition(parts.netloc)[2]:
        # A `/` in a password would end the host, and the password's beginning would pass for it.
        raise _AnswerError("invalid_url", "cannot be asked: write a / in its password as %2F, and so on")
    place = parts.netloc.rpartition("@")[2]
    host = f"{parts.scheme}://{place}"
    headers = {}
    if parts.username is not None:
        credentials = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        headers = {"Authorization": f"Basic {base64.b64encode(credentials.encode()).decode()}"}
    return f"{host}{parts.path.rstrip('/')}/api/v2/alerts", host, headers


def _alerts(body: bytes) -> list[dict[str, Any]]:
    """Read the answer strictly: of half an answer nothing is concluded."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError) as exc:
        raise _AnswerError("malformed", "answered something that is no JSON") from exc
    if not isinstance(found, list) or not all(_is_alert(alert) for alert in found):
        raise _AnswerError("malformed", "answered something that is no list of alerts")
    return found


def _is_alert(alert: object) -> bool:
    if not isinstance(alert, dict) or not isinstance(alert.get("fingerprint"), str):
        return False
    if not all(_is_texts(alert.get(key)) for key in ("labels", "annotations")) or not isinstance(alert.get("status"), dict):
        return False
    try:
        return _began(alert).tzinfo is not None
    except (KeyError, TypeError, ValueError):
        return False


def _is_texts(found: object) -> bool:
    return isinstance(found, dict) and all(isinstance(value, str) for value in found.values())


def _began(alert: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(alert["startsAt"])


def _item(alert: dict[str, Any]) -> dict[str, Any]:
    return {
        "fingerprint": alert["fingerprint"],
        "startsAt": alert["startsAt"],
        "labels": alert["labels"],
        "annotations": {key: value[:_LONGEST_ANNOTATION] for key, value in alert["annotations"].items() if key in _SHOWN},
        "status": {"state": str(alert["status"].get("state", ""))},
    }
