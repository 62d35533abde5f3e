"""`phasegate apply`: create the workflows of a file, or report how far those are that exist already."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import Any

from controller.cli._exits import CommandError, Exit
from controller.cli._manifest import asked_for, read_workflows
from controller.cli._output import print_answer
from controller.cli._workflow import Document, add_cluster_arguments, on_cluster, refusals, state_of
from controller.cluster.client import Cluster
from controller.cluster.errors import AlreadyExistsError, InvalidError
from controller.cluster.kinds import WORKFLOW


@dataclass(frozen=True, slots=True)
class _Applied:
    """What became of one workflow: created, unchanged, or changed (suspend, ttlSecondsAfterFinished)."""

    word: str
    workflow: Document

    def document(self) -> dict[str, Any]:
        metadata, status = self.workflow["metadata"], self.workflow.get("status") or {}
        return {
            "workflow": metadata["name"],
            "namespace": metadata["namespace"],
            "uid": metadata["uid"],
            "result": self.word,
            "phase": status.get("phase", ""),
            "waitingFor": status.get("waitingFor", ""),
        }

    def line(self) -> str:
        metadata = self.workflow["metadata"]
        name = f"{metadata['namespace']}/{metadata['name']}"
        if self.word == "created":
            return f"workflow {name} created; follow it: phasegate watch {metadata['name']} -n {metadata['namespace']}"
        return f"workflow {name} exists, {self.word}: {state_of(self.workflow)}"


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    description = "create the workflows of a file, or report how far those are that exist already"
    parser = commands.add_parser("apply", description=description, help=description)
    parser.add_argument("file", metavar="FILE", help="YAML or JSON with one or more WorkflowExecutions; - reads standard input")
    parser.add_argument("-n", "--namespace", help="where workflows go whose file names no namespace")
    add_cluster_arguments(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Read all of the file before anything is sent."""
    workflows = read_workflows(arguments.file, arguments.namespace)
    return on_cluster(arguments, lambda cluster: _apply_all(cluster, arguments, workflows))


async def _apply_all(cluster: Cluster, arguments: argparse.Namespace, workflows: list[Document]) -> int:
    applied: list[_Applied] = []
    try:
        for workflow in workflows:
            applied.append(await _apply(cluster, workflow))  # noqa: PERF401 - what was applied counts if the next one is refused
    finally:
        # An error later in the file does not undo what came before it.
        if applied:
            print_answer(arguments.output, [a.document() for a in applied], (a.line() for a in applied))
    return Exit.DONE


async def _apply(cluster: Cluster, workflow: Document) -> _Applied:
    namespace, name = workflow["metadata"]["namespace"], workflow["metadata"]["name"]
    with refusals(f"apply workflow {namespace}/{name}", "workflow-author", namespace):
        try:
            return _Applied("created", await cluster.create(WORKFLOW, namespace, await asked_for(cluster, workflow), strict=True))
        except AlreadyExistsError:
            before = await cluster.get(WORKFLOW, namespace, name)
        except InvalidError as exc:
            raise CommandError(f"workflow {namespace}/{name} is not valid: the API server says: {exc.message}", Exit.USAGE) from exc
        # The spec's own rules say what may still change; everything else is refused there, with a sentence.
        after = await cluster.patch(WORKFLOW, namespace, name, {"spec": workflow["spec"]}, strict=True)
        changed = after["metadata"]["generation"] != before["metadata"]["generation"]
        return _Applied("changed" if changed else "unchanged", after)
