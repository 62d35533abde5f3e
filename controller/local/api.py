"""A few plain requests to the local API server and its neighbours, without the weight of a client library."""

from __future__ import annotations

import json
import ssl
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_TIMEOUT = 10.0
# Proxies of the environment have no business on loopback.
_DIRECT = urllib.request.ProxyHandler({})


@dataclass(frozen=True, slots=True)
class Answer:
    """Status 0 means that nobody answered."""

    status: int
    body: bytes = b""

    @property
    def document(self) -> dict[str, Any]:
        """The body, read as a JSON object."""
        document = json.loads(self.body or b"{}")
        return document if isinstance(document, dict) else {}


@dataclass(frozen=True, slots=True)
class Api:
    """One server, with what it takes to be let in."""

    server: str
    token: str = ""
    authority: Path | None = None

    def get(self, path: str) -> Answer:
        """Read."""
        return self._send("GET", path, None)

    def post(self, path: str, document: Mapping[str, Any]) -> Answer:
        """Create."""
        return self._send("POST", path, document)

    def delete(self, path: str) -> Answer:
        """Delete."""
        return self._send("DELETE", path, None)

    def _send(self, method: str, path: str, document: Mapping[str, Any] | None) -> Answer:
        handlers: list[urllib.request.BaseHandler] = [_DIRECT]
        if self.authority is not None:
            try:
                handlers.append(urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=str(self.authority))))
            except OSError:
                return Answer(0)  # a server that is starting has not written its certificate yet, or only half of it
        headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {self.token}"} if self.token else {})}
        body = None if document is None else json.dumps(document).encode()
        request = urllib.request.Request(self.server + path, body, headers, method=method)  # noqa: S310 - our own address
        try:
            with urllib.request.build_opener(*handlers).open(request, timeout=_TIMEOUT) as response:
                return Answer(response.status, response.read())
        except urllib.error.HTTPError as exc:
            with exc:
                return Answer(exc.code, exc.read())
        except (OSError, ValueError):
            return Answer(0)
