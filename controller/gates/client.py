"""Asking a gate: the only user of the OPA client, with one deadline, facts in rounds, and one revision per session."""

from __future__ import annotations

import asyncio
import hashlib
import json
import secrets
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Any, Generic, Literal, Protocol, Self, TypeVar
from urllib.parse import urlsplit

import aiohttp
from cachetools import LRUCache, TTLCache
from opa_client.opa_async import AsyncOpaClient

from controller.core import verdict as verdicts
from controller.core.errors import RetryableError
from controller.core.names import service_account_user
from controller.core.times import stamp
from controller.core.verdict import Decision, FactRequest, Reason, Verdict
from controller.gates.documents import CONTRACT

V = TypeVar("V", bound=Verdict)

MAX_ROUNDS = 4
BUNDLE = "kubernaut"
# The identity of an action that names no ServiceAccount: it reads nothing.
NOBODY = ""
_LARGEST_ANSWER = 8 << 20
_FACTS_SHOWN = 10
_LONGEST_FACT = 256
_REMEMBERED = 4096
# How long `verify` is asked without a guess after it wanted something else than `action`: a team's rule may want more at one of them.
_UNLIKE_SECONDS = 60.0
_ACTION, _VERIFY = "action", "verify"
_PER_ATTEMPT_GATES = frozenset({_ACTION, _VERIFY})

# (gate, decision, code, seconds) of every decision that counts, and of every failure to get one.
DecisionObserver = Callable[[str, str, str, float], None]


Failure = Literal["unreachable", "timeout", "evaluation", "too_large", "no_policy", "undefined", "facts", "malformed"]


class PolicyNotReadyError(RetryableError):
    """No decision could be had. Nothing is allowed until one can; the reconcile is repeated with backoff."""

    def __init__(self, gate: str, cause: str, failure: Failure) -> None:
        super().__init__(f"gate {gate} gave no decision: {cause}")
        self.gate = gate
        self.cause = cause
        self.failure = failure


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
        """What status keeps of a decision; on which facts, only where it is no allow."""
        document = {
            "decision": str(self.verdict.decision),
            "reasons": [reason_document(r) for r in self.verdict.reasons[:8]],
            "decisionId": self.decision_id,
            "policyRevision": self.revision,
            "inputDigest": self.input_digest,
            "time": stamp(now),
        }
        if self.verdict.decision is not Decision.ALLOW and self.facts:
            asked = {request.id: request for request in self.verdict.facts}
            document["facts"] = [fact_line(asked[i], self.facts[i]) for i in sorted(asked.keys() & self.facts.keys())[:_FACTS_SHOWN]]
        return document


@dataclass(frozen=True, slots=True)
class Decided:
    """A decision that counted, for whoever asks the same again afterwards.

    ``asked`` is the question as JSON, because the document may change once it is answered; it lacks ``now``. ``requests`` are the reads
    that its facts answer.
    """

    gate: str
    asked: str
    now: str
    revision: str
    requests: Mapping[str, FactRequest]
    identity: str | None
    fresh: bool
    decision_id: str
    input_digest: str
    verdict: Verdict

    @property
    def decision(self) -> str:
        """allow, wait or deny."""
        return str(self.verdict.decision)

    @property
    def reasons(self) -> list[dict[str, Any]]:
        """The verdict's reasons, as status keeps them."""
        return [reason_document(r) for r in self.verdict.reasons]


@dataclass(frozen=True, slots=True)
class _Likely:
    """The facts that a gate wanted when it was last asked about the same thing, and as whom they were read."""

    requests: Mapping[str, FactRequest]
    identity: str | None


# Told of every decision that counts, before it is acted upon: it must be quick and must not fail.
Follower = Callable[[Decided], object]


def reason_document(reason: Reason) -> dict[str, Any]:
    """A reason as status keeps it, cut to what the schema admits."""
    document = {"code": reason.code, "message": reason.message[:1024], "policy": reason.policy[:256]}
    return document | ({"remedy": reason.remedy[:1024]} if reason.remedy else {})


def fact_line(request: FactRequest, answer: Mapping[str, Any]) -> str:
    """One fact in one line for people: what was asked, and whether it was found or could not be known."""
    place = "/".join(part for part in (request.namespace, request.name) if part)
    what = " ".join(part for part in (request.apiVersion, request.kind, place) if part)
    if request.verb == "access":
        target = "/".join(part for part in (request.resource, request.subresource) if part)
        what = f"{request.serviceAccount} may {request.accessVerb} {target}" + (f" in {request.namespace}" if request.namespace else "")
    if not answer.get("available"):
        said = f"not known ({answer.get('reason', '')}): {answer.get('message', '')}"
    elif "allowed" in answer:
        said = "yes" if answer["allowed"] else "no"
    elif not answer.get("found"):
        said = "not found"
    elif "items" in answer:
        said = f"{len(answer['items'])} found"
    else:
        said = f"found, resourceVersion {answer['resourceVersion']}" if answer.get("resourceVersion") else "found"
    return f"{request.id}: {request.verb} {what}: {said}"[:_LONGEST_FACT]


class _OpaError(Exception):
    """OPA's answer is none that can be used."""

    def __init__(self, failure: Failure, cause: str) -> None:
        super().__init__(cause)
        self.failure = failure


class _Opa(AsyncOpaClient):  # type: ignore[misc]  # the library ships no types
    """The library's client, plus a limit to what is read, and OPA's own words when an evaluation fails (`query_rule` drops the body)."""

    async def decide(self, path: str, question: Mapping[str, Any], *, seconds: float, size: int) -> dict[str, Any]:
        url = f"{self.root_url}/data/{path}?provenance=true"
        # Over loopback packing costs more than it saves, and a limit would have to count what is unpacked.
        plain, timeout = {"Accept-Encoding": "identity"}, aiohttp.ClientTimeout(total=seconds)
        async with self._request("POST", url, json={"input": question}, headers=plain, timeout=timeout) as response:
            body = await _read(response, size)
            if response.status != HTTPStatus.OK:
                failed: Failure = "evaluation" if response.status == HTTPStatus.INTERNAL_SERVER_ERROR else "unreachable"
                raise _OpaError(failed, f"OPA answered {response.status}: {_fault(body.decode(errors='replace'))}")
            document: dict[str, Any] = json.loads(body)
            return document


async def _read(response: aiohttp.ClientResponse, size: int) -> bytes:
    body = bytearray()
    async for part in response.content.iter_any():
        body += part
        if len(body) > size:
            response.close()
            raise _OpaError("too_large", f"the answer is larger than {_in_words(size)}: a policy gives too many results")
    return bytes(body)


def _in_words(size: int) -> str:
    return f"{size >> 20} MiB" if size >= 1 << 20 else f"{size >> 10} KiB"


def _fault(body: str) -> str:
    """Find the place of an evaluation error in OPA's answer: message, file, line."""
    try:
        document = json.loads(body)
        first = (document.get("errors") or [{}])[0]
        place = first.get("location") or {}
        where = f" at {place['file']}:{place['row']}" if "file" in place else ""
        message = first.get("message") or document.get("message", body[:256])
        return f"{' '.join(message.split())}{where}"
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
        self._deadline = deadline
        self._opa = _Opa(host=host, port=port, ssl=ssl, token=token, retries=0, timeout=deadline.total_seconds())
        self._observe = observe
        self._followers: list[Follower] = []
        self._likely: MutableMapping[tuple[str, str], _Likely] = LRUCache(maxsize=_REMEMBERED)
        self._unlike: MutableMapping[str, bool] = TTLCache(maxsize=16, ttl=_UNLIKE_SECONDS)

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
        """Ask for a verdict once; answers (verdict document, revision).

        Raises:
            PolicyNotReadyError: see ``query``; or the policy set defines no verdict.
        """
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            document, revision = await self.query(gate, f"kubernaut/gates/{gate}/verdict", question)
        except PolicyNotReadyError as exc:
            self.observe(gate, "error", exc.failure, loop.time() - began)
            raise
        if document is None:
            self.observe(gate, "error", "undefined", loop.time() - began)
            raise PolicyNotReadyError(gate, f"the policy set {revision} defines no verdict for this gate", "undefined")
        return document, revision

    async def query(
        self, gate: str, path: str, question: Mapping[str, Any], *, deadline: timedelta | None = None, size: int = _LARGEST_ANSWER
    ) -> tuple[object, str]:
        """Ask for the document at ``path``; answers (document, revision), None if it is undefined.

        OPA ends an evaluation whose asker has gone away, so the deadline holds there, too.

        Raises:
            PolicyNotReadyError: OPA cannot be reached, is too slow, holds no policy set, says more than ``size`` bytes, or the
                evaluation failed.
        """
        try:
            seconds = (deadline or self._deadline).total_seconds()
            document = await self._opa.decide(path, question, seconds=seconds, size=size)
        except _OpaError as exc:
            raise PolicyNotReadyError(gate, str(exc), exc.failure) from exc
        except TimeoutError as exc:
            raise PolicyNotReadyError(gate, f"OPA gave no answer within {seconds:g} s", "timeout") from exc
        except (aiohttp.ClientError, OSError, ValueError) as exc:
            raise PolicyNotReadyError(gate, str(exc) or type(exc).__name__, "unreachable") from exc
        revision = ((document.get("provenance") or {}).get("bundles") or {}).get(BUNDLE, {}).get("revision")
        if not revision:
            raise PolicyNotReadyError(gate, "OPA holds no policy set yet; it is asked again by itself", "no_policy")
        return document.get("result"), str(revision)

    def follow(self, follower: Follower) -> None:
        """Tell ``follower`` of every decision that counts from now on."""
        self._followers.append(follower)

    def likely(self, gate: str, about: str) -> _Likely | None:
        """What a gate will want to know, judging by the last time; what is new to `verify` is judged by what `action` wanted."""
        found = self._likely.get((gate, about))
        if found is None and gate == _VERIFY and gate not in self._unlike:
            found = self._likely.get((_ACTION, about))
        return found

    def wanted(self, gate: str, about: str, wanted: _Likely, guessed: _Likely | None) -> None:
        """Learn what a gate wanted to know, and that it could not be guessed."""
        if guessed is not None and (gate, about) not in self._likely:
            self._unlike[gate] = True
        if wanted.requests:
            self._likely[gate, about] = wanted

    def decided(self, decided: Decided) -> None:
        """Pass a decision on."""
        for follower in self._followers:
            follower(decided)

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

    async def ask(self, gate: str, model: type[V], question: Mapping[str, Any], *, fresh: bool = False, about: str = "") -> Answer[V]:
        """Ask a gate until every fact that it wants is answered; only that verdict counts.

        Args:
            gate: which one.
            model: the verdict that this gate gives.
            question: the document without contract, gate, now and facts.
            fresh: read facts past every cache (after an operation).
            about: what the question is about, in a word. The facts that were wanted the last time are then read before the gate is
                asked for the first time; if it wants just these, one round is saved, and if not, it is asked as if none had been read.

        Raises:
            PolicyNotReadyError: there is no decision.
            MalformedVerdictError: the answer is no verdict of this gate.
            RevisionChangedError: the policy set changed since the session's first question.
        """
        document: dict[str, Any] = {"contract": CONTRACT, "gate": gate, "now": stamp(self.now), **question, "facts": {}}
        requests: dict[str, FactRequest] = {}
        began = asyncio.get_running_loop().time()
        likely = self._client.likely(gate, about) if about else None
        if likely is not None:
            document["facts"] = await self._facts.read(list(likely.requests.values()), identity=likely.identity, fresh=fresh)
            answer = await self._once(gate, model, document)
            if {r.id: r for r in answer.facts} == likely.requests and _identity(gate, answer) == likely.identity:
                return self._decided(document, answer, likely, fresh=fresh, began=began)
            document["facts"] = {}
        for _ in range(MAX_ROUNDS + 1):
            answer = await self._once(gate, model, document)
            wanted = {request.id: request for request in answer.facts}
            if any(requests[i] != wanted[i] for i in wanted.keys() & requests.keys()):
                self._failed(gate, "facts", began)
                raise PolicyNotReadyError(gate, "a fact's request changed its content between two rounds", "facts")
            new = [wanted[i] for i in wanted.keys() - requests.keys()]
            if not new:
                found = _Likely(requests, _identity(gate, answer))
                if about:
                    self._client.wanted(gate, about, found, likely)
                return self._decided(document, answer, found, fresh=fresh, began=began)
            document["facts"] |= await self._facts.read(new, identity=_identity(gate, answer), fresh=fresh)
            requests |= wanted
        self._failed(gate, "facts", began)
        ids = ", ".join(sorted(request.id for request in new))
        raise PolicyNotReadyError(gate, f"facts are still asked for after {MAX_ROUNDS} rounds: {ids}", "facts")

    def _decided(self, document: Mapping[str, Any], answer: V, read: _Likely, *, fresh: bool, began: float) -> Answer[V]:
        gate: str = document["gate"]
        self._observe(gate, answer, asyncio.get_running_loop().time() - began)
        asked = json.dumps({k: v for k, v in document.items() if k != "now"}, sort_keys=True, separators=(",", ":"), default=str)
        decided = Decided(
            gate=gate,
            asked=asked,
            now=document["now"],
            revision=self.revision or "",
            requests=read.requests,
            identity=read.identity,
            fresh=fresh,
            decision_id=secrets.token_hex(8),
            input_digest=hashlib.sha256(asked.encode()).hexdigest()[:16],
            verdict=answer,
        )
        self._client.decided(decided)
        return Answer(gate, answer, decided.revision, decided.decision_id, decided.input_digest, document["facts"])

    async def _once(self, gate: str, model: type[V], document: Mapping[str, Any]) -> V:
        began = asyncio.get_running_loop().time()
        result, revision = await self._client.evaluate(gate, document)
        if self.revision is None:
            self.revision = revision
        elif self.revision != revision:
            raise RevisionChangedError(gate, self.revision, revision)
        try:
            return verdicts.parse(model, result)
        except verdicts.MalformedVerdictError:
            self._failed(gate, "malformed", began)
            raise

    def _failed(self, gate: str, failure: Failure, began: float) -> None:
        self._client.observe(gate, "error", failure, asyncio.get_running_loop().time() - began)

    def _observe(self, gate: str, verdict: Verdict, seconds: float) -> None:
        code = verdict.reasons[0].code if verdict.reasons else ""
        self._client.observe(gate, str(verdict.decision), code, seconds)


def _identity(gate: str, verdict: Verdict) -> str | None:
    """As whom a gate's facts are read: those of an attempt as the action's ServiceAccount, all others as the controller."""
    if gate not in _PER_ATTEMPT_GATES:
        return None
    account = getattr(verdict, "service_account", "")
    return service_account_user(account) if account else NOBODY
