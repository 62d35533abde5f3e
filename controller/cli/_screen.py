"""The terminal while something is drawn on it again and again: its alternate screen, so that nothing is left behind.

Plain ANSI, as every terminal of the last decades has it. Nothing is entered before the first drawing, and whatever ends the program but
SIGKILL leaves the terminal as it was; suspending it (Ctrl-Z) does so for as long as it lasts.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Iterable
from contextlib import suppress
from types import TracebackType
from typing import Self

from controller.cli._tree import Line

# The alternate screen, no cursor, no wrapping of lines that turn out wider than they should be.
_ENTER, _LEAVE = "\x1b[?1049h\x1b[?25l\x1b[?7l", "\x1b[?7h\x1b[?25h\x1b[?1049l"
_STYLES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "cyan": "36"}
# What an encoding without them shows instead, each in one column.
_PLAIN = str.maketrans("✔✘▶·↩…→█░┌│└◆", "+x>.<~>#.|||*")
_ENDING = (signal.SIGTERM, signal.SIGHUP)


def can_be_drawn_on() -> bool:
    """Tell whether standard output is a terminal that can move its cursor."""
    return sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"


def shown(line: Line) -> str:
    """A line with its colour, in characters that the terminal has."""
    text = line.text if _has_marks() else line.text.translate(_PLAIN)
    code = _STYLES.get(line.style)
    return f"\x1b[{code}m{text}\x1b[0m" if code and not os.environ.get("NO_COLOR") else text


class Screen:
    """``with Screen(changed) as screen: screen.show(lines)``; ``changed`` is called when the terminal has another size."""

    def __init__(self, changed: asyncio.Event) -> None:
        self._changed = changed
        self._entered = False
        self._signals: tuple[signal.Signals, ...] = ()

    def __enter__(self) -> Self:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGWINCH, self._changed.set)
        loop.add_signal_handler(signal.SIGTSTP, self._stop)
        for number in _ENDING:
            loop.add_signal_handler(number, self._end, number)
        self._signals = (signal.SIGWINCH, signal.SIGTSTP, *_ENDING)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._leave()
        for number in self._signals:
            asyncio.get_running_loop().remove_signal_handler(number)

    @property
    def size(self) -> tuple[int, int]:
        """Columns and lines; what most terminals begin with where this one does not say."""
        found = os.get_terminal_size(sys.stdout.fileno())
        return found if all(found) else (80, 24)

    def show(self, lines: Iterable[Line]) -> None:
        """Replace what is drawn, in one write, so that it does not flicker."""
        drawn = "\r\n".join(f"{shown(line)}\x1b[K" for line in lines)
        sys.stdout.write(("" if self._entered else _ENTER) + f"\x1b[H{drawn}\x1b[J")
        sys.stdout.flush()
        self._entered = True

    def _leave(self) -> None:
        if self._entered:
            self._entered = False
            # A terminal that has hung up takes nothing any more.
            with suppress(OSError):
                sys.stdout.write(_LEAVE)
                sys.stdout.flush()

    def _stop(self) -> None:
        """Ctrl-Z: give the terminal back, sleep, and draw anew when woken."""
        self._leave()
        signal.raise_signal(signal.SIGSTOP)
        self._changed.set()

    def _end(self, number: signal.Signals) -> None:
        """Die of the signal after all, as whoever sent it expects, but with a clean terminal."""
        self._leave()
        asyncio.get_running_loop().remove_signal_handler(number)
        signal.raise_signal(number)


def _has_marks() -> bool:
    try:
        "✔█┌".encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return False
    return True
