"""How this program logs: one event per line, with fields, as JSON on stderr or as text for people.

An event is a name in snake_case that says what happened; everything else about it is a field:
``log = events(__name__); log.info("step_started", workflow="default/fix", step=3)``. Modules that only have the standard library's
logger pass ``extra={"fields": {...}}``, which comes out the same.
"""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any, Literal, TextIO

from typing_extensions import override

LogFormat = Literal["json", "text"]

_LONGEST_VALUE = 4096


class EventLog:
    """A standard logger whose calls take fields; ``bind`` fixes some of them for good."""

    def __init__(self, logger: logging.Logger, bound: dict[str, Any] | None = None) -> None:
        self._logger = logger
        self._bound = bound or {}

    def bind(self, **fields: Any) -> EventLog:  # noqa: ANN401 - a field may hold anything JSON can
        """The same log with these fields on every line."""
        return EventLog(self._logger, {**self._bound, **fields})

    def debug(self, event: str, **fields: Any) -> None:  # noqa: ANN401 - a field may hold anything JSON can
        """Something that changes nothing."""
        self._log(logging.DEBUG, event, fields)

    def info(self, event: str, **fields: Any) -> None:  # noqa: ANN401 - a field may hold anything JSON can
        """A transition."""
        self._log(logging.INFO, event, fields)

    def warning(self, event: str, **fields: Any) -> None:  # noqa: ANN401 - a field may hold anything JSON can
        """Something that a person may want to change."""
        self._log(logging.WARNING, event, fields)

    def error(self, event: str, **fields: Any) -> None:  # noqa: ANN401 - a field may hold anything JSON can
        """Something that does not work."""
        self._log(logging.ERROR, event, fields)

    def exception(self, event: str, **fields: Any) -> None:  # noqa: ANN401 - a field may hold anything JSON can
        """An exception that nobody expected, with its traceback."""
        self._log(logging.ERROR, event, fields, exc_info=True)

    def _log(self, level: int, event: str, fields: dict[str, Any], *, exc_info: bool = False) -> None:
        if self._logger.isEnabledFor(level):
            extra = {"fields": {**self._bound, **fields}}
            self._logger.log(level, event, extra=extra, exc_info=exc_info, stacklevel=3)


def events(name: str) -> EventLog:
    """The event log of a module; call it with ``__name__``."""
    return EventLog(logging.getLogger(name))


def start_logging(log_format: LogFormat = "json", *, level: int = logging.INFO, stream: TextIO | None = None) -> None:
    """Send everything from ``level`` up to ``stream`` (stderr); call it once, first thing."""
    target = logging.StreamHandler(stream or sys.stderr)
    target.setFormatter(_JsonLines() if log_format == "json" else _TextLines())
    root = logging.getLogger()
    root.handlers[:] = [target]
    root.setLevel(level)
    for chatty in ("aiohttp.access", "asyncio"):
        logging.getLogger(chatty).setLevel(max(level, logging.WARNING))


class _JsonLines(logging.Formatter):
    """One JSON object per line: time, level, event, module, then the fields."""

    @override
    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": _time_of(record),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            "module": record.name,
            **_fields_of(record),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str, ensure_ascii=False)


class _TextLines(logging.Formatter):
    """``12:00:01 INFO  step_started  workflow=default/fix step=3``."""

    @override
    def format(self, record: logging.LogRecord) -> str:
        fields = " ".join(f"{key}={value}" for key, value in _fields_of(record).items())
        line = f"{_time_of(record)[11:19]} {record.levelname:7} {record.getMessage()}" + (f"  {fields}" if fields else "")
        return line + (f"\n{self.formatException(record.exc_info)}" if record.exc_info else "")


def _time_of(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _fields_of(record: logging.LogRecord) -> dict[str, Any]:
    fields: dict[str, Any] = getattr(record, "fields", {})
    return {key: value[:_LONGEST_VALUE] if isinstance(value, str) else value for key, value in fields.items()}
