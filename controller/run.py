"""The controller in the foreground: the only place that constructs, wires and ends the parts."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

from controller import paths
from controller.audit.audit import Audit
from controller.clock import SteadyClock
from controller.cluster import kinds
from controller.cluster.client import Cluster, connect
from controller.cluster.errors import ForbiddenError
from controller.cluster.events import EventRecorder
from controller.cluster.informer import Informer
from controller.cluster.lease import Timing
from controller.cluster.queue import WorkQueue
from controller.core.errors import RetryableError
from controller.core.names import SYSTEM_NAMESPACE
from controller.gates.alerts import Alertmanager
from controller.gates.client import GateClient
from controller.gates.facts import FactGatherer
from controller.gates.ledger import BY_TARGET, ExecutionLedger, targets_of
from controller.gates.shadow import ShadowRecorder
from controller.intake import BY_REQUEST, Intake, Key
from controller.leadership import LEASES, Leadership
from controller.observe.health import HealthChecks, TokenGuard, Trouble, health_app, loop_check, metrics_app, serve
from controller.observe.logs import events as event_log
from controller.observe.metrics import Metrics
from controller.observe.workflows import WorkflowObserver
from controller.policy.check import Checker
from controller.policy.copies import LastGoodCopies
from controller.policy.loader import PolicyLoader
from controller.policy.report import PolicyReporter
from controller.policy.serve import BundleServer
from controller.policy.sources import Source, read_shipped
from controller.reconcilers.execution import ExecutionReconciler
from controller.reconcilers.objects import BY_OWNER, Objects
from controller.reconcilers.ownership import request_of
from controller.reconcilers.scope import BY_WORKFLOW, Parts
from controller.reconcilers.workflow import WorkflowReconciler
from controller.settings import Settings

log = event_log(__name__)

Document = dict[str, Any]

CONTROLLERS = tuple(LEASES)
_WORKERS = 32
_GATE_DEADLINE = timedelta(seconds=2)
_FACTS_DEADLINE_SECONDS = 5.0
_GRACE_SECONDS = 10.0
_EVENTS_QPS = 20
_EVENTS_BURST = 100


@dataclass(frozen=True, slots=True)
class Options:
    """What `phasegate run` is told."""

    kubeconfig: Path | None = None
    opa: str = "http://127.0.0.1:8181"
    opa_token: str | None = None
    bundle_addr: str = "127.0.0.1:8282"
    health_addr: str = ":8080"
    metrics_addr: str = ":9090"
    metrics_open: bool = False
    controllers: frozenset[str] = frozenset(CONTROLLERS)
    namespaces: tuple[str, ...] = ()
    leader_elect: bool = True
    lease_seconds: int = 15
    policies: Path = paths.POLICIES
    schemas: Path = paths.SCHEMAS
    audit_dir: Path = field(default_factory=paths.audit_folder)
    audit_url: str = ""
    opa_program: Path = Path("opa")
    environ: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))


async def run(options: Options) -> int:
    """Run until SIGTERM or SIGINT; answers the exit code."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stop.set)
    metrics = Metrics()
    cluster = await connect(options.kubeconfig, observer=metrics.observe_request)
    # Events have a limit of their own, as in client-go: telling must never slow down doing. Nor must policies on trial.
    told = await connect(options.kubeconfig, observer=metrics.observe_request, qps=_EVENTS_QPS, burst=_EVENTS_BURST)
    # Nor may a Lease be lost because of either: renewing it waits for no limit.
    timing = Timing(options.lease_seconds)
    leases = await connect(options.kubeconfig, observer=metrics.observe_request, timeout=timing.renew_deadline / 2)
    opa = GateClient(options.opa, token=options.opa_token, deadline=_GATE_DEADLINE, observe=metrics.observe_gate)
    audit = Audit(options.audit_url or f"sqlite:///{options.audit_dir.absolute()}/audit.db", options.audit_dir / "spool")
    async with cluster, told, leases, opa as gates:
        leadership = Leadership(options.controllers, leases if options.leader_elect else None, timing, metrics)
        controller = _Controller(options, cluster, told, gates, leadership, audit, metrics)
        return await controller.serve_until(stop)


class _Controller:
    """The parts and how they are tied together."""

    def __init__(  # noqa: PLR0913, PLR0917 - what is wired
        self,
        options: Options,
        cluster: Cluster,
        told: Cluster,
        gates: GateClient,
        leadership: Leadership,
        audit: Audit,
        metrics: Metrics,
    ) -> None:
        self._options = options
        self._cluster = cluster
        self._leadership = leadership
        self._audit = audit
        self._metrics = metrics
        self._checks = HealthChecks()
        self._queue: WorkQueue[Key] = WorkQueue(observer=metrics.observe_queue_wait)
        namespaces = options.namespaces or None
        seen = metrics.observe_reconnection
        self._workflows = Informer(cluster, kinds.WORKFLOW, namespaces, indexers={BY_REQUEST: _served_request}, observer=seen)
        self._requests = Informer(cluster, kinds.REMEDIATION_REQUEST, namespaces, observer=seen)
        self._executions = Informer(
            cluster, kinds.EXECUTION, namespaces, indexers={BY_OWNER: _owners, BY_TARGET: targets_of}, observer=seen
        )
        self._approvals = Informer(cluster, kinds.APPROVAL, namespaces, indexers={BY_WORKFLOW: _approved_workflow}, observer=seen)
        self._config_maps = Informer(cluster, kinds.CONFIG_MAP, [SYSTEM_NAMESPACE], observer=seen)
        self._recorder = EventRecorder(told, "phasegate")
        self._bundles = BundleServer()
        self._copies = LastGoodCopies(cluster, self._config_maps)
        self._loader = PolicyLoader(
            read_shipped(options.policies),
            self._config_maps,
            Checker(options.opa_program, options.schemas),
            self._bundles,
            environ=options.environ,
            metrics=metrics,
            memory=self._copies,
            before_serving=self._remember,
        )
        ledger = ExecutionLedger(self._executions)
        self._alerts = Alertmanager(lambda: self._settings().alertmanager_url, deadline=_FACTS_DEADLINE_SECONDS)
        gather = partial(
            FactGatherer,
            ledger=ledger,
            deadline=_FACTS_DEADLINE_SECONDS,
            observe=metrics.observe_facts,
            alerts=self._alerts,
            history=audit,
        )
        aside = gather(told)
        self._trials = ShadowRecorder(gates, aside, trials=lambda: self._loader.trial_packages, tell=self._tell_of_trial, observer=metrics)
        gates.follow(audit.decided)
        gates.follow(self._trials.submit)
        self._reporter = PolicyReporter(
            cluster, self._config_maps, self._recorder, self._loader, self._trials.documents, leads=lambda: leadership.leads("policy")
        )
        self._loader.subscribe(self._on_policy_served)
        self._loader.subscribe_activation(self._on_policy_active)
        facts = gather(cluster)
        workflows, executions = Objects(cluster, self._workflows), Objects(cluster, self._executions)
        now = SteadyClock()
        metrics.look_at(workflows=self._workflows.all, executions=self._executions.all, queued=lambda: len(self._queue), now=now)
        self._workflow = WorkflowReconciler(
            Parts(
                workflows=workflows,
                executions=executions,
                approvals=self._approvals,
                requests=self._requests,
                gates=gates,
                facts=facts,
                settings=self._settings,
                events=self._recorder,
                clock=now,
                observer=WorkflowObserver(metrics),
                audit=audit,
                is_queued=self._is_queued,
            )
        )
        self._execution = ExecutionReconciler(executions, workflows, gates, facts, self._settings, now)
        self._intake = Intake(self._queue, self._workflows, self._executions, self._approvals, self._requests, leadership.leads)
        self._follow_leadership()

    async def serve_until(self, stop: asyncio.Event) -> int:
        """Start everything, work until told to stop, then let what runs finish."""
        options = self._options
        self._add_checks()
        comes_round, pulse = loop_check()
        self._checks.add_live("loop", comes_round)
        health = await serve(health_app(self._checks), options.health_addr)
        guard = None if options.metrics_open else TokenGuard(self._cluster)
        scrapes = await serve(metrics_app(self._metrics, guard), options.metrics_addr)
        await self._bundles.start(options.bundle_addr)
        tasks: list[asyncio.Task[None]] = [asyncio.create_task(job(), name=name) for name, job in self._jobs().items()]
        log.info("controller_started", controllers=sorted(options.controllers), opa=options.opa, bundle=options.bundle_addr)
        stopping = asyncio.create_task(stop.wait(), name="stop")
        done, _ = await asyncio.wait([*tasks, stopping], return_when=asyncio.FIRST_COMPLETED)
        failed = [task for task in done if task is not stopping]
        for task in failed:
            log.error("part_ended", part=task.get_name(), error=str(task.exception() or "it returned"))
        await self._queue.stop(_GRACE_SECONDS)
        await self._recorder.drain(2.0)
        await self._audit.flush(2.0)
        pulse.cancel()
        for task in tasks:
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*tasks, return_exceptions=True)
        await self._leadership.release()
        await self._alerts.close()
        self._audit.close()
        await self._bundles.stop()
        await scrapes.cleanup()
        await health.cleanup()
        log.info("controller_stopped")
        return 1 if failed else 0

    def _jobs(self) -> dict[str, Callable[[], Coroutine[Any, Any, None]]]:
        return {
            "informer of workflows": self._workflows.run,
            "informer of executions": self._executions.run,
            "informer of approvals": self._approvals.run,
            "informer of remediation requests": self._requests.run,
            "informer of config maps": self._config_maps.run,
            "events": self._recorder.run,
            "trials": self._trials.run,
            "audit": self._audit.run,
            "policy loader": self._loader.run,
            "queue": self._work,
            **self._leadership.jobs(),
            **({"policy reporter": self._reporter.run} if "policy" in self._options.controllers else {}),
        }

    async def _work(self) -> None:
        for informer in (self._workflows, self._executions, self._approvals, self._config_maps):
            await informer.synced.wait()
        await self._queue.run(_WORKERS, self._handle)

    async def _handle(self, key: Key) -> timedelta | None:
        controller, namespace, name = key
        if not self._leadership.leads(controller):
            # Whoever leads looks at it; should that be this process again, it begins with everything.
            return None
        try:
            if controller == "workflow":
                return await self._workflow.reconcile(namespace, name)
            return await self._execution.reconcile(namespace, name)
        except ForbiddenError as exc:
            # A right that is missing may be given at any time, and no event would tell.
            raise RetryableError(str(exc)) from exc

    def _is_queued(self, execution: Document) -> bool:
        return self._queue.holds(("execution", execution["metadata"]["namespace"], execution["metadata"]["name"]))

    def _settings(self) -> Settings:
        return self._loader.settings

    def _on_policy_served(self, revision: str, settings: Settings) -> None:
        """Settings may have changed, too: the client's limiter follows them at once."""
        self._audit.served(revision, settings.document())
        self._cluster.limit(settings.kubernetes_qps, settings.kubernetes_burst)

    def _on_policy_active(self, _: str) -> None:
        """OPA has activated another set: whatever waits for a verdict may get another one now."""
        self._intake.add_unfinished()

    def _follow_leadership(self) -> None:
        for controller in self._options.controllers & {"workflow", "execution"}:
            self._leadership.subscribe(controller, partial(self._intake.add_all, controller))
        if "policy" in self._options.controllers:
            self._leadership.subscribe("policy", self._reporter.catch_up)

    async def _remember(self, replacing: Mapping[str, Source]) -> None:
        """What replaces shipped modules is kept before it decides anything; by the one who leads, as all that is written of policies."""
        if self._leadership.leads("policy"):
            await self._copies.add(replacing)

    def _tell_of_trial(self, metadata: Mapping[str, Any], message: str) -> None:
        workflow = {"apiVersion": kinds.WORKFLOW.api_version, "kind": kinds.WORKFLOW.kind, "metadata": metadata}
        self._recorder.emit(workflow, "Normal", "ShadowVerdict", message)

    def _add_checks(self) -> None:
        def synced() -> Trouble | None:
            late = [i.kind.kind for i in (self._workflows, self._executions, self._approvals, self._config_maps) if not i.synced.is_set()]
            return (
                Trouble(f"not listed yet: {', '.join(late)}", "are the CRDs applied, and may the controller list them?") if late else None
            )

        self._checks.add_ready("sync", synced)
        self._checks.add_ready("policy", self._loader.trouble)
        self._checks.add_ready("leases", self._leadership.trouble)


def _owners(execution: Document) -> list[str]:
    return [o["uid"] for o in execution["metadata"].get("ownerReferences") or [] if o.get("controller")]


def _served_request(workflow: Document) -> list[str]:
    return [key] if (key := request_of(workflow)) else []


def _approved_workflow(approval: Document) -> list[str]:
    return [f"{approval['metadata']['namespace']}/{approval['spec']['workflowRef']['name']}"]
