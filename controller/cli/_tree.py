"""A workflow drawn as lines that fit a screen: its head, then one line per step in plan order, settled and waiting ones folded.

Pure: what is drawn comes in, lines go out; nothing here knows of a terminal but its size.
"""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import Any, Literal

from controller.cli._follow import MARKS
from controller.cli._text import clean, columns, cut, known_instant, pad, spoken
from controller.core.names import CANCEL_ANNOTATION
from controller.core.phases import TERMINAL
from controller.core.plan import GraphError, Plan, build_plan

Style = Literal["", "bold", "dim", "red", "green", "cyan", "yellow"]

_STYLES: Mapping[str, Style] = {
    "executing": "cyan",
    "being undone": "cyan",
    "failed": "red",
    "blocked": "red",
    "rollback failed": "red",
    "rolled back": "yellow",
    "retry in": "yellow",
    "completed": "green",
}
_TROUBLED = frozenset({"failed", "blocked", "rollback failed"})
_RUNNING = frozenset({"executing", "being undone"})
_RETRYING = "retry in"
_TELLING = _RUNNING | _TROUBLED | {_RETRYING}
_LONGEST_BAR = 30
_ROOM_FOR_ACTION = 72
_LONGEST_NAME, _LONGEST_ACTION, _SHORTEST_NAME = 28, 22, 6
_TIME = 7


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the drawing, at most as wide as the screen."""

    text: str
    style: Style = ""


@dataclass(frozen=True, slots=True)
class _Row:
    """One step: what is told of it, and where it stands in the plan."""

    number: int
    name: str
    action: str
    word: str
    mark: str
    time: str
    note: str
    trouble: str
    batch: int
    bracket: str


def plan_of(workflow: Mapping[str, Any]) -> Plan | None:
    """The steps in order with their dependencies; None where they cannot be put in order."""
    try:
        return build_plan(workflow["spec"])
    except (GraphError, KeyError):
        return None


def draw(workflow: Mapping[str, Any], plan: Plan | None, *, size: tuple[int, int], now: datetime, trouble: str = "") -> list[Line]:
    """The whole workflow in lines that fit a screen.

    Steps that run, that failed or that are tried again come first when there is not room for all; the others are counted.

    Args:
        workflow: the object.
        plan: of it, see `plan_of`.
        size: of the screen, columns and lines.
        now: for how long things take.
        trouble: why what is drawn may be outdated, "" if it is not.
    """
    width, height = size
    rows = _rows(workflow, plan, now)
    head = _head(workflow, rows, width, now, trouble)
    head = head[: max(2, height // 2)] if len(head) + len(rows) > height else head
    body = _body(rows, width, max(1, height - len(head)))
    return [Line(cut(line.text, width), line.style) for line in (*head, *body)][:height]


# the head


def _head(workflow: Mapping[str, Any], rows: Sequence[_Row], width: int, now: datetime, trouble: str) -> list[Line]:
    metadata, spec, status = workflow["metadata"], workflow["spec"], workflow.get("status") or {}
    phase = status.get("phase") or "not looked at yet"
    simulated = " (simulated)" if spec.get("simulate") else ""
    ended: Style = "red" if phase in TERMINAL - {"completed"} else "green"
    lines = [
        Line(f"{metadata['namespace']}/{metadata['name']}  {phase.replace('_', ' ')}{simulated}", ended if phase in TERMINAL else "bold"),
        Line(_progress(status, rows, width, now)),
    ]
    for mark, text, style in _news(workflow, trouble):
        folded = textwrap.wrap(f"{mark} {clean(text)}", max(10, width - 1), subsequent_indent="  ")
        lines += [Line(part, style) for part in folded]
    return lines


def _progress(status: Mapping[str, Any], rows: Sequence[_Row], width: int, now: datetime) -> str:
    percent = status.get("progress", 0)
    size = max(5, min(_LONGEST_BAR, width // 4))
    full = size * percent // 100
    began, ended = known_instant(status.get("startTime")), known_instant(status.get("completionTime"))
    counts = Counter(row.word for row in rows)
    parts = [
        f"[{'█' * full}{'░' * (size - full)}] {percent} %",
        f"{status.get('completedSteps', 0)}/{len(rows)} steps",
        *(f"{counts[word]} {word}" for word in ("executing", "being undone", "failed", "blocked", "rolled back") if counts[word]),
        *([spoken((ended or now) - began)] if began else []),
    ]
    return " · ".join(parts)


def _news(workflow: Mapping[str, Any], trouble: str) -> Iterator[tuple[str, str, Style]]:
    metadata, status = workflow["metadata"], workflow.get("status") or {}
    if trouble:
        yield "!", trouble, "red"
    if metadata.get("deletionTimestamp"):
        yield "!", "it is being deleted", "yellow"
    if status.get("phase") in TERMINAL:
        for line in ending(status):
            yield line[0], line[1], ""
        return
    if (reason := (metadata.get("annotations") or {}).get(CANCEL_ANNOTATION)) is not None:
        yield "!", f"asked to cancel: {reason}", "yellow"
    if halting := status.get("halting"):
        yield "!", f"then {halting['action']}: {halting.get('message', '')}", "yellow"
    if status.get("waitingFor"):
        yield "…", f"waits for {status['waitingFor']}", "yellow"
        if status.get("remedy"):
            yield "→", status["remedy"], ""
    elif workflow["spec"].get("suspend"):
        yield "…", "suspended: nothing new starts", "yellow"


def ending(status: Mapping[str, Any]) -> list[tuple[str, str]]:
    """How a workflow ended and what to do about it: (mark, text) lines."""
    told = [(" ", status["message"])] if status.get("message") else []
    if status.get("failureReason"):
        told.append((" ", f"reason: {status['failureReason']}"))
    if status.get("remedy"):
        told.append(("→", status["remedy"]))
    return told


# the steps


def _rows(workflow: Mapping[str, Any], plan: Plan | None, now: datetime) -> list[_Row]:
    entries = {e["stepNumber"]: e for e in (workflow.get("status") or {}).get("stepStatuses") or []}
    written = {s["stepNumber"]: s for s in workflow["spec"]["workflowDefinition"]["steps"]}
    batches = plan.batches if plan else tuple((number,) for number in sorted(written))
    rows = []
    for batch, members in enumerate(batches, start=1):
        for place, number in enumerate(members):
            step = plan.steps[number] if plan else written[number]
            bracket = " " if len(members) == 1 else "┌" if place == 0 else "└" if place == len(members) - 1 else "│"
            entry = entries.get(number) or {"status": "pending"}
            word = word_for(entry)
            rows.append(
                _Row(
                    number,
                    clean(step["name"]),
                    clean(step["action"]),
                    word,
                    "↩" if word == "being undone" else MARKS.get(entry["status"], "?"),
                    _time(entry, word, now),
                    _note(entry, step, entries),
                    clean(entry.get("errorMessage") or entry.get("message") or "") if word in _TROUBLED or word == _RETRYING else "",
                    batch,
                    bracket,
                )
            )
    return rows


def word_for(entry: Mapping[str, Any]) -> str:
    """How far a step is, in a word or two."""
    if entry.get("rollbackRef") and entry["status"] not in {"rolled_back", "rollback_failed"}:
        return "being undone"
    if entry["status"] == "pending" and entry.get("nextRetryTime"):
        return _RETRYING
    return str(entry["status"]).replace("_", " ")


def _time(entry: Mapping[str, Any], word: str, now: datetime) -> str:
    """How long the attempt has run, or took; how long it is until the next one."""
    if word == _RETRYING and (at := known_instant(entry["nextRetryTime"])):
        return spoken(at - now)
    began, ended = known_instant(entry.get("startTime")), known_instant(entry.get("endTime"))
    if began is None or word in {"pending", "skipped", "being undone"}:
        return ""
    return spoken((ended or now) - began)


def _note(entry: Mapping[str, Any], step: Mapping[str, Any], entries: Mapping[int, Mapping[str, Any]]) -> str:
    """Which try it is, or which steps it comes after."""
    if entry.get("retriesAttempted"):
        return f"try {entry['attempts']} of {1 + step.get('maxRetries', 0)}"
    if entry["status"] != "pending":
        return ""
    missing = [d for d in step.get("dependsOn") or [] if entries.get(d, {}).get("status") not in {"completed", "skipped"}]
    return f"after {', '.join(map(str, missing))}" if missing else ""


# fitting


def _body(rows: Sequence[_Row], width: int, room: int) -> list[Line]:
    """As many steps as there is room for, most telling first; the words of what failed go before a step does."""
    ranked = _ranked(rows)
    telling = sum(row.word in _TELLING for row in rows)
    lines: list[Line] = []
    for words in (True, False):
        for count in range(min(len(rows), room), -1, -1):
            lines = _lines(rows, set(ranked[:count]), width, words=words)
            if len(lines) <= room and (count >= telling or not words):
                return lines
    return lines


def _ranked(rows: Sequence[_Row]) -> list[int]:
    """Positions of the rows: what runs, what failed, then the others by how near they are to where the work is."""
    active = [i for i, row in enumerate(rows) if row.word in _RUNNING]
    pending = [i for i, row in enumerate(rows) if row.word == "pending"]
    front = max(active) if active else min(pending, default=len(rows))
    return sorted(range(len(rows)), key=lambda i: (rows[i].word not in _RUNNING, rows[i].word not in _TELLING, abs(i - front)))


def _lines(rows: Sequence[_Row], shown: set[int], width: int, *, words: bool) -> list[Line]:
    lines: list[Line] = []
    layout = _layout([rows[i] for i in sorted(shown)], width)
    for is_shown, positions in groupby(range(len(rows)), key=shown.__contains__):
        group = [rows[i] for i in positions]
        if not is_shown and len(group) > 1:
            lines.append(_fold(group))
            continue
        for row in group:
            lines.append(_line(row, layout))
            if words and row.trouble:
                lines.append(Line(f"    └ {row.trouble}", "red" if row.word in _TROUBLED else "yellow"))
    return lines


def _fold(rows: Sequence[_Row]) -> Line:
    counts = Counter(row.word for row in rows)
    first, last = rows[0].batch, rows[-1].batch
    place = f"batch {first}" if first == last else f"batches {first}-{last}"
    told = ", ".join(f"{count} {word}" for word, count in counts.most_common())
    return Line(f"  … {place}: {told}", "red" if counts.keys() & _TROUBLED else "dim")


@dataclass(frozen=True, slots=True)
class _Layout:
    """How wide the columns are; ``action`` 0: there is no room for it."""

    number: int
    name: int
    action: int
    word: int


def _layout(rows: Sequence[_Row], width: int) -> _Layout:
    number = max((len(str(row.number)) for row in rows), default=1)
    word = max((len(row.word) for row in rows), default=0)
    action = min(_LONGEST_ACTION, max((columns(row.action) for row in rows), default=0)) if width >= _ROOM_FOR_ACTION else 0
    taken = 4 + number + 1 + (action + 1 if action else 0) + word + 1 + _TIME + 1
    longest = max((columns(row.name) for row in rows), default=0)
    return _Layout(number, max(_SHORTEST_NAME, min(_LONGEST_NAME, longest, width - taken)), action, word)


def _line(row: _Row, layout: _Layout) -> Line:
    cells = [f"{row.bracket} {row.mark} {row.number:>{layout.number}}", pad(row.name, layout.name)]
    if layout.action:
        cells.append(pad(row.action, layout.action))
    cells += [pad(row.word, layout.word), f"{row.time:>{_TIME}}", row.note]
    return Line(" ".join(cells).rstrip(), _STYLES.get(row.word, "dim"))
