"""Every metric of this program, by its exact name, in one registry of its own.

Label values come from small closed sets, and start at 0 where they are known, so that the first of a kind is seen as a rise; words
that a policy's author chose are bounded. No label ever holds the name of an object.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import product
from typing import Any, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Metric, disable_created_metrics, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from typing_extensions import override

from controller.core import phases
from controller.observe.gauges import Standing, standing

# Without this, the counter `…_created_total` would come with a series `…_created_created` that nobody can explain.
disable_created_metrics()  # type: ignore[no-untyped-call]  # the library leaves it untyped

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_PHASE_BUCKETS = (1, 5, 10, 30, 60, 120, 300, 600)
_STEP_BUCKETS = (1, 5, 10, 30, 60, 120, 300)
_SCORE_BUCKETS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1)
_SIZE_BUCKETS = (1, 2, 3, 5, 10, 20, 50, 100, 200, 500)
_LIFE_BUCKETS = (1, 5, 10, 30, 60, 300, 600, 1800, 3600, 14400, 86400)
_FAST_BUCKETS = (0.0005, 0.001, 0.002, 0.004, 0.008, 0.01, 0.015, 0.03, 0.06, 0.125, 0.25, 0.5, 1, 2.5, 5)
_WAIT_BUCKETS = (1, 10, 60, 300, 900, 3600, 14400, 43200, 86400)
# How many codes of verdicts, and how many pairs of a policy on trial and a code, get a series of their own.
_CODES = 500
_TRIAL_WORDS = 200
_OUTCOMES = (*sorted(phases.TERMINAL), "rollback_failed")

Json = Mapping[str, Any]
_Labelled = TypeVar("_Labelled", Counter, Histogram)


class FirstWords:
    """The first so many words that come get a series of their own; all others share one."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._seen: set[tuple[str, ...]] = set()

    def bounded(self, *words: str) -> tuple[str, ...]:
        """Answer the words themselves, or `other` in the place of each."""
        if words not in self._seen and len(self._seen) >= self._most:
            return ("other",) * len(words)
        self._seen.add(words)
        return words


class Metrics:
    """One attribute per metric, and typed verbs for those that several modules feed."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._workflow_metrics()
        self._step_metrics()
        self._gate_metrics()
        self._process_metrics()

    def exposition(self) -> bytes:
        """The text that Prometheus scrapes."""
        return generate_latest(self.registry)

    # -- verbs, in the shape in which other modules take an observer -----------------------------------------------------

    def observe_request(self, verb: str, kind: str, code: int, seconds: float, throttled: float) -> None:  # noqa: ARG002 - the observer's shape
        """One API request; how long it took is the API server's own metric already."""
        self.api_requests.labels(verb, kind, str(code)).inc()
        if throttled > 0:
            self.api_throttled_seconds.inc(throttled)

    def observe_reconnection(self, kind: str) -> None:
        """A watch broke and was taken up again."""
        self.watch_reconnections.labels(kind).inc()

    def observe_queue_wait(self, seconds: float) -> None:
        """A worker took a key that was ready for ``seconds``."""
        self.queue_latency.observe(seconds)

    def observe_gate(self, gate: str, decision: str, code: str, seconds: float) -> None:
        """One verdict; ``code`` is that of its first reason, empty for a plain allow."""
        self.gate_decisions.labels(gate, decision, *self._codes.bounded(code)).inc()
        self.gate_latency.labels(gate).observe(seconds)

    def observe_trial(self, gate: str, policy: str, effect: str, code: str) -> None:
        """One line of a package on trial. Its words are the policy author's, so only the first of them get a series of their own."""
        policy, code = self._trial_words.bounded(policy, code)
        self.shadow_decisions.labels(gate, policy, effect, code).inc()

    def observe_trial_error(self, gate: str, reason: str) -> None:
        """One question that a trial did not answer."""
        self.shadow_errors.labels(gate, reason).inc()

    def observe_facts(self, verb: str, seconds: float) -> None:
        """One read that a gate asked for."""
        self.facts_latency.labels(verb).observe(seconds)

    def observe_policy_set(self, revision: str) -> None:
        """Exactly one revision is served: this one."""
        self.policy_set_info.clear()
        self.policy_set_info.labels(revision).set(1)

    def look_at(
        self,
        *,
        workflows: Callable[[], Iterable[Json]],
        executions: Callable[[], Iterable[Json]],
        queued: Callable[[], int],
        now: Callable[[], datetime],
    ) -> None:
        """Show how things stand (workflows by phase, attempts under way, keys that wait) at each scrape; to be called once."""
        self.registry.register(_Standing(lambda: standing(workflows(), executions(), now()), queued))

    # -- the metrics -----------------------------------------------------------------------------------------------------

    def _workflow_metrics(self) -> None:
        self.executions = self._counter(
            "workflowexecution_executions",
            "Workflows that ended, by phase; rollback_failed: failed because what was done could not all be taken back",
            outcome=_OUTCOMES,
        )
        self.phase_duration = self._histogram(
            "workflowexecution_phase_duration_seconds",
            "Time workflows spent in a phase, without what its time limit does not count either",
            _PHASE_BUCKETS,
            phase=tuple(phases.ENTERED),
        )
        self.created = self._counter("workflowexecution_created", "Workflows taken up")
        self.deleted = self._counter("workflowexecution_deleted", "Deleted workflows let go")
        self.lifecycle_duration = self._histogram(
            "workflowexecution_lifecycle_duration_seconds", "Time from start to the first terminal phase", _LIFE_BUCKETS
        )
        self.workflow_steps = self._histogram("workflowexecution_workflow_steps", "Steps per workflow taken up", _SIZE_BUCKETS)
        self.validation_failures = self._counter(
            "workflowexecution_validation_failures", "Workflows that failed in validating; cancelled ones are left out"
        )
        self.rollbacks = self._counter(
            "workflowexecution_rollbacks", "Rollbacks begun", reason=("step_failure", "validation_failure", "manual")
        )
        self.effectiveness_score = self._histogram(
            "workflowexecution_effectiveness_score", "Effectiveness of workflows whose outcome is known", _SCORE_BUCKETS
        )
        self.safety_validation = self._counter(
            "workflowexecution_safety_validation", "Safety checks judged: passed or failed", check_type=(), result=()
        )
        self.adaptive_adjustments = self._counter(
            "workflowexecution_adaptive_adjustments",
            "What policy changed on the way",
            adjustment_type=("skip", "lower", "extend", "adjust", "other"),
        )
        self.dependency_resolution_failures = self._counter(
            "workflowexecution_dependency_resolution_failures", "Workflows whose dependencies are unknown or circular"
        )
        self.execution_creation_failures = self._counter(
            "workflowexecution_execution_creation_failures", "KubernetesExecutions that could not be created"
        )
        self.status_updates = self._counter(
            "workflowexecution_status_updates", "Writes of a workflow's status", result=("success", "failure", "conflict")
        )
        self.status_update_duration = self._histogram(
            "workflowexecution_status_update_duration_seconds", "Time a write of a workflow's status takes", _FAST_BUCKETS
        )
        self.watch_reconnections = self._counter(
            "workflowexecution_watch_reconnections", "Watches that broke and were taken up again", kind=()
        )

    def _step_metrics(self) -> None:
        self.steps_created = self._counter("workflowexecution_steps_created", "Attempts begun, those to undo included", action=())
        self.steps_completed = self._counter(
            "workflowexecution_steps_completed",
            "Attempts ended: completed, failed, blocked, retried (failed and tried again), rolled_back, rollback_failed",
            action=(),
            status=(),
        )
        self.step_creation = self._counter(
            "workflowexecution_step_creation", "KubernetesExecutions created or given up", result=("success", "failure")
        )
        self.step_completion_duration = self._histogram(
            "workflowexecution_step_completion_duration_seconds",
            "Time from an attempt's start to its end, those to undo left out",
            _STEP_BUCKETS,
            result=("success", "failure"),
        )

    def _gate_metrics(self) -> None:
        self._codes = FirstWords(_CODES)
        self.gate_decisions = self._counter("gate_decisions", "Verdicts", gate=(), decision=(), code=())
        self.gate_latency = self._histogram("gate_latency_seconds", "Time a verdict takes, its facts included", _FAST_BUCKETS, gate=())
        self._trial_words = FirstWords(_TRIAL_WORDS)
        self.shadow_decisions = self._counter(
            "shadow_decisions", "What policies on trial would have said", gate=(), policy=(), effect=(), code=()
        )
        self.shadow_errors = self._counter("shadow_errors", "Questions that policies on trial did not answer", gate=(), reason=())
        self.facts_latency = self._histogram("facts_latency_seconds", "Time a fact takes to read", _FAST_BUCKETS, verb=())
        self.policy_set_info = self._gauge("policy_set_info", "1 for the revision of the policy set that is served", "revision")
        self.policy_loads = self._counter(
            "policy_loads", "Attempts to load a changed policy set", result=("accepted", "rejected", "unavailable")
        )
        self.policy_load_duration = self._histogram("policy_load_duration_seconds", "Time from a change to a served set", _FAST_BUCKETS)
        self.policy_configmaps = self._gauge("policy_configmaps", "Policy ConfigMaps by state", "state")
        self.approval_wait = self._histogram("approval_wait_seconds", "Time workflows waited for approval", _WAIT_BUCKETS)

    def _process_metrics(self) -> None:
        self.queue_latency = self._histogram("queue_latency_seconds", "Time a key was ready before a worker took it", _FAST_BUCKETS)
        self.api_requests = self._counter("api_requests", "Requests to the API server; code 0: no answer", verb=(), kind=(), code=())
        self.api_throttled_seconds = self._counter("api_throttled_seconds", "Time spent waiting for the client-side limit")
        self.leader = self._gauge("leader", "1 while this process leads")

    # Labels come with the values that they are known to take; () where only the world knows.

    def _counter(self, name: str, help_text: str, **labels: Sequence[str]) -> Counter:
        return _begun(Counter(f"kubernaut_{name}", help_text, list(labels), registry=self.registry), labels)

    def _gauge(self, name: str, help_text: str, *labels: str) -> Gauge:
        return Gauge(f"kubernaut_{name}", help_text, labels, registry=self.registry)

    def _histogram(self, name: str, help_text: str, buckets: tuple[float, ...], **labels: Sequence[str]) -> Histogram:
        return _begun(Histogram(f"kubernaut_{name}", help_text, list(labels), buckets=buckets, registry=self.registry), labels)


def _begun(metric: _Labelled, labels: Mapping[str, Sequence[str]]) -> _Labelled:
    """Let every series that is known beforehand begin at 0."""
    if labels:
        for values in product(*labels.values()):
            metric.labels(*values)
    return metric


class _Standing(Collector):
    """The gauges that are computed at each scrape."""

    def __init__(self, look: Callable[[], Standing], queued: Callable[[], int]) -> None:
        self._look = look
        self._queued = queued

    @override
    def collect(self) -> Iterator[Metric]:
        """Yield them as they are now."""
        found = self._look()
        yield _gauge("workflowexecution_active_executions", "Workflows that have not ended", found.active)
        yield _gauge("workflowexecution_concurrent_steps", "Attempts that have not ended", found.running)
        yield _gauges(
            "workflowexecution_oldest_in_phase_seconds",
            "How long the workflow that is longest in a phase has been there; suspended ones and time that does not count are left out",
            "phase",
            found.oldest,
        )
        yield _gauges("workflowexecution_validation_status", "Workflows by validation status", "status", found.validation)
        yield _gauge("queue_depth", "Keys that are ready and wait for a worker", self._queued())


def _gauge(name: str, help_text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"kubernaut_{name}", help_text, value)


def _gauges(name: str, help_text: str, label: str, values: Mapping[str, float]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"kubernaut_{name}", help_text, labels=[label])
    for value, number in values.items():
        family.add_metric([value], number)
    return family
