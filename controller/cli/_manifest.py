"""Workflows as files hold them: what `apply` and `simulate` share, up to who asks for them."""

from __future__ import annotations

import sys
from typing import Any

import yaml

from controller.cli._decide import who_am_i
from controller.cli._exits import CommandError, Exit
from controller.cli._workflow import Document
from controller.cluster.client import Cluster
from controller.cluster.kinds import WORKFLOW


def read_workflows(file: str, namespace: str | None) -> list[Document]:
    """Every WorkflowExecution of a file (`-`: standard input), each with the namespace that it goes to.

    Raises:
        CommandError: the file cannot be read, or holds something else, or nothing says where a workflow belongs.
    """
    return [_workflow(document, file, namespace) for document in _documents(file)]


async def asked_for(cluster: Cluster, workflow: Document) -> Document:
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


def _workflow(document: Any, file: str, wanted: str | None) -> Document:  # noqa: ANN401 - whatever the file holds
    kind = (document.get("apiVersion"), document.get("kind")) if isinstance(document, dict) else ("", type(document).__name__)
    if kind != (WORKFLOW.api_version, WORKFLOW.kind):
        said = f"{kind[0]} {kind[1]}".strip()
        raise CommandError(f"{file}: {said} is no {WORKFLOW.api_version} {WORKFLOW.kind}; kubectl applies the rest", Exit.USAGE)
    metadata = document.get("metadata")
    if not isinstance(metadata, dict) or not isinstance(metadata.get("name"), str) or not isinstance(document.get("spec"), dict):
        raise CommandError(f"{file}: a workflow needs metadata.name and spec", Exit.USAGE)
    namespace = metadata.setdefault("namespace", wanted)
    if not namespace:
        raise CommandError(f"{file}: workflow {metadata['name']} names no namespace; give one with -n", Exit.USAGE)
    if wanted and namespace != wanted:
        raise CommandError(f"{file}: workflow {metadata['name']} names namespace {namespace}, not {wanted}", Exit.USAGE)
    return {**document, "metadata": metadata}
