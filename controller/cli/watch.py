"""`phasegate watch`: show what a workflow does until it has ended, live on a terminal, else a line per change; 0 if it completed."""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from controller.cli._exits import CommandError, Exit
from controller.cli._follow import Change, changes, statuses_patiently
from controller.cli._screen import Screen, can_be_drawn_on, shown
from controller.cli._text import clean
from controller.cli._tree import Line, draw, ending, plan_of
from controller.cli._workflow import Document, add_workflow_arguments, on_cluster, read_workflow, refusals, seconds_argument
from controller.cluster.client import Cluster
from controller.cluster.errors import NotFoundError
from controller.core.phases import COMPLETED

# Times are told in seconds; no eye needs more than ten drawings a second.
_TICK, _LULL = 1.0, 0.1


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    description = "show what a workflow does until it has ended: live on a terminal, else a line per change; 0 if it completed, else 1"
    parser = commands.add_parser("watch", description=description, help=description, conflict_handler="resolve")
    add_workflow_arguments(parser)
    parser.add_argument(
        "-o",
        "--output",
        choices=("text", "text-lines", "json"),
        default="text",
        help="text: live on a terminal, else lines; text-lines, json: one line per change anywhere (default: text)",
    )
    parser.add_argument(
        "--timeout", type=seconds_argument, default="24h", metavar="DURATION", help="give up after this long (default: %(default)s)"
    )
    parser.set_defaults(run=lambda arguments: on_cluster(arguments, lambda cluster: _watch(cluster, arguments)))


async def _watch(cluster: Cluster, arguments: argparse.Namespace) -> int:
    workflow = await read_workflow(cluster, arguments.namespace, arguments.name)
    if arguments.output == "text" and can_be_drawn_on():
        status = await _draw_live(cluster, arguments, workflow)
    else:
        status = await _tell_changes(cluster, arguments)
    return Exit.DONE if status.get("phase") == COMPLETED else Exit.NO


async def _every_state(cluster: Cluster, arguments: argparse.Namespace, silent: list[str]) -> AsyncIterator[Document]:
    """Every state until the workflow has ended; ``silent`` collects why there is no news.

    Raises:
        CommandError: it did not end in time, or was deleted, or the user may not watch it.
    """
    namespace, name = arguments.namespace, arguments.name
    with refusals(f"watch workflow {namespace}/{name}", "workflow-viewer", namespace):
        try:
            async for seen in statuses_patiently(cluster, namespace, name, seconds=arguments.timeout, silent=silent.append):
                silent.clear()
                yield seen
        except TimeoutError as exc:
            raise CommandError(str(exc), Exit.NO) from exc
        except NotFoundError as exc:
            raise CommandError(f"workflow {namespace}/{name} was deleted", Exit.NO) from exc


# a line per change


async def _tell_changes(cluster: Cluster, arguments: argparse.Namespace) -> Mapping[str, Any]:
    status: Mapping[str, Any] = {}
    async for seen in _every_state(cluster, arguments, []):
        before, status = status, seen.get("status") or {}
        for change in changes(before, status):
            _tell(arguments.output, change)
    for mark, text in ending(status):
        _tell(arguments.output, Change(0, " ", f"→ {text}" if mark == "→" else text))
    return status


def _tell(output: str, change: Change) -> None:
    now = datetime.now(UTC)
    if output == "json":
        print(
            json.dumps(
                {"time": now.isoformat(timespec="milliseconds"), "step": change.step or None, "text": " ".join(change.text.split())}
            ),
            flush=True,
        )
    else:
        print(f"{now:%H:%M:%S} {change.mark} {_one_line(change.text)}", flush=True)


def _one_line(text: str) -> str:
    """The text with its columns as they are, but nothing in it that could steer a terminal."""
    return "".join(c if c.isprintable() else " " if c.isspace() else "?" for c in text)


# live


@dataclass(slots=True)
class _Seen:
    """What is known while it is drawn."""

    workflow: Document
    changed: asyncio.Event
    silent: list[str] = field(default_factory=list)


async def _draw_live(cluster: Cluster, arguments: argparse.Namespace, workflow: Document) -> Mapping[str, Any]:
    """Draw the workflow on the alternate screen until it has ended; its last picture stays on the terminal."""
    seen = _Seen(workflow, asyncio.Event())
    plan = plan_of(workflow)

    def picture() -> list[Line]:
        trouble = f"no news: {clean(seen.silent[-1])}" if seen.silent else ""
        return draw(seen.workflow, plan, size=screen.size, now=datetime.now(UTC), trouble=trouble)

    screen = Screen(seen.changed)
    reader = asyncio.create_task(_read(cluster, arguments, seen))
    try:
        with screen:
            while not reader.done():
                seen.changed.clear()
                screen.show(picture())
                await asyncio.sleep(_LULL)
                with suppress(TimeoutError):
                    async with asyncio.timeout(_TICK):
                        await seen.changed.wait()
    finally:
        reader.cancel()
        print("\n".join(shown(line) for line in picture()), flush=True)
    await reader
    return seen.workflow.get("status") or {}


async def _read(cluster: Cluster, arguments: argparse.Namespace, seen: _Seen) -> None:
    try:
        async for workflow in _every_state(cluster, arguments, seen.silent):
            seen.workflow = workflow
            seen.changed.set()
    finally:
        seen.changed.set()
