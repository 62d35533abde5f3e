"""Asking a gate: the only user of the OPA client, with one deadline, facts in rounds, and one revision per session."""

from __future__ import annotations

import asyncio
import hashlib
import json
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Any, Generic, Protocol, Self, TypeVar
from urllib.parse import urlsplit

import aiohttp
from opa_client.opa_async import AsyncOpaClient

from controller.core import verdict as verdicts
from controller.core.errors import RetryableError
from controller.core.names import service_account_user
from controller.core.times import stamp
from controller.core.verdict import FactRequest, Reason, Verdict
from controller.gates.documents import CONTRACT

V = TypeVar("V", bound=Verdict)

MAX_ROUNDS = 4
BUNDLE = "kubernaut"
# The identity of an action that names no ServiceAccount: it reads nothing.
NOBODY = ""
_PER_ATTEMPT_GATES = frozenset({"action", "verify"})

# (gate, decision, code, seconds) of every decision that counts, and of every failure to get one.
DecisionObserver = Callable[[str, str, str, float], None]


class PolicyNotReadyError(RetryableError):
    """No decision could be had. Nothing is allowed until one can; the reconcile is repeated with backoff."""

    def __init__(self, gate: str, cause: str) -> None:
        super().__init__(f"gate {gate} gave no decision: {cause}")
        self.gate = gate
        self.cause = cause


class RevisionChangedError(RetryableError):
    """The policy set changed inside a reconcile, which is therefore thrown away and starts again."""

    def __init__(self, gate: str, pinned: str, answered: str) -> None:
        super().__init__(f"gate {gate} answered under revision {answered}, this reconcile began under {pinned}", delay=timedelta(0))


class FactSource(Protocol):
    """Where facts come from; gates.facts is the one implementation."""

    async def read(self, requests: list[FactRequest], *, identity: str | None, fresh: bool) -> dict[str, dict[str, Any]]:
        """Answer each request, by id; never raises for a read that fails."""


@dataclass(frozen=True, slots=True)
class Answer(Generic[V]):
    """One decision with what is needed to prove it later."""

    gate: str
    verdict: V
    revision: str
    decision_id: str
    input_digest: str
    facts: Mapping[str, dict[str, Any]] = field(repr=False)

    def summary(self, now: datetime) -> dict[str, Any]:
        """What status keeps of a decision."""
        return {
            "decision": str(self.verdict.decision),
            "reasons": [reason_document(r) for r in self.verdict.reasons[:8]],
            "decisionId": self.decision_id,
            "policyRevision": self.revision,
            "inputDigest": self.input_digest,
            "time": stamp(now),
        }


def reason_document(reason: Reason) -> dict[str, Any]:
    """A reason as status keeps it, cut to what the schema admits."""
    document = {"code": reason.code, "message": reason.message[:1024], "policy": reason.policy[:256]}
    return document | ({"remedy": reason.remedy[:1024]} if reason.remedy else {})


class _Opa(AsyncOpaClient):  # type: ignore[misc]  # the library ships no types
    """The library's client, plus OPA's own words when an evaluation fails (its `query_rule` drops the body)."""

    async def decide(self, path: str, question: Mapping[str, Any]) -> dict[str, Any]:
        async with self._request("POST", f"{self.root_url}/data/{path}?provenance=true", json={"input": question}) as response:
            if response.status != HTTPStatus.OK:
                raise aiohttp.ClientPayloadError(f"OPA answered {response.status}: {_fault(await response.text())}")
            document: dict[str, Any] = await response.json()
            return document


def _fault(body: str) -> str:
    """Find the place of an evaluation error in OPA's answer: message, file, line."""
    try:
        document = json.loads(body)
        first = (document.get("errors") or [{}])[0]
        place = first.get("location") or {}
        where = f" at {place['file']}:{place['row']}" if "file" in place else ""
        return f"{first.get('message') or document.get('message', body[:256])}{where}"
    except (ValueError, AttributeError, KeyError):
        return body[:256]


def opa_address(url: str) -> tuple[str, int, bool]:
    """Host, port, and whether TLS is spoken, of a URL like ``http://127.0.0.1:8181``.

    Raises:
        ValueError: it is no such URL.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if not host or not port or parts.scheme not in {"http", "https"}:
        raise ValueError(f"{url!r} is no http(s) URL with host and port; one would be http://127.0.0.1:8181")
    return host, port, parts.scheme == "https"


class GateClient:
    """The connection to one OPA.

    Args:
        url: where OPA listens, see ``opa_address``.
        token: bearer token, where OPA asks for one.
        deadline: how long one evaluation may take; after it there is no decision.
    """

    def __init__(self, url: str, *, token: str | None, deadline: timedelta, observe: DecisionObserver) -> None:
        host, port, ssl = opa_address(url)
        self._opa = _Opa(host=host, port=port, ssl=ssl, token=token, retries=0, timeout=deadline.total_seconds())
        self._observe = observe

    async def __aenter__(self) -> Self:
        """Open the connection pool."""
        await self._opa.__aenter__()
        return self

    async def __aexit__(self, *exc: object) -> None:
        """Close the connection pool."""
        await self._opa.close_connection()

    def session(self, facts: FactSource, now: datetime) -> Session:
        """Begin a reconcile's questions; all of them are answered under one revision."""
        return Session(self, facts, now)

    async def evaluate(self, gate: str, question: Mapping[str, Any]) -> tuple[object, str]:
        """Ask once; answers (verdict document, revision).

        Raises:
            PolicyNotReadyError: OPA cannot be reached, is too slow, holds no policy set, or the evaluation failed.
        """
        began = asyncio.get_running_loop().time()
        try:
            document = await self._opa.decide(f"kubernaut/gates/{gate}/verdict", question)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as exc:
            self.observe(gate, "error", "unreachable", asyncio.get_running_loop().time() - began)
            raise PolicyNotReadyError(gate, str(exc) or type(exc).__name__) from exc
        revision = ((document.get("provenance") or {}).get("bundles") or {}).get(BUNDLE, {}).get("revision")
        if not revision:
            raise PolicyNotReadyError(gate, "OPA holds no policy set yet; it is asked again by itself")
        if "result" not in document:
            raise PolicyNotReadyError(gate, f"the policy set {revision} defines no verdict for this gate")
        return document["result"], str(revision)

    def observe(self, gate: str, decision: str, code: str, seconds: float) -> None:
        """Count one decision or one failure to get it."""
        self._observe(gate, decision, code, seconds)


class Session:
    """The questions of one reconcile."""

    def __init__(self, client: GateClient, facts: FactSource, now: datetime) -> None:
        self._client = client
        self._facts = facts
        self.now = now
        self.revision: str | None = None

    async def ask(self, gate: str, model: type[V], question: Mapping[str, Any], *, fresh: bool = False) -> Answer[V]:
        """Ask a gate until every fact that it wants is answered; only that verdict counts.

        Args:
            gate: which one.
            model: the verdict that this gate gives.
            question: the document without contract, gate, now and facts.
            fresh: read facts past every cache (after an operation).

        Raises:
            PolicyNotReadyError: there is no decision.
            MalformedVerdictError: the answer is no verdict of this gate.
            RevisionChangedError: the policy set changed since the session's first question.
        """
        document: dict[str, Any] = {"contract": CONTRACT, "gate": gate, "now": stamp(self.now), **question, "facts": {}}
        requests: dict[str, FactRequest] = {}
        began = asyncio.get_running_loop().time()
        for _ in range(MAX_ROUNDS + 1):
            answer = await self._once(gate, model, document)
            wanted = {request.id: request for request in answer.facts}
            if any(requests[i] != wanted[i] for i in wanted.keys() & requests.keys()):
                raise PolicyNotReadyError(gate, "a fact's request changed its content between two rounds")
            new = [wanted[i] for i in wanted.keys() - requests.keys()]
            if not new:
                return self._counted(gate, answer, document, asyncio.get_running_loop().time() - began)
            document["facts"] |= await self._facts.read(new, identity=_identity(gate, answer), fresh=fresh)
            requests |= wanted
        raise PolicyNotReadyError(gate, f"facts are still asked for after {MAX_ROUNDS} rounds: {', '.join(sorted(r.id for r in new))}")

    async def _once(self, gate: str, model: type[V], document: Mapping[str, Any]) -> V:
        result, revision = await self._client.evaluate(gate, document)
        if self.revision is None:
            self.revision = revision
        elif self.revision != revision:
            raise RevisionChangedError(gate, self.revision, revision)
        return verdicts.parse(model, result)

    def _counted(self, gate: str, verdict: V, document: Mapping[str, Any], seconds: float) -> Answer[V]:
        code = verdict.reasons[0].code if verdict.reasons else ""
        self._client.observe(gate, str(verdict.decision), code, seconds)
        asked = {key: value for key, value in document.items() if key != "now"}
        digest = hashlib.sha256(json.dumps(asked, sort_keys=True, separators=(",", ":"), default=str).encode()).hexdigest()[:16]
        return Answer(gate, verdict, self.revision or "", secrets.token_hex(8), digest, document["facts"])


def _identity(gate: str, verdict: Verdict) -> str | None:
    """As whom a gate's facts are read: those of an attempt as the action's ServiceAccount, all others as the controller."""
    if gate not in _PER_ATTEMPT_GATES:
        return None
    account = getattr(verdict, "service_account", "")
    return service_account_user(account) if account else NOBODY
