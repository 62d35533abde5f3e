"""`phasegate explain`: why a workflow waits or failed: at which gate, on which facts, and what would help."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Collection
from datetime import UTC, datetime

from controller.cli._exits import CommandError, Exit
from controller.cli._explain import explain, policies_of
from controller.cli._output import print_answer
from controller.cli._workflow import Document, add_workflow_arguments, on_cluster, read_workflow, refusals
from controller.cluster.client import Cluster
from controller.cluster.errors import ApiError, ForbiddenError
from controller.cluster.kinds import CONFIG_MAP, EXECUTION, WORKFLOW
from controller.core.names import SYSTEM_NAMESPACE, WORKFLOW_LABEL
from controller.policy.sources import POLICY_LABEL, POLICY_LABEL_VALUE, read_config_map

_RULES = "kubernaut."


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    description = "why a workflow waits or failed: at which gate, on which facts, and what would help"
    parser = commands.add_parser("explain", description=description, help=description)
    add_workflow_arguments(parser)
    parser.set_defaults(run=lambda arguments: on_cluster(arguments, lambda cluster: _explain(cluster, arguments)))


async def _explain(cluster: Cluster, arguments: argparse.Namespace) -> int:
    namespace, name = arguments.namespace, arguments.name
    try:
        workflow = await read_workflow(cluster, namespace, name)
    except CommandError as exc:
        hint = await _nearest(cluster, namespace, name) if exc.exit is Exit.USAGE else ""
        raise CommandError(f"{exc}{hint}", exc.exit) from exc
    with refusals(f"read the attempts of workflow {namespace}/{name}", "workflow-viewer", namespace):
        found = (await cluster.list(EXECUTION, namespace, label_selector=f"{WORKFLOW_LABEL}={name}")).items
    # A workflow of that name that was there before may have left attempts behind.
    attempts = [a for a in found if a["spec"]["workflowExecutionRef"]["uid"] == workflow["metadata"]["uid"]]
    sources = await _sources(cluster, policies_of(workflow, attempts))
    now = datetime.now(UTC)
    explanation = explain(workflow, attempts, now, sources)
    print_answer(arguments.output, explanation.document(), explanation.lines(now))
    return Exit.DONE


async def _nearest(cluster: Cluster, namespace: str, name: str) -> str:
    """The workflow that was meant, perhaps."""
    try:
        names = [w["metadata"]["name"] for w in (await cluster.list(WORKFLOW, namespace)).items]
    except ApiError:
        return ""
    if not names:
        return f"; there is no workflow in namespace {namespace}"
    near = difflib.get_close_matches(name, names, n=1)
    return f"; did you mean {near[0]}?" if near else ""


async def _sources(cluster: Cluster, policies: Collection[str]) -> dict[str, str]:
    """The ConfigMaps that these rules of teams are from, as far as this user may see them: it is only a hint."""
    if not policies:
        return {}
    try:
        page = await cluster.list(CONFIG_MAP, SYSTEM_NAMESPACE, label_selector=f"{POLICY_LABEL}={POLICY_LABEL_VALUE}")
    except ForbiddenError:
        return {}
    return {policy: name for policy, name in _packages(page.items) if policy in policies}


def _packages(config_maps: Collection[Document]) -> list[tuple[str, str]]:
    read = [read_config_map(c)[0] for c in config_maps]
    return [(module.package.removeprefix(_RULES), source.name) for source in read for module in source.modules]
