"""A workflow's status as a working copy: every move that a reconcile can make is one method here, and nothing else changes status.

Pure: the instant comes in, nothing goes out. What outsiders are to be told (Events) and what is to be done in the world (children to
create, attempts to cancel) is collected, and carried out by the reconciler after the one write.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from controller.core import bounds, conditions, phases, stopwatch
from controller.core.durations import format_duration
from controller.core.names import attempt_name
from controller.core.plan import Plan
from controller.core.times import instant, stamp

MAX_MESSAGE = 1024
_MOST_ADJUSTMENTS = 100
_MOST_WAITED_FOR = 1100
_DONE = frozenset({"completed", "skipped"})
_SETTLED = frozenset({"completed", "skipped", "failed", "blocked", "rolled_back", "rollback_failed"})


@dataclass(frozen=True, slots=True)
class Notice:
    """An Event to emit after the write."""

    reason: str
    message: str
    warning: bool = False


@dataclass(frozen=True, slots=True)
class Start:
    """An attempt whose KubernetesExecution is to be created after the write."""

    step: int
    number: int
    name: str
    rollback: bool = False
    undo_of: str = ""
    overwrite: bool = False
    timeout: str = ""
    rollback_spec: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a step, or the workflow, did not go well."""

    reason: str
    message: str
    error_type: str = "execution_error"
    remedy: str = ""
    step: int | None = None
    snapshot: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """`clusterState` and `resourceSnapshot`, as far as they are known."""


class Draft:
    """The working copy of one reconcile. Entries of `stepStatuses` are copied when they are first touched."""

    def __init__(self, workflow: Mapping[str, Any], now: datetime) -> None:
        self._workflow = workflow
        self._original: Mapping[str, Any] = workflow.get("status") or {}
        self._touched: set[int] = set()
        self._steps: list[dict[str, Any]] = list(self._original.get("stepStatuses") or [])
        self._position = {entry["stepNumber"]: i for i, entry in enumerate(self._steps)}
        self.status: dict[str, Any] = {k: v for k, v in self._original.items() if k not in {"stepStatuses", "conditions"}}
        self.now = now
        stopwatch.run(self.status, now)
        self.notices: list[Notice] = []
        self.starts: list[Start] = []
        self.policy_problem = ""

    # What is.

    @property
    def name(self) -> str:
        """The workflow's."""
        return str(self._workflow["metadata"]["name"])

    @property
    def phase(self) -> str:
        """The phase now, "" for a new workflow."""
        return str(self.status.get("phase", phases.NEW))

    @property
    def halting(self) -> Mapping[str, Any] | None:
        """What the workflow turns to once the running steps have ended, if a step has failed."""
        return self.status.get("halting")

    def steps(self) -> Iterator[Mapping[str, Any]]:
        """Yield every step's line, in order of number."""
        return iter(self._steps)

    def step(self, number: int) -> Mapping[str, Any]:
        """One step's line."""
        return self._steps[self._position[number]]

    def state(self, number: int) -> str:
        """One step's status."""
        return str(self.step(number)["status"])

    def completed_steps(self) -> list[int]:
        """Steps that have been completed."""
        return [entry["stepNumber"] for entry in self._steps if entry["status"] == "completed"]

    def executing(self) -> list[int]:
        """Steps that have an attempt under way."""
        return [entry["stepNumber"] for entry in self._steps if entry["status"] == "executing"]

    def ready(self, plan: Plan) -> tuple[list[int], datetime | None]:
        """Tell which steps could start now, in plan order, and when the next retry is due."""
        ready: list[int] = []
        due: datetime | None = None
        for number in plan.order():
            entry = self.step(number)
            if entry["status"] != "pending" or not all(self.state(d) in _DONE for d in plan.steps[number]["dependsOn"]):
                continue
            at = instant(entry["nextRetryTime"]) if entry.get("nextRetryTime") else None
            if at is None or at <= self.now:
                ready.append(number)
            elif due is None or at < due:
                due = at
        return ready, due

    def all_settled(self) -> bool:
        """Tell whether no step can go any further."""
        return all(entry["status"] in _SETTLED for entry in self._steps)

    # Moves between phases.

    def enter(self, phase: str, message: str = "") -> None:
        """Go on to another phase."""
        before = self.phase
        phases.check_transition(before, phase)
        self.status["phase"] = phase
        at = stamp(self.now)
        if phase == phases.PLANNING:
            self.status["startTime"] = at
        if key := phases.ENTERED.get(phase):
            self.status[key] = at
        if phase == phases.ROLLED_BACK or (before == phases.ROLLING_BACK and phase == phases.FAILED):
            self.status["rollbackCompletionTime"] = at
        stopwatch.reset(self.status)
        self.status.pop("conditionSince", None)
        if phase == phases.ROLLING_BACK:
            # A degraded workflow has ended once already; it ends a second time.
            for key in ("completionTime", "executionMetrics"):
                self.status.pop(key, None)
            self.notices.append(Notice("RollbackStarted", str(self.status.get("rollbackReason", ""))))
        if phase in phases.TERMINAL:
            self.status["completionTime"] = at
            self._close_books()
        self.status["message"] = message[:MAX_MESSAGE]
        self._calm()
        self.notices.append(Notice("PhaseTransition", f"{before or 'new'} → {phase}" + (f": {message}" if message else "")))

    def complete(self, outcome: str, message: str) -> None:
        """End the workflow well, or as well as can be known."""
        self.enter(phases.COMPLETED, message)
        self.notices.append(Notice("WorkflowExecutionCompleted", f"outcome {outcome}: {message}"))

    def fail(self, fault: Fault, phase: str = phases.FAILED) -> None:
        """End the workflow badly, in ``phase``."""
        if self.phase == phases.VALIDATING and fault.reason != "cancelled":
            self.notices.append(Notice("WorkflowValidationFailed", f"{fault.reason}: {fault.message}", warning=True))
        self.blame(fault)
        self.enter(phase, fault.message)
        if fault.remedy:
            self.status["remedy"] = fault.remedy[:MAX_MESSAGE]
        self.notices.append(Notice("WorkflowExecutionFailed", f"{fault.reason}: {fault.message}", warning=True))

    def blame(self, fault: Fault) -> None:
        """Record the first cause; later ones do not replace it."""
        if self.status.get("failureReason"):
            return
        self.status["failureReason"] = fault.reason
        self.status["errorType"] = fault.error_type
        if fault.step is not None:
            self.status["failedStep"] = fault.step
            self.status["failedAction"] = self.step(fault.step)["action"]
            self.status["executionSnapshot"] = {
                "completedSteps": self.completed_steps(),
                "currentStep": fault.step,
                **fault.snapshot,
            }

    def halt(self, action: str, fault: Fault) -> None:
        """Let nothing new start; once the running steps have ended, do ``action`` (rollback, fail, degrade, block)."""
        self.blame(fault)
        if not self.halting:
            self.status["halting"] = {"action": action, "message": fault.message[:MAX_MESSAGE], "remedy": fault.remedy[:MAX_MESSAGE]}

    def wait(self, line: str, remedy: str = "") -> None:
        """Say what the workflow waits for, in one line, and what would help."""
        self.status["waitingFor"] = line[:MAX_MESSAGE]
        if remedy:
            self.status["remedy"] = remedy[:MAX_MESSAGE]
        else:
            self.status.pop("remedy", None)

    def _calm(self) -> None:
        self.status.pop("waitingFor", None)
        self.status.pop("remedy", None)

    def proceed(self) -> None:
        """Say that the workflow waits for nothing."""
        self._calm()

    def stop_clock(self) -> None:
        """Count the time from now on against no limit, until a reconcile ends without saying so again."""
        stopwatch.stop(self.status, self._original, self.now)

    def elapsed(self) -> timedelta:
        """How long the phase has lasted, as far as time counts."""
        return self.now - instant(self.status[phases.ENTERED[self.phase]]) - stopwatch.uncounted(self.status)

    # Moves of planning and validating.

    def planned(self, plan: Plan, spec: Mapping[str, Any], digests: Mapping[str, str], plan_hash: str, estimated: str) -> None:
        """Record the plan, and a line for every step."""
        strategy = spec.get("executionStrategy") or {}
        self.status["executionPlan"] = {
            "strategy": plan.strategy,
            "estimatedDuration": estimated,
            "rollbackStrategy": strategy.get("rollbackStrategy", "automatic"),
            "safetyChecks": strategy.get("safetyChecks") or [],
            "batches": [{"batchNumber": i, "steps": list(batch)} for i, batch in enumerate(plan.batches, start=1)],
            "planHash": plan_hash,
            "actionDigests": dict(digests),
        }
        self._steps = [
            {"stepNumber": n, "name": s["name"], "action": s["action"], "status": "pending", "attempts": 0, "retriesAttempted": 0}
            for n, s in plan.steps.items()
        ]
        self._position = {entry["stepNumber"]: i for i, entry in enumerate(self._steps)}
        self._touched = set(self._position)
        self.status["totalSteps"] = len(self._steps)

    def judged(self, gate: str, summary: Mapping[str, Any]) -> None:
        """Keep the last verdict of a gate; a verdict that says the same again keeps its first time."""
        gates = dict(self.status.get("gates") or {})
        before = gates.get(gate) or {}
        same = all(before.get(key) == summary[key] for key in ("decision", "reasons", "policyRevision"))
        if not same:
            gates[gate] = summary
            self.status["gates"] = gates
            self.status["policyRevision"] = summary["policyRevision"]
            if summary["decision"] == "deny":
                first = summary["reasons"][0] if summary["reasons"] else {"code": "denied", "message": ""}
                self.notices.append(Notice("GateDenied", f"{gate}: {first['code']}: {first['message']}", warning=True))

    # Moves of steps.

    def _edit(self, number: int) -> dict[str, Any]:
        position = self._position[number]
        if number not in self._touched:
            self._steps[position] = dict(self._steps[position])
            self._touched.add(number)
        return self._steps[position]

    def start(self, number: int, adjusted: Mapping[str, Any] | None = None) -> None:
        """Let a step's next attempt begin, with what policy adjusted of it."""
        entry = self._edit(number)
        attempt = entry["attempts"]
        name = attempt_name(self.name, number, attempt)
        for key in ("nextRetryTime", "message", "errorMessage", "errorType", "endTime", "remedy", "adjusted"):
            entry.pop(key, None)
        if adjusted:
            entry["adjusted"] = dict(adjusted)
        entry |= {
            "status": "executing",
            "attempts": attempt + 1,
            "startTime": stamp(self.now),
            "k8sExecutionRef": {"name": name, "namespace": self._workflow["metadata"]["namespace"]},
        }
        self.starts.append(Start(number, attempt, name))
        self.notices.append(Notice("StepStarted", f"step {number} ({entry['name']}): {entry['action']} as {name}"))

    def adjusted(self, number: int, adjustment: str, reason: str) -> None:
        """Record what policy changed on the way; saying the same again is no news. ``number`` is 0 for the whole workflow."""
        entry = {"adjustment": adjustment[:MAX_MESSAGE], "reason": reason[:MAX_MESSAGE]} | ({"stepNumber": number} if number else {})
        known = list(self.status.get("adaptiveAdjustments") or [])
        if len(known) < _MOST_ADJUSTMENTS and not any(entry.items() <= former.items() for former in known):
            self.status["adaptiveAdjustments"] = [*known, {"timestamp": stamp(self.now), **entry}]

    def restart(self, number: int) -> None:
        """Create the current attempt again: it was allowed and written, but a crash kept it from being made."""
        entry = self.step(number)
        self.starts.append(Start(number, entry["attempts"] - 1, entry["k8sExecutionRef"]["name"]))

    def restart_undo(self, number: int, start: Start) -> None:
        """Create the current undo attempt again."""
        if self.step(number)["rollbackRef"]["name"] != start.name:
            raise phases.TransitionError(f"undo attempt {start.name} is not the current one of step {number}")
        self.starts.append(start)

    def seen(self, number: int, uid: str, *, rollback: bool = False) -> None:
        """Note the uid of a step's attempt. By itself no reason to write: `changed` does not count it."""
        key = "rollbackRef" if rollback else "k8sExecutionRef"
        reference = self.step(number)[key]
        if reference.get("uid") != uid:
            position = self._position[number]
            self._steps[position] = {**self._steps[position], key: {**reference, "uid": uid}}

    def completed(self, number: int, message: str) -> None:
        """A step reached what it should."""
        entry = self._edit(number)
        order = 1 + max((e.get("completionOrder", 0) for e in self._steps), default=0)
        self._forget(number)
        entry |= {"status": "completed", "endTime": stamp(self.now), "message": message[:MAX_MESSAGE], "completionOrder": order}
        self.notices.append(Notice("StepCompleted", f"step {number} ({entry['name']}): {message}"))

    def failed(self, number: int, fault: Fault, status: str = "failed") -> None:
        """A step's last attempt went wrong, or (``blocked``) was refused before anything was sent."""
        entry = self._edit(number)
        self._forget(number)
        entry |= {
            "status": status,
            "endTime": stamp(self.now),
            "errorMessage": fault.message[:MAX_MESSAGE],
            "errorType": fault.error_type,
            "message": fault.message[:MAX_MESSAGE],
        }
        if fault.remedy:
            entry["remedy"] = fault.remedy[:MAX_MESSAGE]
        self.notices.append(Notice("StepFailed", f"step {number} ({entry['name']}): {fault.reason}: {fault.message}", warning=True))

    def retry(self, number: int, fault: Fault, at: datetime) -> None:
        """Try a step again, not before ``at``."""
        entry = self._edit(number)
        self._forget(number)
        entry |= {
            "status": "pending",
            "retriesAttempted": entry["retriesAttempted"] + 1,
            "nextRetryTime": stamp(at),
            "message": f"tried again at {stamp(at)}: {fault.message}"[:MAX_MESSAGE],
            "errorType": fault.error_type,
        }

    def skip(self, number: int, why: str) -> None:
        """A step is not needed, or cannot run because one that it depends on failed."""
        entry = self._edit(number)
        entry |= {"status": "skipped", "endTime": stamp(self.now), "message": why[:MAX_MESSAGE]}

    def skip_dependants(self, plan: Plan, number: int) -> None:
        """Skip whatever depends, at any distance, on a step that failed without being critical."""
        waiting = list(plan.dependants[number])
        while waiting:
            dependant = waiting.pop()
            if self.state(dependant) == "pending":
                self.skip(dependant, f"step {number} failed, which this one depends on")
                waiting.extend(plan.dependants[dependant])

    # Moves of taking back.

    def start_undo(self, number: int, attempt: int, start: Start) -> None:
        """Begin to take a step back."""
        entry = self._edit(number)
        entry["rollbackAttempts"] = attempt + 1
        entry["rollbackRef"] = {"name": start.name, "namespace": self._workflow["metadata"]["namespace"]}
        if start.overwrite:
            entry["rollbackOverwrites"] = True
        else:
            entry.pop("rollbackOverwrites", None)
        self.starts.append(start)

    def undone(self, number: int, message: str) -> None:
        """A step has been taken back."""
        self._edit(number).update({"status": "rolled_back", "message": message[:MAX_MESSAGE]})

    def undo_failed(self, number: int, message: str) -> None:
        """A step could not be taken back."""
        self._edit(number).update({"status": "rollback_failed", "errorMessage": message[:MAX_MESSAGE]})
        self.notices.append(Notice("StepFailed", f"step {number} could not be undone: {message}", warning=True))

    # The end of a reconcile.

    def since(self, key: str, *, unmet: bool) -> str:
        """When a condition was first seen unmet; forgets it once it is met."""
        kept = dict(self.status.get("conditionSince") or {})
        if unmet and key not in kept and len(kept) >= _MOST_WAITED_FOR:
            # It is waited for as if it had just been seen, until there is room to remember it.
            return stamp(self.now)
        if unmet and key not in kept:
            kept[key] = stamp(self.now)
        elif not unmet and key in kept:
            del kept[key]
        else:
            return str(kept.get(key, ""))
        self.status["conditionSince"] = kept
        return str(kept.get(key, ""))

    def forget_pending(self) -> None:
        """Let the conditions of steps that have not started begin to be waited for afresh."""
        self._forget(*(entry["stepNumber"] for entry in self._steps if entry["status"] == "pending"))

    def _forget(self, *numbers: int) -> None:
        known, gone = self.status.get("conditionSince") or {}, {str(number) for number in numbers}
        kept = {key: first for key, first in known.items() if key.partition("/")[0] not in gone}
        if len(kept) < len(known):
            self.status["conditionSince"] = kept

    def _close_books(self) -> None:
        """Put the workflow in figures, once it has ended; how much it touched is only known to its attempts (`touched`)."""
        started, executed = self.status.get("startTime"), self.status.get("executionStartTime")
        ran = [e for e in self._steps if e["attempts"]]
        good = sum(e["status"] == "completed" for e in ran)
        self.status["executionMetrics"] = {
            "totalDuration": format_duration(self.now - instant(started)) if started else "0s",
            "stepSuccessRate": round(good / len(ran), 4) if ran else 0.0,
            "rollbacksPerformed": sum(e["status"] == "rolled_back" for e in self._steps),
            "resourcesAffected": 0,
        }
        if executed and (plan := self.status.get("executionPlan")):
            self.status["executionPlan"] = {**plan, "actualDuration": format_duration(self.now - instant(executed))}
        if self.phase != phases.COMPLETED:
            self.status.setdefault("workflowResult", {"outcome": "failed"})

    def touched(self, resources: int) -> None:
        """Record how many objects the attempts changed, in a workflow that has ended."""
        self.status["executionMetrics"] = {**self.status["executionMetrics"], "resourcesAffected": resources}

    def final(self) -> dict[str, Any]:
        """Compute the whole status to write: counters and conditions are derived here and nowhere else."""
        status = dict(self.status)
        if self._steps:
            status["stepStatuses"] = self._steps
        done = sum(e["status"] in _DONE for e in self._steps)
        status["currentStep"] = min(self.executing(), default=0)
        if self.phase not in {phases.ROLLING_BACK, phases.ROLLED_BACK} and not status.get("rollbackStartTime"):
            status["completedSteps"] = len(self.completed_steps())
            progress = 100 * done // len(self._steps) if self._steps else 0
            status["progress"] = max(progress, self._original.get("progress", 0))
        generation = status["observedGeneration"] = self._workflow["metadata"].get("generation", 0)
        status["conditions"] = conditions.derive(
            {**status, "conditions": self._original.get("conditions")},
            now=stamp(self.now),
            generation=generation,
            policy_problem=self.policy_problem,
        )
        return bounds.fit(status)

    def changed(self, status: Mapping[str, Any]) -> bool:
        """Tell whether the final status says anything that is not written yet. A uid that was learnt since does not count."""
        if {k: v for k, v in status.items() if k != "stepStatuses"} != {k: v for k, v in self._original.items() if k != "stepStatuses"}:
            return True
        before = self._original.get("stepStatuses") or []
        return len(before) != len(self._steps) or any(self._steps[self._position[n]] != before[self._position[n]] for n in self._touched)
