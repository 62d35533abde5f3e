"""Asking the controller for something by an annotation of the workflow: what `cancel` and `rollback` share."""

from __future__ import annotations

import argparse
from collections.abc import Collection
from dataclasses import dataclass

from controller.cli._exits import CommandError, Exit
from controller.cli._output import print_answer
from controller.cli._workflow import add_workflow_arguments, on_cluster, read_workflow, refusals, state_of
from controller.cluster.client import Cluster
from controller.cluster.kinds import WORKFLOW


@dataclass(frozen=True, slots=True)
class Wish:
    """One thing that can be asked of a workflow; ``phases`` are those in which it makes a difference."""

    command: str
    verb: str
    annotation: str
    phases: Collection[str]
    otherwise: str
    asked: str


def add_wish(commands: argparse._SubParsersAction[argparse.ArgumentParser], wish: Wish, description: str) -> None:
    """Declare the command that asks for it."""
    parser = commands.add_parser(wish.command, description=description, help=description)
    add_workflow_arguments(parser)
    parser.add_argument("--reason", required=True, help="why; it is kept in the workflow's status")
    parser.set_defaults(run=lambda arguments: on_cluster(arguments, lambda cluster: _ask(cluster, arguments, wish)))


async def _ask(cluster: Cluster, arguments: argparse.Namespace, wish: Wish) -> int:
    namespace, name = arguments.namespace, arguments.name
    workflow = await read_workflow(cluster, namespace, name)
    phase = (workflow.get("status") or {}).get("phase", "")
    if phase not in wish.phases:
        raise CommandError(f"cannot {wish.verb} workflow {namespace}/{name}: {wish.otherwise}; it is {state_of(workflow)}", Exit.NO)
    with refusals(f"{wish.verb} workflow {namespace}/{name}", "workflow-author", namespace):
        await cluster.patch(WORKFLOW, namespace, name, {"metadata": {"annotations": {wish.annotation: arguments.reason}}})
    document = {"workflow": name, "namespace": namespace, "asked": wish.command, "reason": arguments.reason, "phase": phase}
    print_answer(arguments.output, document, [f"workflow {namespace}/{name}: {wish.asked}"])
    return Exit.DONE
