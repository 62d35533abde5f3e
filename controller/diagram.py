"""The drawing of a workflow's phases, docs/lifecycle.svg: every arrow and its words come from the table in core/phases.py.

Only where a phase stands, and how wide its box is, is written here. An arrow runs straight down, up or across through the widest gap that
the boxes between leave; where there is none it runs aslant.
"""

from __future__ import annotations

import argparse
import sys
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from controller import paths
from controller.core import phases
from controller.core.errors import ControllerError
from controller.generated import GeneratedFiles

_FILE = "lifecycle.svg"

# Pixels, and characters of a line of the list below the drawing.
_WIDTH = 980
_LIST_TOP = 428
_LINE = 20
_LONGEST_LINE = 100
_BADGE = 9
_FRAME = 3

_Table = Mapping[str, Mapping[str, str]]
_Point = tuple[float, float]
_Line = tuple[_Point, _Point]


class UnplacedPhaseError(ControllerError):
    """The table of the phases and the places of this drawing do not go together."""


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of one axis."""

    low: float
    high: float

    @property
    def middle(self) -> float:
        """Half way."""
        return (self.low + self.high) / 2

    def shared(self, other: Span) -> Span:
        """What both have; nothing where `low` is not below `high`."""
        return Span(max(self.low, other.low), min(self.high, other.high))

    def between(self, other: Span) -> Span:
        """From the end of the one that comes first to the beginning of the other."""
        return Span(min(self.high, other.high), max(self.low, other.low))

    def meets(self, other: Span) -> bool:
        """Tell whether they share more than a point."""
        shared = self.shared(other)
        return shared.low < shared.high

    def widest_gap(self, taken: Iterable[Span]) -> Span | None:
        """The widest stretch of this one that is not taken; None where nothing is left."""
        gaps, low = [], self.low
        for span in sorted(taken, key=lambda s: s.low):
            gaps.append(Span(low, min(span.low, self.high)))
            low = max(low, span.high)
        gaps.append(Span(low, self.high))
        widest = max(gaps, key=lambda gap: gap.high - gap.low)
        return widest if widest.low < widest.high else None


@dataclass(frozen=True, slots=True)
class Box:
    """Where a phase stands: what it takes of both axes, and its class in the style sheet."""

    across: Span
    down: Span
    look: str = "phase"

    @property
    def turned(self) -> Box:
        """The same with the axes exchanged."""
        return Box(self.down, self.across, self.look)


@dataclass(frozen=True, slots=True)
class Arrow:
    """One transition as it is drawn, from ``start`` to ``end``; ``number`` finds its words in the list."""

    number: int
    before: str
    after: str
    when: str
    start: _Point
    end: _Point


def _box(left: float, top: float, width: float, height: float = 42, look: str = "phase") -> Box:
    return Box(Span(left, left + width), Span(top, top + height), look)


PLACES = {
    phases.COMPLETED: _box(228, 20, 736, 36, "good"),
    phases.NEW: _box(16, 116, 52, look="box"),
    phases.PLANNING: _box(104, 116, 88),
    phases.VALIDATING: _box(228, 116, 96),
    phases.EXECUTING: _box(360, 116, 344),
    phases.MONITORING: _box(744, 116, 220),
    phases.BLOCKED: _box(398, 230, 86, look="house"),
    phases.DEGRADED: _box(508, 230, 94, look="house"),
    phases.ROLLING_BACK: _box(644, 230, 122, look="back"),
    phases.ROLLED_BACK: _box(804, 230, 112, look="house"),
    phases.FAILED: _box(104, 346, 860, 36, "back"),
}
"""Where each phase stands; a phase that is added to the table needs a place here."""


def arrows(transitions: _Table = phases.TRANSITIONS) -> list[Arrow]:
    """Lay out every transition, in the order of the table.

    Raises:
        UnplacedPhaseError: a phase has no place, or a place has no phase.
    """
    known = {*transitions, *(after for following in transitions.values() for after in following)}
    if unplaced := sorted(known - PLACES.keys()):
        raise UnplacedPhaseError(f"controller/diagram.py has no place for the phase {', '.join(map(repr, unplaced))}: add it to PLACES")
    if left_over := sorted(PLACES.keys() - known):
        raise UnplacedPhaseError(f"controller/diagram.py has a place for {', '.join(map(repr, left_over))}, which is no phase any more")
    pairs = [(before, after) for before, following in transitions.items() for after in following]
    # Two that run to and fro between the same boxes share the way.
    shares = {(a, b): 0 if (b, a) not in pairs else -1 if a < b else 1 for a, b in pairs}
    lines: dict[tuple[str, str], _Line] = {}
    taken = list(PLACES.values())
    for find in (_level, _upright, _aslant):
        for pair in pairs:
            if pair not in lines and (line := find(PLACES[pair[0]], PLACES[pair[1]], taken, shares[pair])):
                lines[pair] = line
        # The others keep out of the way of those that are there.
        taken += [thin_box(line) for line in lines.values()]
    return [Arrow(number, *pair, transitions[pair[0]][pair[1]], *lines[pair]) for number, pair in enumerate(pairs, start=1)]


def _level(a: Box, b: Box, taken: Iterable[Box], share: int) -> _Line | None:
    """A line across from one box to the other, or None where there is no way; ``share`` is that of `_lane`."""
    if a.across.meets(b.across):
        return None
    between = a.across.between(b.across)
    at = _lane(a.down.shared(b.down), [box.down for box in taken if box.across.meets(between)], share)
    if at is None:
        return None
    return ((a.across.high, at), (b.across.low, at)) if a.across.low < b.across.low else ((a.across.low, at), (b.across.high, at))


def _upright(a: Box, b: Box, taken: Iterable[Box], share: int) -> _Line | None:
    """The same down or up."""
    line = _level(a.turned, b.turned, [box.turned for box in taken], share)
    return line and ((line[0][1], line[0][0]), (line[1][1], line[1][0]))


def _lane(shared: Span, taken: Iterable[Span], share: int) -> float | None:
    """Where a line can run inside ``shared``: in the middle of the widest gap (``share`` 0), or of its lower (-1) or upper (1) half."""
    gap = shared.widest_gap(taken) if shared.low < shared.high else None
    return None if gap is None else gap.middle + share * (gap.high - gap.low) / 4


def _aslant(a: Box, b: Box, _taken: Iterable[Box], share: int) -> _Line:
    """From border to border along the line between the middles, beside the one that runs back."""
    (x1, y1), (x2, y2) = _border(a, b), _border(b, a)
    aside = 3 * _BADGE * share
    return (x1 + aside, y1), (x2 + aside, y2)


def thin_box(line: _Line) -> Box:
    """What a line takes of both axes."""
    (x1, y1), (x2, y2) = line
    return Box(Span(min(x1, x2) - 1, max(x1, x2) + 1), Span(min(y1, y2) - 1, max(y1, y2) + 1))


def _border(box: Box, towards: Box) -> _Point:
    x, y = box.across.middle, box.down.middle
    right, down = towards.across.middle - x, towards.down.middle - y
    reach = min(
        (box.across.high - x) / abs(right) if right else float("inf"),
        (box.down.high - y) / abs(down) if down else float("inf"),
    )
    return x + right * reach, y + down * reach


_HEAD = """\
<!-- Generated by `make generate` (controller.diagram) from controller/core/phases.py; do not edit. -->
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img"
     aria-label="The phases of a workflow, and when one follows another">
  <style>
    text {{ font-family: "DejaVu Sans", Verdana, Helvetica, Arial, sans-serif; font-size: 13px; fill: #1f2937 }}
    .title {{ font-size: 14px; font-weight: bold }}
    .small {{ font-size: 11.5px; fill: #4b5563 }}
    .mid {{ text-anchor: middle }}
    .box {{ fill: #ffffff; stroke: #94a3b8; stroke-width: 1.3 }}
    .house {{ fill: #f1f5f9; stroke: #94a3b8; stroke-width: 1.3 }}
    .phase {{ fill: #dbeafe; stroke: #60a5fa; stroke-width: 1.3 }}
    .back {{ fill: #fee2e2; stroke: #f87171; stroke-width: 1.3 }}
    .good {{ fill: #dcfce7; stroke: #4ade80; stroke-width: 1.3 }}
    .line {{ fill: none; stroke: #475569; stroke-width: 1.5 }}
    .badge {{ fill: #475569 }}
    .number {{ font-size: 11px; font-weight: bold; fill: #ffffff; text-anchor: middle }}
  </style>
  <defs>
    <marker id="tip" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7" orient="auto">
      <path d="M0 0 L10 5 L0 10 z" fill="#475569"/>
    </marker>
  </defs>
  <rect width="{width}" height="{height}" rx="10" fill="#ffffff"/>
"""


def draw(transitions: _Table = phases.TRANSITIONS) -> str:
    """Render the drawing as SVG.

    Raises:
        UnplacedPhaseError: a phase has no place, or a place has no phase.
    """
    laid_out = arrows(transitions)
    words, height = _list(laid_out)
    parts = [_HEAD.format(width=_WIDTH, height=height), *_key()]
    parts += [line for phase, box in PLACES.items() for line in _phase(phase, box)]
    parts += [line for arrow in laid_out for line in _arrow(arrow)]
    return "\n".join([*parts, *words, "</svg>"]) + "\n"


def _key() -> Iterator[str]:
    yield from _frame(_box(16, 22, 34, 20, "phase"), ended=False)
    yield '  <text class="small" x="60" y="36">it goes on</text>'
    yield from _frame(_box(16, 52, 34, 20, "house"), ended=True)
    yield '  <text class="small" x="60" y="66">it has ended</text>'


def _phase(phase: str, box: Box) -> Iterator[str]:
    yield from _frame(box, ended=phase in phases.TERMINAL)
    yield f'  <text class="title mid" x="{box.across.middle:g}" y="{box.down.middle + 5:g}">{escape(_name(phase))}</text>'


def _frame(box: Box, *, ended: bool) -> Iterator[str]:
    """A box; of a phase that ends the workflow with two lines."""
    for inset in (0, _FRAME) if ended else (0,):
        left, top = box.across.low + inset, box.down.low + inset
        width, height = box.across.high - inset - left, box.down.high - inset - top
        yield f'  <rect class="{box.look}" x="{left:g}" y="{top:g}" width="{width:g}" height="{height:g}" rx="{8 - inset}"/>'


def _arrow(arrow: Arrow) -> Iterator[str]:
    (x1, y1), (x2, y2) = arrow.start, arrow.end
    yield f'  <path class="line" d="M{x1:g} {y1:g} L{x2:g} {y2:g}" marker-end="url(#tip)"/>'
    # A level arrow is short: its number stands above it.
    yield from _number(arrow.number, (x1 + x2) / 2, y1 - _BADGE - 5 if y1 == y2 else (y1 + y2) / 2)


def _number(number: int, x: float, y: float) -> Iterator[str]:
    yield f'  <circle class="badge" cx="{x:g}" cy="{y:g}" r="{_BADGE}"/><text class="number" x="{x:g}" y="{y + 4:g}">{number}</text>'


def _list(laid_out: Iterable[Arrow]) -> tuple[list[str], int]:
    """Every arrow in words, below the drawing; and where that ends."""
    lines: list[str] = []
    top = _LIST_TOP
    for arrow in laid_out:
        lines += _number(arrow.number, 28, top - 4)
        lines.append(f'  <text x="50" y="{top}">{escape(_name(arrow.before))} → {escape(_name(arrow.after))}</text>')
        for words in textwrap.wrap(arrow.when, _LONGEST_LINE):
            lines.append(f'  <text class="small" x="270" y="{top}">{escape(words)}</text>')
            top += _LINE
    return lines, top


def _name(phase: str) -> str:
    return phase or "new"


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; 0 done or nothing to do, 1 a check failed, 2 it cannot be drawn."""
    parser = argparse.ArgumentParser(prog="python -m controller.diagram", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if docs/lifecycle.svg is not up to date")
    parser.add_argument("--out", type=Path, default=paths.ROOT / "docs")
    options = parser.parse_args(arguments)
    try:
        drawing = draw()
    except UnplacedPhaseError as exc:
        sys.stderr.write(f"{exc}\n")
        return 2
    return GeneratedFiles(options.out, (_FILE,), "controller/core/phases.py").bring({_FILE: drawing}, check=options.check)


if __name__ == "__main__":
    sys.exit(main())
