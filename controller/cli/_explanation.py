"""An explanation of a workflow as data: what is the case, why, what would help, each told to people and to programs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any, Literal

from controller.cli._text import clean, known_instant, spoken

State = Literal["new", "running", "waiting", "ended", "deleting"]


@dataclass(frozen=True, slots=True)
class Cause:
    """One reason; times are RFC 3339, "" where there is none on record."""

    message: str
    code: str = ""
    gate: str = ""
    policy: str = ""
    step: int | None = None
    attempt: str = ""
    facts: tuple[str, ...] = ()
    since: str = ""
    until: str = ""


@dataclass(frozen=True, slots=True)
class Help:
    """One thing that would help, and the command for it where there is one."""

    text: str
    command: str = ""


@dataclass(frozen=True, slots=True)
class Explanation:
    """What is the case, why, and what would help."""

    workflow: str
    namespace: str
    phase: str
    state: State
    since: str
    what: tuple[str, ...]
    why: tuple[Cause, ...]
    helps: tuple[Help, ...]

    def document(self) -> dict[str, Any]:
        """For programs; what is not known is left out of the causes."""
        document = asdict(self)
        document["why"] = [{k: v for k, v in cause.items() if v not in ("", None, ())} for cause in document["why"]]
        return document

    def lines(self, now: datetime) -> Iterator[str]:
        """For people: three paragraphs."""
        yield "WHAT"
        yield from (f"  {line}" for line in self.what)
        if self.why:
            yield ""
            yield "WHY"
            for cause in self.why:
                yield from _cause_lines(cause, now)
        if self.helps:
            yield ""
            yield "WHAT HELPS"
            for help_ in self.helps:
                yield f"  {help_.text}" + (":" if help_.command else "")
                if help_.command:
                    yield f"    {help_.command}"


def when(text: object, now: datetime) -> str:
    """A time, and how long ago it was or how soon it comes."""
    at = known_instant(text)
    if at is None:
        return "an unknown time"
    told = f"in {spoken(at - now)}" if at > now else f"{spoken(now - at)} ago"
    return f"{at:%Y-%m-%dT%H:%M:%SZ} ({told})"


def _cause_lines(cause: Cause, now: datetime) -> Iterator[str]:
    place = [f"step {cause.step}"] if cause.step is not None else []
    place += [f"attempt {cause.attempt}"] if cause.attempt else []
    place += [f"gate {cause.gate}"] if cause.gate else []
    place += [f"policy {cause.policy}"] if cause.policy and cause.policy != cause.gate else []
    said = ": ".join(part for part in (cause.code, cause.message) if part)
    yield f"  {said}"
    if place:
        yield f"    at: {', '.join(place)}"
    times = ([f"since {when(cause.since, now)}"] if cause.since else []) + ([f"until {when(cause.until, now)}"] if cause.until else [])
    if times:
        yield f"    {', '.join(times)}"
    yield from (f"    fact: {fact}" for fact in cause.facts)


def without_repeats(causes: Iterable[Cause]) -> tuple[Cause, ...]:
    """Each cause once, in text that is safe for a terminal."""
    kept: dict[tuple[object, ...], Cause] = {}
    for cause in causes:
        facts = tuple(clean(fact) for fact in cause.facts)
        safe = replace(cause, message=clean(cause.message), code=clean(cause.code), policy=clean(cause.policy), facts=facts)
        unique = cause.message if cause.code in {"", "decision", "finalizer"} else ""
        kept.setdefault((safe.gate, safe.code, safe.policy, safe.step, safe.attempt, unique), safe)
    return tuple(kept.values())


def useful(helps: Iterable[Help]) -> tuple[Help, ...]:
    """Each help once; a remedy that only quotes a command which stands there anyway goes."""
    found = list(dict.fromkeys(Help(clean(h.text), h.command) for h in helps if h.text))
    commands = {h.command for h in found if h.command}
    return tuple(h for h in found if h.command or not any(command in h.text for command in commands))
