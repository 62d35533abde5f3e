"""Policies on trial: after a decision that counts, its question is asked of them too, and what they say is recorded without effect.

A reconcile only puts its question on a queue. One task asks, one question at a time and with a deadline of its own; what does not fit
onto the queue is dropped and counted. All packages of a gate are asked together, through its entrypoint `shadow`. Only where that fails
is each asked by itself, which finds the one that spoils it. A package that takes too long several times in a row is left in peace for a
while, so that it does not eat OPA.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Annotated, Any, Literal, Protocol

from cachetools import LRUCache
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from controller.core.times import stamp
from controller.core.verdict import Code, FactRequest
from controller.gates.client import MAX_ROUNDS, Decided, FactSource, GateClient, PolicyNotReadyError
from controller.observe.logs import events

log = events(__name__)

_EFFECTS = ("deny", "wait", "hold", "skip", "limit", "require_approval", "warn")
_DEADLINE = timedelta(seconds=1)
_PATIENCE = 3  # costly failures in a row, before a package is left in peace
_PAUSE = timedelta(seconds=30)
_LONGEST_PAUSE = timedelta(minutes=15)
_APART = timedelta(minutes=1)
_QUEUED = 256
_QUEUED_CHARACTERS = 16 << 20
_LARGEST_ANSWER = 512 << 10
_MOST_READS = 50
_REMEMBERED = 16384
_MOST_CODES = 50
_LONGEST_ERROR = 1024

# What makes an evaluation expensive, so that repeating it is worth avoiding.
_COSTLY = frozenset({"timeout", "too_large"})
# What says nothing about any package.
_NOBODYS = frozenset({"unreachable", "no_policy"})


class TrialObserver(Protocol):
    """Who counts; observe.metrics is the one implementation."""

    def observe_trial(self, gate: str, policy: str, effect: str, code: str) -> None:
        """Count one line that a package on trial said."""

    def observe_trial_error(self, gate: str, reason: str) -> None:
        """Count one question that a trial did not answer."""


# (metadata of the workflow, message); called when what a package says about that workflow changes.
Teller = Callable[[Mapping[str, Any], str], None]


@dataclass(frozen=True, slots=True)
class TrialSummary:
    """What one package on trial has done since this process saw it first: ``said`` counts by `effect/code`."""

    evaluated: int
    said: Mapping[str, int]
    errors: int
    last_error: str
    last_said: datetime | None

    def document(self) -> dict[str, Any]:
        """What a ConfigMap's status shows of it."""
        document: dict[str, Any] = {"evaluated": self.evaluated, "said": dict(self.said), "errors": self.errors}
        document |= {"lastError": self.last_error} if self.last_error else {}
        return document | ({"lastSaid": stamp(self.last_said)} if self.last_said else {})


class _Line(BaseModel):
    """One thing that a package says."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    effect: Literal["deny", "wait", "hold", "skip", "limit", "require_approval", "warn"]
    policy: str
    code: Code
    message: str
    remedy: str | None = None

    @property
    def package(self) -> str:
        return f"kubernaut.{self.policy}"


class _Wish(BaseModel):
    """One thing that a package wants to have read."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    effect: Literal["facts"]
    policy: str
    request: FactRequest


_ANSWER: TypeAdapter[list[_Line | _Wish]] = TypeAdapter(list[Annotated[_Line | _Wish, Field(discriminator="effect")]])


@dataclass(slots=True)
class _Trial:
    """What is known of one package; ``costly`` failures are counted in a row, ``rests_until`` is in the loop's time."""

    evaluated: int = 0
    said: Counter[str] = field(default_factory=Counter)
    errors: int = 0
    last_error: str = ""
    last_said: datetime | None = None
    costly: int = 0
    rests_until: float = 0.0

    def summary(self) -> TrialSummary:
        return TrialSummary(self.evaluated, dict(self.said), self.errors, self.last_error, self.last_said)


class _FailedError(Exception):
    """A question was not answered, which may be the fault of whoever was asked."""

    def __init__(self, reason: str, cause: str) -> None:
        super().__init__(cause)
        self.reason = reason


class _OutdatedError(Exception):
    """OPA answered under another policy set than the decision's."""


class ShadowRecorder:
    """Asks the packages on trial, and remembers what they said.

    Args:
        gates: the connection to OPA.
        facts: who reads what the packages want to know; better not at the expense of whom decisions wait for.
        trials: the packages on trial in the served set, such as ``kubernaut.shadow.dispatch.night_freeze``.
        tell: called when what is said about a workflow changes.
        observer: who counts.
        deadline: how long one evaluation may take.
        pause: how long a package rests after taking too long several times in a row; longer each time.
    """

    def __init__(  # noqa: PLR0913 - the collaborators, by keyword
        self,
        gates: GateClient,
        facts: FactSource,
        *,
        trials: Callable[[], frozenset[str]],
        tell: Teller,
        observer: TrialObserver,
        deadline: timedelta = _DEADLINE,
        pause: timedelta = _PAUSE,
    ) -> None:
        self._gates = gates
        self._facts = facts
        self._packages = trials
        self._tell = tell
        self._observer = observer
        self._deadline = deadline
        self._pause = pause
        self._queue: asyncio.Queue[Decided] = asyncio.Queue(_QUEUED)
        self._queued_characters = 0
        self._trials: dict[str, _Trial] = {}
        # Gate → until when its packages are asked one by one, in the loop's time.
        self._apart: dict[str, float] = {}
        self._last: LRUCache[tuple[str, str, str, str], frozenset[tuple[str, str]]] = LRUCache(_REMEMBERED)

    def submit(self, decided: Decided) -> None:
        """Put a decision's question on the queue, if its gate has packages on trial; never waits, never fails."""
        if not _of_gate(self._packages(), decided.gate):
            return
        if self._queue.full() or self._queued_characters + len(decided.asked) > _QUEUED_CHARACTERS:
            self._observer.observe_trial_error(decided.gate, "queue_full")
            return
        self._queue.put_nowait(decided)
        self._queued_characters += len(decided.asked)

    async def run(self) -> None:
        """Ask what is queued until cancelled."""
        while True:
            decided = await self._queue.get()
            try:
                await self._try(decided)
            except Exception:
                # Whatever it is, it concerns no decision; without this, one bad answer would end all trials and the controller.
                log.exception("policy_trial_broke", gate=decided.gate)
                self._observer.observe_trial_error(decided.gate, "internal")
            finally:
                self._queued_characters -= len(decided.asked)
                self._queue.task_done()

    def summary(self) -> dict[str, TrialSummary]:
        """What each package on trial has done so far."""
        packages = self._packages()
        self._trials = {package: trial for package, trial in self._trials.items() if package in packages}
        return {package: self._trial(package).summary() for package in sorted(packages)}

    def documents(self) -> dict[str, dict[str, Any]]:
        """The same as plain data."""
        return {package: summary.document() for package, summary in self.summary().items()}

    async def _try(self, decided: Decided) -> None:
        gate, now = decided.gate, asyncio.get_running_loop().time()
        packages = _of_gate(self._packages(), gate)
        awake = [package for package in packages if self._trial(package).rests_until <= now]
        if len(awake) < len(packages):
            self._observer.observe_trial_error(gate, "paused")
        question = {**json.loads(decided.asked), "now": decided.now}
        shared = _entrypoint(gate)
        try:
            if len(packages) > 1 and awake == packages and self._apart.get(gate, 0.0) <= now:
                if await self._ask(decided, question, packages, shared) is None:
                    return
                self._apart[gate] = now + _APART.total_seconds()
            for package in awake:
                path = shared if len(packages) == 1 else f"kubernaut/lib/rules/trial/{gate}/{package.rpartition('.')[2]}"
                failure = await self._ask(decided, question, [package], path)
                if failure is not None:
                    self._failed(package, gate, failure)
        except _OutdatedError:
            self._observer.observe_trial_error(gate, "outdated")
        except PolicyNotReadyError as exc:
            self._observer.observe_trial_error(gate, exc.failure)

    async def _ask(self, decided: Decided, question: dict[str, Any], packages: Sequence[str], path: str) -> _FailedError | None:
        """Record what these packages say; answers what went wrong, if it did."""
        try:
            lines = await self._hear(decided, question, path)
        except _FailedError as exc:
            return exc
        self._record(question, packages, lines)
        return None

    async def _hear(self, decided: Decided, question: dict[str, Any], path: str) -> list[_Line]:
        """What is said at last, after reading in rounds what is wished for.

        Raises:
            _FailedError: whoever was asked gives no answer that can be used.
            _OutdatedError: the policy set is another one by now.
            PolicyNotReadyError: OPA gives no answer to anybody.
        """
        facts, known = dict(question["facts"]), dict(decided.requests)
        for _ in range(MAX_ROUNDS + 1):
            said = await self._once(decided, {**question, "facts": facts}, path)
            wishes = sorted((wish for wish in said if isinstance(wish, _Wish)), key=lambda wish: wish.policy)
            new: dict[str, FactRequest] = {}
            clashing: list[_Line] = []
            for wish in wishes:
                request = wish.request
                first = known.get(request.id) or new.setdefault(request.id, request)
                if first != request:
                    clashing.append(_clash(wish))
            if not new:
                return [line for line in said if isinstance(line, _Line)] + clashing
            if len(facts) + len(new) > len(question["facts"]) + _MOST_READS:
                raise _FailedError("facts", f"more than {_MOST_READS} facts are asked for")
            facts |= await self._facts.read(list(new.values()), identity=decided.identity, fresh=decided.fresh)
            known |= new
        raise _FailedError("facts", f"facts are still asked for after {MAX_ROUNDS} rounds: {', '.join(sorted(new))}")

    async def _once(self, decided: Decided, question: dict[str, Any], path: str) -> list[_Line | _Wish]:
        try:
            said, revision = await self._gates.query(decided.gate, path, question, deadline=self._deadline, size=_LARGEST_ANSWER)
        except PolicyNotReadyError as exc:
            if exc.failure in _NOBODYS:
                raise
            raise _FailedError(exc.failure, exc.cause) from exc
        if revision != decided.revision:
            raise _OutdatedError
        if said is None and path == _entrypoint(decided.gate):
            raise _FailedError("undefined", f"the gate {decided.gate} defines no rule shadow")
        try:
            # A package by itself is undefined as long as it says nothing.
            return _ANSWER.validate_python([] if said is None else said)
        except ValidationError as exc:
            raise _FailedError("malformed", " ".join(str(exc).split())) from exc

    def _record(self, question: Mapping[str, Any], packages: Sequence[str], lines: Sequence[_Line]) -> None:
        for package in packages:
            trial = self._trial(package)
            trial.evaluated += 1
            trial.costly = 0
            own = sorted((line for line in lines if line.package == package), key=lambda line: (_EFFECTS.index(line.effect), line.code))
            for line in own:
                what = f"{line.effect}/{line.code}"
                trial.said[what if what in trial.said or len(trial.said) < _MOST_CODES else "other"] += 1
                trial.last_said = datetime.now(UTC)
                self._observer.observe_trial(question["gate"], line.policy, line.effect, line.code)
            self._tell_changes(question, package, own)

    def _tell_changes(self, question: Mapping[str, Any], package: str, lines: Sequence[_Line]) -> None:
        metadata = (question.get("workflow") or {}).get("metadata") or {}
        if not metadata.get("uid"):
            return
        step = str((question.get("step") or {}).get("stepNumber", ""))
        key = (metadata["uid"], question["gate"], step, package)
        before, after = self._last.pop(key, frozenset()), frozenset((line.effect, line.code) for line in lines)
        if after:
            self._last[key] = after
        if after != before:
            where = f"on trial at gate {question['gate']}" + (f", step {step}" if step else "")
            self._tell(metadata, f"{where}, {_told(lines) or package.removeprefix('kubernaut.') + ' says nothing any more'}")

    def _failed(self, package: str, gate: str, failure: _FailedError) -> None:
        self._observer.observe_trial_error(gate, failure.reason)
        trial, text = self._trial(package), str(failure)[:_LONGEST_ERROR]
        trial.errors += 1
        if not trial.last_error.startswith(text):
            log.warning("policy_trial_failed", package=package, gate=gate, reason=failure.reason, error=text)
        trial.last_error = text
        trial.costly = trial.costly + 1 if failure.reason in _COSTLY else 0
        if trial.costly >= _PATIENCE:
            pause = min(self._pause * 2 ** min(trial.costly - _PATIENCE, 16), _LONGEST_PAUSE).total_seconds()
            trial.rests_until = asyncio.get_running_loop().time() + pause
            trial.last_error = f"{text}; it is not asked again for {pause:g} s"
            log.warning("policy_trial_paused", package=package, gate=gate, seconds=pause, error=text)

    def _trial(self, package: str) -> _Trial:
        return self._trials.setdefault(package, _Trial())


@lru_cache(maxsize=64)
def _of_gate(packages: frozenset[str], gate: str) -> list[str]:
    """The packages on trial for a gate, in order."""
    return sorted(package for package in packages if package.startswith(f"kubernaut.shadow.{gate}."))


def _entrypoint(gate: str) -> str:
    return f"kubernaut/gates/{gate}/shadow"


def _told(lines: Sequence[_Line]) -> str:
    """The gravest of the lines for people; empty if there is none."""
    if not lines:
        return ""
    first = lines[0]
    more = f"; and {len(lines) - 1} more" if lines[1:] else ""
    return f"{first.effect} by {first.policy} ({first.code}): {first.message}{more}"


def _clash(wish: _Wish) -> _Line:
    """What the gate would say of two different reads under one id."""
    message = f"two different reads are asked for under the id {wish.request.id}"
    return _Line(effect="deny", policy=wish.policy, code="fact_id_conflict", message=message)
