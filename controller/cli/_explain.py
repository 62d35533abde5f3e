"""Why a workflow is where it is: read from its status and its attempts, without asking anybody. Pure.

What is on record is put together, nothing is judged anew: each cause names the gate, the policy and the facts that status keeps of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any

from controller.cli._explanation import Cause, Explanation, Help, State, useful, when, without_repeats
from controller.cli._text import clean, known_instant, spoken
from controller.core import attempt as attempt_phases
from controller.core import phases
from controller.core.durations import parse_duration
from controller.core.names import CANCEL_ANNOTATION, FINALIZER, SYSTEM_NAMESPACE
from controller.core.times import stamp

Document = Mapping[str, Any]

# The gates that can hold a workflow up in each phase; what others said is history.
_GATES = {
    phases.PLANNING: ("planning",),
    phases.VALIDATING: ("safety", "approval"),
    phases.EXECUTING: ("dispatch", "completion", "failure"),
    phases.MONITORING: ("monitoring",),
    phases.ROLLING_BACK: ("rollback",),
}
_BAD = frozenset({"failed", "blocked", "rollback_failed"})
# After this a deleted workflow should have gone: the controller waits 30 s for what runs.
_DELETION_TAKES = timedelta(seconds=60)
_LOOK_AT_CONTROLLER = f"kubectl get deployment workflow-controller -n {SYSTEM_NAMESPACE}"


def explain(
    workflow: Document, attempts: Iterable[Document], now: datetime, sources: Mapping[str, str] = MappingProxyType({})
) -> Explanation:
    """Explain a workflow.

    Args:
        workflow: the object.
        attempts: its KubernetesExecutions.
        now: for how long things last.
        sources: the policy of a rule (`rules.dispatch.freeze`) to the ConfigMap that it is from, as far as that is known.
    """
    case = _Case(workflow, {a["metadata"]["name"]: a for a in attempts}, now, sources)
    state, found = _situation(case)
    causes = without_repeats(entry for entry in found if isinstance(entry, Cause))
    helps = useful(entry for entry in found if isinstance(entry, Help))
    if state == "running" and causes:
        state = "waiting"
    metadata = workflow["metadata"]
    phase, since = case.phase, case.since()
    what = tuple(clean(line) for line in _what(case, state))
    return Explanation(metadata["name"], metadata["namespace"], phase, state, since, what, causes, helps)


def policies_of(workflow: Document, attempts: Iterable[Document]) -> set[str]:
    """The teams' rules that are named anywhere in the verdicts on record."""
    records = [record for found in (workflow, *attempts) for record in ((found.get("status") or {}).get("gates") or {}).values() if record]
    named = {str(reason.get("policy") or "") for record in records for reason in record.get("reasons") or []}
    return {policy for policy in named if policy.startswith("rules.")}


@dataclass(frozen=True, slots=True)
class _Case:
    """What there is to go by."""

    workflow: Document
    attempts: Mapping[str, Document]
    now: datetime
    sources: Mapping[str, str]

    @property
    def name(self) -> str:
        return str(self.workflow["metadata"]["name"])

    @property
    def place(self) -> str:
        """The workflow on the command line."""
        return f"{self.name} -n {self.workflow['metadata']['namespace']}"

    @property
    def spec(self) -> Document:
        spec: Document = self.workflow["spec"]
        return spec

    @property
    def status(self) -> Document:
        return self.workflow.get("status") or {}

    @property
    def phase(self) -> str:
        return str(self.status.get("phase") or "")

    @property
    def waiting_for(self) -> str:
        return str(self.status.get("waitingFor") or "")

    @property
    def steps(self) -> Sequence[Document]:
        return self.status.get("stepStatuses") or []

    def since(self) -> str:
        """Since when the workflow is in its phase."""
        key = "completionTime" if self.phase in phases.TERMINAL else phases.ENTERED.get(self.phase, "")
        return str(self.status.get(key) or self.workflow["metadata"].get("creationTimestamp") or "")

    def written(self, number: int) -> Document:
        """A step as its author wrote it."""
        return next((s for s in self.spec["workflowDefinition"]["steps"] if s["stepNumber"] == number), {})

    def retries(self, number: int) -> int:
        default = (self.spec.get("executionStrategy") or {}).get("maxRetries", 0)
        return int(self.written(number).get("maxRetries", default))

    def deadline(self, entry: Document) -> str:
        """When the current attempt at a step has outlived its time, if the workflow says how long that is."""
        written = (entry.get("adjusted") or {}).get("timeout") or self.written(entry["stepNumber"]).get("timeout")
        return _later(entry.get("startTime"), written or (self.spec.get("timeouts") or {}).get("step"))


def _situation(case: _Case) -> tuple[State, list[Cause | Help]]:
    if case.workflow["metadata"].get("deletionTimestamp"):
        return "deleting", list(_deleting(case))
    if not case.phase:
        return "new", list(_new(case))
    if case.phase in phases.TERMINAL:
        return "ended", list(_ended(case))
    found = list(_alive(case))
    if case.waiting_for and not any(isinstance(entry, Cause) for entry in found):
        # No verdict, step or attempt on record says more than this line.
        held = case.waiting_for.startswith("held back")
        found.append(Cause(case.waiting_for, gate="dispatch" if held else ""))
        found += [Help("see the rules that decide", "phasegate policy status")] if held else []
        found += [Help(case.status["remedy"])] if case.status.get("remedy") else []
    return "running", found


# what


def _what(case: _Case, state: State) -> Iterator[str]:
    metadata, status = case.workflow["metadata"], case.status
    phase = case.phase.replace("_", " ") or "not looked at yet"
    told = f"ended as {phase}," if case.phase in phases.TERMINAL else f"is {phase} since"
    yield f"workflow {metadata['namespace']}/{metadata['name']} {told} {when(case.since(), case.now)}"
    if state == "deleting":
        yield f"it is being deleted since {when(metadata['deletionTimestamp'], case.now)}"
    if total := status.get("totalSteps"):
        yield f"{status.get('completedSteps', 0)} of {total} steps are completed"
    if state == "ended":
        yield from _outcome(status)
        return
    for entry in case.steps:
        if entry["status"] == "executing":
            yield f"step {entry['stepNumber']} ({entry['name']}) runs {entry['action']} since {when(entry.get('startTime'), case.now)}"
        elif _is_being_undone(entry):
            yield f"step {entry['stepNumber']} ({entry['name']}) is being taken back"
    if case.waiting_for:
        yield f"it waits for {case.waiting_for}"
    elif state == "running":
        yield "it runs well: nothing holds it up"
    if status.get("clockStoppedSince"):
        yield f"no time limit runs since {when(status['clockStoppedSince'], case.now)}"


def _outcome(status: Document) -> Iterator[str]:
    if status.get("message"):
        yield str(status["message"])
    result = status.get("workflowResult") or {}
    if result:
        told = [f"outcome {result['outcome']}"]
        told += [f"effectiveness {result['effectivenessScore']:g}"] if "effectivenessScore" in result else []
        told += [f"resources {result['resourceHealth']}"] if result.get("resourceHealth") else []
        told += ["new alerts came up"] if result.get("newAlertsTriggered") else []
        yield ", ".join(told)
    if status.get("failureReason"):
        step = f" at step {status['failedStep']} ({status['failedAction']})" if status.get("failedStep") else ""
        yield f"reason: {status['failureReason']}{step}"


# why, and what helps


def _new(case: _Case) -> Iterator[Cause | Help]:
    yield Cause("no controller has looked at it yet", "not_looked_at", since=case.since())
    yield Help("see whether the controller runs", _LOOK_AT_CONTROLLER)


def _deleting(case: _Case) -> Iterator[Cause | Help]:
    metadata = case.workflow["metadata"]
    since = metadata["deletionTimestamp"]
    for name, attempt in sorted(case.attempts.items()):
        if not attempt_phases.has_ended(attempt):
            phase = attempt_phases.phase_of(attempt) or "not begun"
            yield Cause(f"it waits for its attempt to end ({phase})", "attempt_runs", attempt=name, since=since)
    for finalizer in metadata.get("finalizers") or []:
        yield Cause(f"finalizer {finalizer} keeps it", "finalizer", since=since)
        if finalizer != FINALIZER:
            yield Help(f"finalizer {finalizer} is not the controller's: whoever set it has to remove it")
            continue
        deleted = known_instant(since)
        if deleted is not None and case.now - deleted > _DELETION_TAKES:
            yield Help("its finalizer should have been removed by now: see whether the controller runs", _LOOK_AT_CONTROLLER)
        else:
            yield Help("nothing needs to be done: the controller cancels what runs, and lets it go within half a minute")


def _alive(case: _Case) -> Iterator[Cause | Help]:
    ready: Document = next((c for c in case.status.get("conditions") or [] if c["type"] == "PolicyReady"), {})
    if ready.get("status") == "False":
        yield Cause(ready.get("message", ""), "no_decision", since=ready.get("lastTransitionTime", ""))
        yield Help("see which policies decide, and whether one was refused", "phasegate policy status")
        yield Help("see what OPA says", f"kubectl logs deployment/workflow-controller -n {SYSTEM_NAMESPACE} -c opa --tail=20")
        if case.status.get("remedy"):
            yield Help(case.status["remedy"])
    generation, seen = case.workflow["metadata"].get("generation", 0), case.status.get("observedGeneration", 0)
    if generation > seen:
        yield Cause("the controller has not looked at the latest change of its spec yet", "not_looked_at")
        yield Help("see whether the controller runs", _LOOK_AT_CONTROLLER)
    yield from _asked_to_stop(case)
    yield from _suspended(case)
    yield from _approval(case)
    if ready.get("status") != "False":
        yield from _held_by_gates(case)
    for entry in case.steps:
        yield from _step(case, entry)


def _asked_to_stop(case: _Case) -> Iterator[Cause | Help]:
    reason = (case.workflow["metadata"].get("annotations") or {}).get(CANCEL_ANNOTATION)
    if reason is not None:
        yield Cause(f"somebody asked to cancel it: {reason}; what runs finishes first", "cancelled")
    if halting := case.status.get("halting"):
        message = f"{halting.get('message', '')}; what runs finishes first, then it turns to {halting['action']}"
        yield Cause(message, case.status.get("failureReason", ""), "failure", step=case.status.get("failedStep"))
        if halting.get("remedy"):
            yield Help(halting["remedy"])


def _suspended(case: _Case) -> Iterator[Cause | Help]:
    if not case.spec.get("suspend") or case.phase not in {phases.PLANNING, phases.VALIDATING, phases.EXECUTING}:
        return
    record = (case.status.get("gates") or {}).get("dispatch") or {}
    since = record.get("time", "") if "suspended" in {r["code"] for r in record.get("reasons") or []} else ""
    yield Cause("spec.suspend is true: no step starts", "suspended", "dispatch", "dispatch", since=since)
    patch = """-p '{"spec":{"suspend":false}}'"""
    yield Help("let it go on", f"kubectl patch wfe {case.place} --type merge {patch}")


def _approval(case: _Case) -> Iterator[Cause | Help]:
    approval = case.status.get("approval") or {}
    received = (case.status.get("validationResults") or {}).get("approvalReceived")
    if case.phase != phases.VALIDATING or not approval.get("requestedAt") or received:
        return
    facts = tuple(((case.status.get("gates") or {}).get("approval") or {}).get("facts") or ())
    times = {"since": approval["requestedAt"], "until": approval.get("expiresAt", "")}
    for reason in approval.get("reasons") or [{"code": "approval_required", "message": "a person has to say yes"}]:
        yield Cause(reason["message"], reason["code"], "approval", reason.get("policy", ""), facts=facts, **times)
        yield from _change_rule(case, reason)
    if approval.get("count"):
        yield Cause(f"{approval.get('received', 0)} of {approval['count']} people have said yes", "approvals_missing", "approval")
    for decision in approval.get("decisions") or []:
        stale = "" if decision.get("planHash") in {None, approval.get("planHash")} else ", about another plan: it does not count"
        yield Cause(f"{decision['approver']} said {decision['decision']}{stale}", "decision", "approval", since=decision.get("time", ""))
    terms = ["who has the role workflow-approver"]
    terms += [f"who is in one of the groups {', '.join(approval['groups'])}"] if approval.get("groups") else []
    terms += [f"who is not {case.spec.get('requestedBy') or 'its requester'}"] if approval.get("notRequester") else []
    yield Help(f"say yes, as somebody {' and '.join(terms)}", f"phasegate approve {case.place}")
    yield Help("or say no", f"phasegate reject {case.place}")


def _held_by_gates(case: _Case) -> Iterator[Cause | Help]:
    """The verdicts that are behind `waitingFor`; an older one, of which it says nothing, holds nothing up any more."""
    for gate in _GATES.get(case.phase, ()):
        record = (case.status.get("gates") or {}).get(gate) or {}
        if record.get("decision") == "wait" and any(r["code"] in case.waiting_for for r in record.get("reasons") or []):
            # What is said of suspending by itself is not said again.
            reasons = [r for r in record["reasons"] if r["code"] != "suspended"]
            yield from _verdict(case, gate, {**record, "reasons": reasons})


def _verdict(case: _Case, gate: str, record: Document, *, step: int | None = None, attempt: str = "") -> Iterator[Cause | Help]:
    facts, since = tuple(record.get("facts") or ()), record.get("time", "")
    for reason in record.get("reasons") or []:
        policy = reason.get("policy", "")
        yield Cause(reason["message"], reason["code"], gate, policy, step, attempt, facts, since)
        if reason.get("remedy"):
            yield Help(reason["remedy"])
        yield from _change_rule(case, reason)


def _change_rule(case: _Case, reason: Document) -> Iterator[Help]:
    """Who may can change a team's rule; the shipped policies are no place to look for help."""
    policy = reason.get("policy") or ""
    if not policy.startswith("rules."):
        return
    if source := case.sources.get(policy):
        yield Help(f"or change the team's rule {policy}, if it is yours", f"kubectl edit configmap {source} -n {SYSTEM_NAMESPACE}")
    else:
        yield Help(
            f"or have the team's rule changed: package kubernaut.{policy}; this names its ConfigMap", "phasegate policy status -o json"
        )


# steps and their attempts


def _step(case: _Case, entry: Document) -> Iterator[Cause | Help]:
    """What holds up a step that is under way, tried again, or being taken back."""
    number = entry["stepNumber"]
    if entry["status"] in {"pending", "executing"}:
        yield from _own_conditions(case, entry)
    if entry["status"] == "pending" and entry.get("nextRetryTime"):
        yield from _retry(case, entry)
    undoing = _is_being_undone(entry)
    if entry["status"] != "executing" and not undoing:
        return
    name = (entry.get("rollbackRef" if undoing else "k8sExecutionRef") or {}).get("name", "")
    attempt = case.attempts.get(name)
    if attempt is None:
        yield Cause("its KubernetesExecution is not there (yet)", "attempt_missing", step=number, attempt=name)
        return
    if attempt_phases.has_ended(attempt):
        return
    yield from _attempt(case, number, attempt, until="" if undoing else case.deadline(entry))


def _attempt(case: _Case, number: int, attempt: Document, *, until: str = "") -> Iterator[Cause | Help]:
    """What an attempt that runs waits for."""
    name, status = attempt["metadata"]["name"], attempt.get("status") or {}
    reason = (attempt["metadata"].get("annotations") or {}).get(CANCEL_ANNOTATION)
    if reason is not None:
        yield Cause(f"it was asked to end: {reason}", "cancelled", step=number, attempt=name)
    gate = "verify" if attempt_phases.phase_of(attempt) == attempt_phases.VERIFYING else "action"
    record = (status.get("gates") or {}).get(gate) or {}
    unmet = list(_conditions(case, attempt, gate, until))
    yield from unmet
    waits = list(_verdict(case, gate, record, step=number, attempt=name)) if record.get("decision") == "wait" else []
    # Where conditions are on record, the gate's own reasons name each of them once more.
    yield from (said for said in waits if isinstance(said, Help) or not unmet or said.policy.startswith("rules."))
    found = bool(unmet or waits)
    results = status.get("executionResults") or {}
    if not found and results.get("message"):
        missing = "right" in (status.get("conditionSince") or {})
        since = (status.get("conditionSince") or {}).get("right", "")
        yield Cause(results["message"], "right_missing" if missing else "", "", "", number, name, since=since, until=until)
        if missing:
            yield Help(
                f"give ServiceAccount {SYSTEM_NAMESPACE}/{_account_of(attempt)} that right, or cancel",
                f"phasegate cancel {case.place} --reason WHY",
            )
        found = True
    if found:
        yield Help("see all that the attempt has on record", f"kubectl describe ke {name} -n {attempt['metadata']['namespace']}")


def _conditions(case: _Case, attempt: Document, gate: str, until: str = "") -> Iterator[Cause]:
    """The required conditions of an attempt that do not hold, with the time that they still have; ``until``: the attempt's."""
    number, status = attempt["spec"]["stepNumber"], attempt.get("status") or {}
    record = (status.get("gates") or {}).get(gate) or {}
    place, terms = ("postConditionResults", "postConditions") if gate == "verify" else ("preConditionResults", "preConditions")
    written = {c["type"]: c for c in case.written(number).get(terms) or []}
    for result in status.get(place) or []:
        if result.get("passed") is not False or result.get("required") is False:
            continue
        kind = result["conditionType"]
        since = (status.get("conditionSince") or {}).get(kind) or result.get("evaluationTime", "")
        end = _later(since, (written.get(kind) or {}).get("timeout")) or until
        policy = next((str(r.get("policy") or "") for r in record.get("reasons") or []), "")
        facts = tuple(record.get("facts") or ())
        yield Cause(result.get("message") or "it does not hold", kind, gate, policy, number, attempt["metadata"]["name"], facts, since, end)


def _own_conditions(case: _Case, entry: Document) -> Iterator[Cause]:
    """The required conditions that the workflow itself judges, by reference, and finds unmet."""
    number = entry["stepNumber"]
    gate, terms = ("dispatch", "preConditions") if entry["status"] == "pending" else ("completion", "postConditions")
    for written in case.written(number).get(terms) or []:
        since = (case.status.get("conditionSince") or {}).get(f"{number}/{written['type']}")
        if since and written.get("required", True):
            message = written.get("description") or f"it does not hold ({written.get('rego') or 'of the action'})"
            yield Cause(message, written["type"], gate, step=number, since=since, until=_later(since, written.get("timeout")))


def _retry(case: _Case, entry: Document) -> Iterator[Cause | Help]:
    number, at = entry["stepNumber"], entry["nextRetryTime"]
    name = (entry.get("k8sExecutionRef") or {}).get("name", "")
    tries = f"try {entry.get('attempts', 1)} of {1 + case.retries(number)} failed"
    attempt = case.attempts.get(name) or {}
    results = (attempt.get("status") or {}).get("executionResults") or {}
    said = results.get("errorMessage") or entry.get("message") or "without saying why"
    yield Cause(f"{tries}: {said}", entry.get("errorType", ""), "failure", step=number, attempt=name, until=at)
    if attempt:
        yield from _refusal(case, number, attempt)
    due = known_instant(at)
    yield Help(f"nothing needs to be done: step {number} is tried again by itself" + (f" in {spoken(due - case.now)}" if due else ""))
    yield Help("or let nothing more start", f"phasegate cancel {case.place} --reason WHY")


def _refusal(case: _Case, number: int, attempt: Document) -> Iterator[Cause | Help]:
    """On which conditions and verdicts an attempt failed."""
    status = attempt.get("status") or {}
    for gate in ("action", "verify"):
        record = (status.get("gates") or {}).get(gate) or {}
        yield from _conditions(case, attempt, gate)
        if record.get("decision") == "deny":
            yield from _verdict(case, gate, record, step=number, attempt=attempt["metadata"]["name"])
    if remedy := (status.get("executionResults") or {}).get("remedy"):
        yield Help(remedy)


# the end


def _ended(case: _Case) -> Iterator[Cause | Help]:
    status = case.status
    denied = [g for gates in _GATES.values() for g in gates if ((status.get("gates") or {}).get(g) or {}).get("decision") == "deny"]
    for gate in denied:
        yield from _verdict(case, gate, status["gates"][gate])
    bad = [entry for entry in case.steps if entry["status"] in _BAD or entry.get("errorMessage")]
    for entry in bad:
        yield from _failed_step(case, entry)
    if status.get("failureReason") and not denied and not bad:
        yield Cause(status.get("message") or "", status["failureReason"])
    if status.get("remedy"):
        yield Help(status["remedy"])
    for action in (status.get("workflowResult") or {}).get("recommendedActions") or []:
        yield Help(action)
    if case.phase == phases.DEGRADED:
        yield Help("take back what was done, last step first", f"phasegate rollback {case.place} --reason WHY")
    elif case.phase != phases.COMPLETED:
        yield Help("mend what is named above, and apply the workflow under a new name: this one has ended")


def _failed_step(case: _Case, entry: Document) -> Iterator[Cause | Help]:
    number = entry["stepNumber"]
    undone = entry["status"] == "rollback_failed"
    name = (entry.get("rollbackRef" if undone else "k8sExecutionRef") or {}).get("name", "")
    said = entry.get("errorMessage") or entry.get("message") or "it does not say why"
    message = f"it could not be taken back: {said}" if undone else said
    yield Cause(message, entry.get("errorType", ""), step=number, attempt=name, since=entry.get("endTime", ""))
    if (attempt := case.attempts.get(name)) is not None:
        yield from _refusal(case, number, attempt)
        yield Help("see all that the attempt has on record", f"kubectl describe ke {name} -n {attempt['metadata']['namespace']}")
    if entry.get("remedy"):
        yield Help(entry["remedy"])


# small things


def _is_being_undone(entry: Document) -> bool:
    return bool(entry.get("rollbackRef")) and entry["status"] not in {"rolled_back", "rollback_failed"}


def _account_of(attempt: Document) -> str:
    return str((attempt.get("status") or {}).get("serviceAccount") or f"{attempt['spec']['action'].replace('_', '-')}-sa")


def _later(since: object, duration: object) -> str:
    began = known_instant(since)
    if began is None or not isinstance(duration, str):
        return ""
    try:
        return stamp(began + parse_duration(duration))
    except ValueError:
        return ""
