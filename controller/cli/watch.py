"""`phasegate watch`: tell what a workflow does, one line per change, until it has ended; 0 if it completed."""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from typing import Any

from controller.cli._exits import CommandError, Exit
from controller.cli._follow import Change, changes, statuses
from controller.cli._workflow import Document, add_workflow_arguments, on_cluster, read_workflow
from controller.cluster.client import Cluster
from controller.cluster.errors import NotFoundError
from controller.core.durations import parse_duration
from controller.core.errors import RetryableError
from controller.core.phases import COMPLETED

_PATIENCE = 30.0
_PAUSE = 0.5


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    description = "tell what a workflow does, one line per change, until it has ended; 0 if it completed, else 1"
    parser = commands.add_parser("watch", description=description, help=description)
    add_workflow_arguments(parser)
    parser.add_argument(
        "--timeout", type=_seconds, default="24h", metavar="DURATION", help="give up after this long (default: %(default)s)"
    )
    parser.set_defaults(run=lambda arguments: on_cluster(arguments, lambda cluster: _watch(cluster, arguments)))


async def _watch(cluster: Cluster, arguments: argparse.Namespace) -> int:
    namespace, name = arguments.namespace, arguments.name
    await read_workflow(cluster, namespace, name)
    status: Mapping[str, Any] = {}
    try:
        async for seen in _every_state(cluster, namespace, name, arguments.timeout):
            before, status = status, seen.get("status") or {}
            for change in changes(before, status):
                _tell(arguments.output, change)
    except TimeoutError as exc:
        raise CommandError(str(exc), Exit.NO) from exc
    except NotFoundError as exc:
        raise CommandError(f"workflow {namespace}/{name} was deleted", Exit.NO) from exc
    for change in _ending(status):
        _tell(arguments.output, change)
    return Exit.DONE if status.get("phase") == COMPLETED else Exit.NO


async def _every_state(cluster: Cluster, namespace: str, name: str, seconds: float) -> AsyncIterator[Document]:
    """Every state until the workflow has ended; an API server that goes away for a while is waited for."""
    deadline = time.monotonic() + seconds
    silent_since: float | None = None
    while True:
        try:
            async for seen in statuses(cluster, namespace, name, seconds=deadline - time.monotonic()):
                silent_since = None
                yield seen
        except RetryableError:
            silent_since = silent_since or time.monotonic()
            if time.monotonic() - silent_since > _PATIENCE:
                raise
            await asyncio.sleep(_PAUSE)
        else:
            return


def _ending(status: Mapping[str, Any]) -> list[Change]:
    """How it ended, and what to do about it."""
    told = [Change(0, " ", status["message"])] if status.get("message") else []
    if status.get("failureReason"):
        told.append(Change(0, " ", f"reason: {status['failureReason']}"))
    if status.get("remedy"):
        told.append(Change(0, " ", f"→ {status['remedy']}"))
    return told


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
        print(f"{now:%H:%M:%S} {change.mark} {change.text}", flush=True)


def _seconds(text: str) -> float:
    try:
        return parse_duration(text).total_seconds()
    except ValueError as exc:
        raise argparse.ArgumentTypeError(str(exc)) from exc
