"""`phasegate apply`: create the workflows of a file, or report how far those are that exist already."""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from typing import Any

import yaml

from controller.cli._decide import who_am_i
from controller.cli._exits import CommandError, Exit
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
    workflows = [_workflow(document, arguments) for document in _documents(arguments.file)]
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
            return _Applied("created", await cluster.create(WORKFLOW, namespace, await _asked_for(cluster, workflow), strict=True))
        except AlreadyExistsError:
            before = await cluster.get(WORKFLOW, namespace, name)
        except InvalidError as exc:
            raise CommandError(f"workflow {namespace}/{name} is not valid: the API server says: {exc.message}", Exit.USAGE) from exc
        # The spec's own rules say what may still change; everything else is refused there, with a sentence.
        after = await cluster.patch(WORKFLOW, namespace, name, {"spec": workflow["spec"]}, strict=True)
        changed = after["metadata"]["generation"] != before["metadata"]["generation"]
        return _Applied("changed" if changed else "unchanged", after)


async def _asked_for(cluster: Cluster, workflow: Document) -> Document:
    """The workflow with who asks for it, unless the file says so; once it is there, that cannot change."""
    if "requestedBy" in workflow["spec"]:
        return workflow
    user = await who_am_i(cluster)
    return {**workflow, "spec": {**workflow["spec"], "requestedBy": user["username"]}}


def _documents(file: str) -> list[Any]:
    try:
        if file == "-":
            text = sys.stdin.read()
        else:
            with open(file, encoding="utf-8") as source:  # noqa: PTH123 - a name as it was typed, for the message
                text = source.read()
        found = [document for document in yaml.safe_load_all(text) if document is not None]
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as exc:
        raise CommandError(f"cannot read {file}: {exc}", Exit.USAGE) from exc
    if not found:
        raise CommandError(f"{file} holds no object", Exit.USAGE)
    return found


def _workflow(document: Any, arguments: argparse.Namespace) -> Document:  # noqa: ANN401 - whatever the file holds
    """One WorkflowExecution that says where it belongs.

    Raises:
        CommandError: it is something else, or says nothing of a namespace.
    """
    kind = (document.get("apiVersion"), document.get("kind")) if isinstance(document, dict) else ("", type(document).__name__)
    if kind != (WORKFLOW.api_version, WORKFLOW.kind):
        said = f"{kind[0]} {kind[1]}".strip()
        raise CommandError(f"{arguments.file}: {said} is no {WORKFLOW.api_version} {WORKFLOW.kind}; kubectl applies the rest", Exit.USAGE)
    metadata = document.get("metadata")
    if not isinstance(metadata, dict) or not isinstance(metadata.get("name"), str) or not isinstance(document.get("spec"), dict):
        raise CommandError(f"{arguments.file}: a workflow needs metadata.name and spec", Exit.USAGE)
    namespace = metadata.setdefault("namespace", arguments.namespace)
    if not namespace:
        raise CommandError(f"{arguments.file}: workflow {metadata['name']} names no namespace; give one with -n", Exit.USAGE)
    if arguments.namespace and namespace != arguments.namespace:
        raise CommandError(
            f"{arguments.file}: workflow {metadata['name']} names namespace {namespace}, not {arguments.namespace}", Exit.USAGE
        )
    return {**document, "metadata": metadata}
