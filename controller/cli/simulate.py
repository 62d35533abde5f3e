"""`phasegate simulate`: what the workflow of a file would do: every gate is asked, every request tried, nothing changed."""

from __future__ import annotations

import argparse
import secrets
import string
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from controller.api.common import LONGEST_WORKFLOW_NAME
from controller.cli._exits import CommandError, Exit
from controller.cli._follow import statuses_patiently
from controller.cli._manifest import asked_for, read_workflows
from controller.cli._output import print_answer
from controller.cli._text import clean
from controller.cli._workflow import Document, add_cluster_arguments, on_cluster, refusals, seconds_argument, state_of
from controller.cluster.client import Cluster
from controller.cluster.errors import ApiError, InvalidError, NotFoundError
from controller.cluster.kinds import WORKFLOW
from controller.core.names import APPROVED_BY_ANNOTATION, CANCEL_ANNOTATION, ROLLBACK_ANNOTATION
from controller.core.phases import COMPLETED, TERMINAL

# What somebody wished of the real workflow, or a tool keeps there for itself.
_NOT_TAKEN_OVER = frozenset(
    {APPROVED_BY_ANNOTATION, CANCEL_ANNOTATION, ROLLBACK_ANNOTATION, "kubectl.kubernetes.io/last-applied-configuration"}
)
# For how long a simulation is kept that could not be deleted here.
_LEFTOVER_SECONDS = 600
_MARKS = {True: "✔", False: "✘"}


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    description = (
        "what the workflow of a file would do, with every request tried and nothing changed; 0 if every step would succeed, else 1"
    )
    parser = commands.add_parser("simulate", description=description, help=description)
    parser.add_argument("file", metavar="FILE", help="YAML or JSON with one WorkflowExecution; - reads standard input")
    parser.add_argument("-n", "--namespace", help="where it goes if the file names no namespace")
    parser.add_argument("--keep", action="store_true", help="leave the simulated workflow in the cluster, to be looked at")
    parser.add_argument(
        "--timeout", type=seconds_argument, default="10m", metavar="DURATION", help="give up after this long (default: %(default)s)"
    )
    add_cluster_arguments(parser)
    parser.set_defaults(run=run)


@dataclass(frozen=True, slots=True)
class Report:
    """What a simulation said of a workflow: ``asked`` is the file's, ``simulated`` the one that was tried."""

    asked: Document
    simulated: Document
    kept: bool

    @property
    def status(self) -> Document:
        """Of the simulated workflow."""
        status: Document = self.simulated.get("status") or {}
        return status

    @property
    def dry_run(self) -> Document:
        """What the dry-run said; empty if it did not come so far."""
        return (self.status.get("validationResults") or {}).get("dryRunResults") or {}

    @property
    def approval(self) -> Document:
        """Whether a person would be asked."""
        return self.status.get("approval") or {}

    @property
    def would_succeed(self) -> bool:
        """Whether every step would have been accepted, and every gate let it through; a person's yes is not counted."""
        return bool(self.dry_run.get("overallSuccess")) and (self.status.get("phase") == COMPLETED or _waits_for_a_person(self.simulated))

    def document(self) -> Document:
        """For programs."""
        results, plan = self.status.get("validationResults") or {}, self.status.get("executionPlan") or {}
        return {
            "workflow": self.asked["metadata"]["name"],
            "namespace": self.asked["metadata"]["namespace"],
            "simulatedAs": self.simulated["metadata"]["name"],
            "kept": self.kept,
            "wouldSucceed": self.would_succeed,
            "phase": self.status.get("phase", ""),
            "message": self.status.get("message", ""),
            "failureReason": self.status.get("failureReason", ""),
            "remedy": self.status.get("remedy", ""),
            "strategy": plan.get("strategy", ""),
            "estimatedDuration": plan.get("estimatedDuration", ""),
            "planHash": plan.get("planHash", ""),
            "dryRunResults": self.dry_run,
            "checks": results.get("checks") or [],
            "approval": self.approval,
        }

    def lines(self) -> Iterator[str]:
        """For people."""
        metadata, plan = self.asked["metadata"], self.status.get("executionPlan") or {}
        verdict = "every step would succeed" if self.would_succeed else "it would not succeed"
        yield f"workflow {metadata['namespace']}/{metadata['name']}, simulated: {verdict}; nothing was changed"
        if plan:
            took = f"; simulating took {self.dry_run['executionTime']}" if self.dry_run.get("executionTime") else ""
            yield f"plan {plan.get('planHash', '')}, {plan['strategy']}, estimated to take {plan.get('estimatedDuration', '?')}{took}"
        if self.status.get("phase") != COMPLETED and not _waits_for_a_person(self.simulated):
            yield from self._failure()
        for title, told in (
            ("steps", list(self._steps())),
            ("changes", list(self._changes())),
            ("safety checks", list(self._checks())),
            ("approval", list(self._approval())),
            ("look at first", list(self._issues())),
        ):
            if told:
                yield ""
                yield title
                yield from (f"  {line}" for line in told)
        if self.kept:
            yield ""
            yield f"kept as {metadata['namespace']}/{self.simulated['metadata']['name']}"

    def _failure(self) -> Iterator[str]:
        yield f"it would be {clean(state_of(self.simulated))}"
        if self.status.get("remedy"):
            yield f"→ {clean(self.status['remedy'])}"

    def _steps(self) -> Iterator[str]:
        names = {s["stepNumber"]: s["name"] for s in self.asked["spec"]["workflowDefinition"]["steps"]}
        results = self.dry_run.get("stepResults") or []
        for step in results:
            name = clean(names.get(step["stepNumber"], ""))
            took = f", tried in {step['simulatedDuration']}" if step.get("simulatedDuration") else ""
            word = "would succeed" if step["wouldSucceed"] else "would fail"
            yield f"{_MARKS[step['wouldSucceed']]} {step['stepNumber']:>3} {name} ({step['action']}): {word}{took}"
            yield from (f"      {clean(error)}" for error in step.get("validationErrors") or [])
        if (left := self.dry_run.get("stepsSimulated", 0) - len(results)) > 0:
            yield f"… and {left} more"

    def _changes(self) -> Iterator[str]:
        for change in self.dry_run.get("resourceChanges") or []:
            place = "/".join(part for part in (change.get("namespace"), change["resourceName"]) if part)
            yield f"{change['changeType']} {change['resourceType']} {place}"
            yield from (f"    {line}" for line in _differences(change.get("beforeState") or {}, change.get("afterState") or {}))
        if self.dry_run.get("omittedChanges"):
            yield f"… and {self.dry_run['omittedChanges']} more"

    def _checks(self) -> Iterator[str]:
        for check in (self.status.get("validationResults") or {}).get("checks") or []:
            optional = "" if check["required"] else " (not required)"
            said = f": {clean(check['message'])}" if check.get("message") else ""
            yield f"{_MARKS[check['passed']]} {check['type']}{optional}{said}"

    def _approval(self) -> Iterator[str]:
        if not self.approval:
            return
        if not self.approval.get("required"):
            yield "not needed"
            return
        people = f" of {self.approval['count']} people" if self.approval.get("count", 1) > 1 else " of a person"
        groups = f" in one of the groups {', '.join(self.approval['groups'])}" if self.approval.get("groups") else ""
        requester = ", not of who asks for it" if self.approval.get("notRequester") else ""
        yield f"needed:{people}{groups}{requester}"
        yield from (f"    {clean(r['code'])}: {clean(r['message'])}" for r in self.approval.get("reasons") or [])

    def _issues(self) -> Iterator[str]:
        for issue in self.dry_run.get("potentialIssues") or []:
            step = f"step {issue['stepNumber']}: " if issue.get("stepNumber") else ""
            yield f"{issue['severity']}: {step}{clean(issue['description'])}"
            if issue.get("recommendation"):
                yield f"    → {clean(issue['recommendation'])}"


def run(arguments: argparse.Namespace) -> int:
    """Read the file before anything is sent."""
    workflows = read_workflows(arguments.file, arguments.namespace)
    if len(workflows) != 1:
        raise CommandError(f"{arguments.file} holds {len(workflows)} workflows; simulate takes one at a time", Exit.USAGE)
    return on_cluster(arguments, lambda cluster: _simulate(cluster, arguments, workflows[0]))


def simulation_of(workflow: Document, ending: str, *, keep: bool) -> Document:
    """The workflow as it is simulated: under a name of its own, without what binds the real one to others.

    A RemediationRequest must not take the simulation for the workflow that serves it, so the reference to it is left out.
    """
    metadata = workflow["metadata"]
    suffix = f"-simulation-{ending}"
    name = metadata["name"][: LONGEST_WORKFLOW_NAME - len(suffix)].rstrip("-.") + suffix
    annotations = {k: v for k, v in (metadata.get("annotations") or {}).items() if k not in _NOT_TAKEN_OVER}
    spec = {k: v for k, v in workflow["spec"].items() if k not in {"remediationRequestRef", "suspend"}} | {"simulate": True}
    if not keep:
        spec["ttlSecondsAfterFinished"] = _LEFTOVER_SECONDS
    return {
        **{k: v for k, v in workflow.items() if k != "status"},
        "metadata": {"name": name, "namespace": metadata["namespace"], "labels": metadata.get("labels") or {}, "annotations": annotations},
        "spec": spec,
    }


async def _simulate(cluster: Cluster, arguments: argparse.Namespace, workflow: Document) -> int:
    namespace, name = workflow["metadata"]["namespace"], workflow["metadata"]["name"]
    ending = "".join(secrets.choice(string.ascii_lowercase + string.digits) for _ in range(4))
    wanted = simulation_of(workflow, ending, keep=arguments.keep)
    with refusals(f"simulate workflow {namespace}/{name}", "workflow-author", namespace):
        try:
            made = await cluster.create(WORKFLOW, namespace, await asked_for(cluster, wanted), strict=True)
        except InvalidError as exc:
            raise CommandError(f"workflow {namespace}/{name} is not valid: the API server says: {exc.message}", Exit.USAGE) from exc
    try:
        report = Report(workflow, await _ended(cluster, made, arguments.timeout), arguments.keep)
    finally:
        if not arguments.keep:
            await _delete(cluster, made)
    print_answer(arguments.output, report.document(), report.lines())
    return Exit.DONE if report.would_succeed else Exit.NO


async def _ended(cluster: Cluster, made: Document, seconds: float) -> Document:
    """The simulated workflow once there is no more to learn: it has ended, or nothing but a person's yes is missing."""
    namespace, name = made["metadata"]["namespace"], made["metadata"]["name"]
    seen = made
    with refusals(f"watch the simulation {namespace}/{name}", "workflow-viewer", namespace):
        try:
            async for seen in statuses_patiently(cluster, namespace, name, seconds=seconds):
                if _waits_for_a_person(seen):
                    break
        except TimeoutError as exc:
            message = f"the simulation {namespace}/{name} has not ended within {seconds:g} s: {state_of(seen)}"
            raise CommandError(message, Exit.NO) from exc
        except NotFoundError as exc:
            raise CommandError(f"the simulation {namespace}/{name} was deleted by someone else", Exit.NO) from exc
    return seen


def _waits_for_a_person(workflow: Document) -> bool:
    status = workflow.get("status") or {}
    return status.get("phase") not in TERMINAL and bool((status.get("approval") or {}).get("requestedAt"))


async def _delete(cluster: Cluster, made: Document) -> None:
    namespace, name = made["metadata"]["namespace"], made["metadata"]["name"]
    try:
        await cluster.delete(WORKFLOW, namespace, name, uid=made["metadata"]["uid"])
    except NotFoundError:
        return
    except ApiError as exc:
        way_out = f"it goes by itself {_LEFTOVER_SECONDS} s after its end, or with: kubectl delete wfe {name} -n {namespace}"
        print(f"phasegate: the simulation {namespace}/{name} could not be deleted: {exc}; {way_out}", file=sys.stderr)


def _differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    for key in sorted(before.keys() | after.keys()):
        old, new = before.get(key), after.get(key)
        if old == new:
            continue
        if old is None:
            yield f"+ {clean(key)}: {clean(new)}"
        elif new is None:
            yield f"- {clean(key)}: {clean(old)}"
        else:
            yield f"{clean(key)}: {clean(old)} → {clean(new)}"
