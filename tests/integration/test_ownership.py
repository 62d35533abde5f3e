"""A workflow belongs to the RemediationRequest that it names, from when there is one; that there is none holds nothing up."""

from __future__ import annotations

from typing import Any

import pytest
from support.workflows import World, phase, tell, told, workflow

from controller.cluster.kinds import REMEDIATION_REQUEST, WORKFLOW

Document = dict[str, Any]


def request(name: str = "pay") -> Document:
    return {
        "apiVersion": REMEDIATION_REQUEST.api_version,
        "kind": REMEDIATION_REQUEST.kind,
        "metadata": {"name": name},
        "spec": {"alertFingerprint": "abc", "severity": "critical", "environment": "test"},
    }


def owners(found: Document) -> list[str]:
    return [f"{o['kind']}/{o['name']}" for o in found["metadata"].get("ownerReferences") or []]


async def test_a_workflow_belongs_to_its_request_and_goes_with_it(world: World) -> None:
    await world.create(request())
    found = await world.run(workflow("w", tell(1), remediationRequestRef={"name": "pay"}, ttlSecondsAfterFinished=0))
    assert (phase(found), owners(found)) == ("completed", ["RemediationRequest/pay"]), told(found)
    assert not [w for w in await world.changes(WORKFLOW, "w", 1.0) if not w], "an owned workflow does not go when its time to live is over"
    await world.cluster.delete(REMEDIATION_REQUEST, world.namespace, "pay")
    await world.gone(WORKFLOW, "w")


async def test_a_request_that_comes_later_becomes_the_owner_then(world: World) -> None:
    await world.create(workflow("w", tell(1), remediationRequestRef={"name": "pay"}, suspend=True))
    assert "there is no RemediationRequest" in await world.told("w", "OwnerReferenceFailed")
    found = await world.until(WORKFLOW, "w", lambda seen: phase(seen) == "executing")
    assert owners(found) == []
    await world.create(request())
    await world.until(WORKFLOW, "w", lambda seen: owners(seen) == ["RemediationRequest/pay"])
    await world.patch(WORKFLOW, "w", {"spec": {"suspend": False}})
    assert phase(await world.ended("w")) == "completed"


@pytest.mark.parametrize(
    ("reference", "said"),
    [({"name": "pay", "namespace": "default"}, "owners do not cross namespaces"), ({"name": "pay", "uid": "0000"}, "means 0000")],
    ids=["another namespace", "another uid"],
)
async def test_a_request_that_cannot_be_the_owner_holds_nothing_up(world: World, reference: Document, said: str) -> None:
    await world.create(request())
    found = await world.run(workflow("w", tell(1), remediationRequestRef=reference))
    assert (phase(found), owners(found)) == ("completed", []), told(found)
    assert said in await world.told("w", "OwnerReferenceFailed")
