"""What the commands about one workflow share: their arguments, the way to the cluster, and refusals as sentences."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any

from controller.cli._exits import CommandError, Exit
from controller.cli._output import add_output_argument
from controller.cluster.client import Cluster, connect
from controller.cluster.errors import ForbiddenError, InvalidError, NotFoundError
from controller.cluster.kinds import WORKFLOW
from controller.core.durations import parse_duration

Document = dict[str, Any]


def add_cluster_arguments(parser: argparse.ArgumentParser) -> None:
    """Which cluster, as whom, and how the answer is printed."""
    parser.add_argument("--kubeconfig", type=Path, metavar="FILE", help="kubeconfig file (default: KUBECONFIG, else the user's)")
    add_output_argument(parser)


def add_workflow_arguments(parser: argparse.ArgumentParser) -> None:
    """Which workflow, in which cluster."""
    parser.add_argument("name", metavar="WORKFLOW", help="name of the WorkflowExecution")
    parser.add_argument("-n", "--namespace", required=True, help="its namespace")
    add_cluster_arguments(parser)


def seconds_argument(text: str) -> float:
    """A duration on the command line, in seconds."""
    try:
        return parse_duration(text).total_seconds()
    except ValueError as exc:
        raise argparse.ArgumentTypeError(str(exc)) from exc


def on_cluster(arguments: argparse.Namespace, work: Callable[[Cluster], Awaitable[int]]) -> int:
    """Do the work as the kubeconfig's user; answers the exit code."""

    async def connected() -> int:
        async with await connect(arguments.kubeconfig) as cluster:
            return await work(cluster)

    return asyncio.run(connected())


async def read_workflow(cluster: Cluster, namespace: str, name: str) -> Document:
    """The workflow as it is now.

    Raises:
        CommandError: there is none, or the user may not see it.
    """
    with refusals(f"find workflow {namespace}/{name}", "workflow-viewer", namespace):
        return await cluster.get(WORKFLOW, namespace, name)


@contextmanager
def refusals(doing: str, role: str, namespace: str) -> Iterator[None]:
    """Turn what the API server refuses into a sentence that quotes it and names the way out.

    Raises:
        CommandError: the API server refused; ``role`` is the shipped ClusterRole that allows it.
    """
    try:
        yield
    except NotFoundError as exc:
        if exc.reason != "NotFound":
            raise CommandError("the cluster has no WorkflowExecutions: apply crds/ first", Exit.UNREACHABLE) from exc
        hint = f"; `kubectl get wfe -n {namespace}` lists those that there are" if exc.kind == WORKFLOW.kind and exc.verb == "get" else ""
        raise CommandError(f"cannot {doing}: the API server says: {exc.message}{hint}", Exit.USAGE) from exc
    except ForbiddenError as exc:
        if exc.status == HTTPStatus.UNAUTHORIZED:
            raise CommandError(f"cannot {doing}: the API server does not know the kubeconfig's user: {exc.message}") from exc
        hint = f"ask for the role {role} in namespace {namespace}"
        raise CommandError(f"you may not {doing}: the API server says: {exc.message}; {hint}", Exit.NO) from exc
    except InvalidError as exc:
        raise CommandError(f"cannot {doing}: the API server says: {exc.message}", Exit.NO) from exc


def state_of(workflow: Document) -> str:
    """In a few words: the phase, and what it waits for or says about itself."""
    status = workflow.get("status") or {}
    more = f"waits for {status['waitingFor']}" if status.get("waitingFor") else status.get("message", "")
    return f"{status.get('phase') or 'not looked at yet'}" + (f" ({more})" if more else "")
