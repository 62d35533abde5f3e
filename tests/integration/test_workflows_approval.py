"""Approval: what asks for one, who may give it, and what becomes of a workflow without it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from support.workflows import (
    World,
    codes,
    condition,
    is_waiting,
    phase,
    seen_by,
    tell,
    told,
    workflow,
)

from controller.cluster.errors import ForbiddenError, InvalidError
from controller.cluster.kinds import APPROVAL, WORKFLOW
from controller.local.plane import Plane

Document = dict[str, Any]
APPROVED_BY = "kubernaut.ai/approved-by"


@pytest.fixture
async def author(plane: Plane, world: World) -> AsyncIterator[World]:
    """The test's namespace as somebody who writes workflows sees it."""
    async with seen_by(plane.users["author"], world.namespace) as seen:
        yield seen


@pytest.fixture
async def approver(plane: Plane, world: World) -> AsyncIterator[World]:
    """The test's namespace as somebody who approves sees it."""
    async with seen_by(plane.users["approver"], world.namespace) as seen:
        yield seen


def asking(name: str = "w", **spec: Any) -> Document:
    """A workflow whose author asks for an approval."""
    return workflow(name, tell(1), executionStrategy={"approvalRequired": True}, **spec)


async def waits(world: World, name: str = "w") -> Document:
    return await world.until(WORKFLOW, name, lambda w: "approval_required" in is_waiting(w))


async def test_a_workflow_waits_for_a_person_says_so_and_goes_on_when_one_says_yes(world: World, author: World, approver: World) -> None:
    await author.create(asking())
    found = await waits(world)
    assert phase(found) == "validating"
    assert found["status"]["remedy"] == f"`phasegate approve w -n {world.namespace}` as a user who may"
    assert condition(found, "Approved")["reason"] == "WaitingForApproval"
    assert found["status"]["approval"]["required"]
    assert found["status"]["approval"]["requestedAt"] < found["status"]["approval"]["expiresAt"]
    assert "approval_required" in await world.told("w", "ApprovalRequired")
    assert not await world.attempts("w")

    await approver.decide("w", "approver")
    found = await world.ended("w")
    assert phase(found) == "completed", told(found)
    assert condition(found, "Approved")["status"] == "True"
    (decision,) = found["status"]["approval"]["decisions"]
    assert (decision["approver"], decision["decision"], decision["source"]) == ("approver", "Approved", "WorkflowApproval")
    assert found["status"]["validationResults"]["approvalReceived"]
    assert await world.told("w", "ApprovalReceived") == "approver"


async def test_an_author_cannot_approve(world: World, author: World) -> None:
    await author.create(asking())
    await waits(world)
    with pytest.raises(ForbiddenError):
        await author.decide("w", "author")
    with pytest.raises((ForbiddenError, InvalidError)) as refused:
        await author.annotate("w", APPROVED_BY, "author")
    assert "approved-by" in str(refused.value)
    assert not await world.changes(WORKFLOW, "w", 0.3)


async def test_an_annotation_of_one_who_may_counts_as_a_decision(world: World, author: World, approver: World) -> None:
    await author.create(asking())
    await waits(world)
    await approver.annotate("w", APPROVED_BY, "approver")
    found = await world.ended("w")
    assert phase(found) == "completed", told(found)
    (decision,) = found["status"]["approval"]["decisions"]
    assert (decision["approver"], decision["source"]) == ("approver", "annotation")


async def test_a_rejection_ends_it_with_the_name_of_who_said_no(world: World, author: World, approver: World) -> None:
    await author.create(asking())
    await waits(world)
    await approver.decide("w", "approver", "Rejected")
    found = await world.ended("w")
    assert (phase(found), found["status"]["failureReason"]) == ("failed", "approval_rejected"), told(found)
    assert found["status"]["message"].startswith("approval_rejected: approver said no")
    assert found["status"]["remedy"] == "change the workflow and apply it under a new name"
    assert condition(found, "Approved")["reason"] == "Rejected"
    assert not await world.attempts("w")


async def test_a_workflow_that_nobody_approves_in_time_expires(world: World) -> None:
    found = await world.run(asking(timeouts={"approval": "1s"}))
    assert (phase(found), found["status"]["failureReason"]) == ("failed", "approval_expired"), told(found)
    assert codes(found, "approval")[0] == "approval_expired"
    assert condition(found, "Approved")["reason"] == "Expired"


async def test_waiting_for_approval_eats_no_other_timeout(world: World, approver: World) -> None:
    await world.create(asking(timeouts={"planning": "1s", "validation": "1s"}))
    await waits(world)
    assert not await world.changes(WORKFLOW, "w", 1.5)
    await approver.decide("w", "approver")
    assert phase(await world.ended("w")) == "completed"


async def test_more_steps_than_the_threshold_need_an_approval(world: World, approver: World) -> None:
    assert phase(await world.run(workflow("ten", *(tell(n) for n in range(1, 11))))) == "completed"
    await world.create(workflow("eleven", *(tell(n) for n in range(1, 12))))
    found = await waits(world, "eleven")
    assert "it has 11 steps" in is_waiting(found)
    await approver.decide("eleven", "approver")
    assert phase(await world.ended("eleven")) == "completed"


@pytest.mark.parametrize("other", [{"planHash": "0123456789abcdef"}, {"uid": "00000000-0000-0000-0000-000000000000"}], ids=["plan", "uid"])
async def test_a_decision_on_another_plan_or_another_workflow_of_that_name_does_not_count(
    world: World, approver: World, other: dict[str, str]
) -> None:
    await world.create(asking(timeouts={"approval": "2s"}))
    found = await waits(world)
    reference = {"name": "w", "uid": other.get("uid", found["metadata"]["uid"])}
    plan = other.get("planHash", found["status"]["executionPlan"]["planHash"])
    spec = {"workflowRef": reference, "decision": "Approved", "planHash": plan, "approver": "approver"}
    body = {"apiVersion": APPROVAL.api_version, "kind": APPROVAL.kind, "metadata": {"name": "w-approver"}, "spec": spec}
    await approver.create(body)
    found = await world.ended("w")
    assert found["status"]["failureReason"] == "approval_expired", told(found)
