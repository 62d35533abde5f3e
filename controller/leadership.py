"""Which of its controllers this process leads: one Lease for each, or all of them where nobody is elected."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from typing import Any

from controller.cluster.client import Cluster
from controller.cluster.lease import Candidate, Timing, new_identity
from controller.observe.health import Trouble
from controller.observe.metrics import Metrics

LEASES: Mapping[str, str] = {
    "workflow": "workflowexecution.kubernaut.ai",
    "execution": "kubernetesexecution.kubernaut.ai",
    "policy": "policy.kubernaut.ai",
}
"""Controller → its Lease in kubernaut-system."""


class Leadership:
    """Who may act now; ``leases`` None elects nobody, and everything that was asked for is led."""

    def __init__(self, controllers: frozenset[str], leases: Cluster | None, timing: Timing, metrics: Metrics) -> None:
        self._controllers = controllers
        self._metrics = metrics
        self._subscribers: dict[str, list[Callable[[], None]]] = {name: [] for name in controllers}
        self._candidates: dict[str, Candidate] = {}
        if leases is not None:
            identity = new_identity()
            for name in sorted(controllers):
                self._candidates[name] = Candidate(leases, LEASES[name], identity, timing, partial(self._changed, name))
        self._count()

    def leads(self, controller: str) -> bool:
        """Whether this process does the work of that controller now."""
        if candidate := self._candidates.get(controller):
            return candidate.leads
        return controller in self._controllers

    def subscribe(self, controller: str, subscriber: Callable[[], None]) -> None:
        """Call ``subscriber()`` whenever this process has begun to lead that controller."""
        self._subscribers[controller].append(subscriber)

    def jobs(self) -> dict[str, Callable[[], Coroutine[Any, Any, None]]]:
        """What must run for it, by name."""
        return {f"lease {candidate.name}": candidate.run for candidate in self._candidates.values()}

    async def release(self) -> None:
        """Give back what is held; the jobs must have ended."""
        await asyncio.gather(*(candidate.release() for candidate in self._candidates.values()))

    def trouble(self) -> Trouble | None:
        """Why this process can never lead, for the readiness check; to follow is no trouble."""
        refusals = [refusal for candidate in self._candidates.values() if (refusal := candidate.refusal)]
        remedy = "apply deploy/base, which has the namespace and the rights to Leases, or run a single controller with --no-leader-elect"
        return Trouble("; ".join(refusals), remedy) if refusals else None

    def _changed(self, controller: str) -> None:
        self._count()
        if self.leads(controller):
            for subscriber in self._subscribers[controller]:
                subscriber()

    def _count(self) -> None:
        self._metrics.leader.set(any(self.leads(name) for name in self._controllers))
