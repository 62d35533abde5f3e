"""Approval: what asks for one, who may give it, and what becomes of a workflow without it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from support.team import decides, policy_status, ruled
from support.workflows import (
    CONFIG,
    SYSTEM,
    World,
    chain,
    codes,
    condition,
    config_map,
    is_waiting,
    phase,
    seen_by,
    states,
    tell,
    told,
    workflow,
    write,
)

from controller.cluster.errors import ForbiddenError, InvalidError
from controller.cluster.kinds import APPROVAL, CONFIG_MAP, EVENT, WORKFLOW
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


async def waits(world: World, words: str = "approval_required", name: str = "w") -> Document:
    """The workflow, once its line says that it waits for this."""
    return await world.until(WORKFLOW, name, lambda w: words in is_waiting(w))


def wanting(**terms: Any) -> str:
    """A team's rule at `approval`."""
    return f"require_approval contains {json.dumps({'reason': 'two pairs of eyes', **terms})}"


FREEZE = 'wait contains {"code": "freeze", "message": "nothing is changed today"}'


async def says(who: World, user: str, decision: str = "Approved", *, groups: Iterable[str] = (), **reference: Any) -> None:
    """Write a WorkflowApproval, one more each time; ``reference`` replaces what it says it is about."""
    found = await who.read(WORKFLOW, "w")
    body = {
        "apiVersion": APPROVAL.api_version,
        "kind": APPROVAL.kind,
        "metadata": {"generateName": "w-"},
        "spec": {
            "workflowRef": {"name": "w", "uid": found["metadata"]["uid"], **reference},
            "decision": decision,
            "planHash": found["status"]["executionPlan"]["planHash"],
            "approver": user,
            **({"approverGroups": list(groups)} if groups else {}),
        },
    }
    await who.cluster.create(APPROVAL, who.namespace, body, strict=True)


async def counts(world: World, reason: str) -> list[int]:
    """How often each of the workflow's Events with this reason was told; all that happened has been once the Event of its end is there."""
    page = await world.cluster.list(EVENT, world.namespace, field_selector=f"involvedObject.name=w,reason={reason}")
    return [event["count"] for event in page.items]


@asynccontextmanager
async def edited(world: World, name: str, key: str, after: str, line: str) -> AsyncIterator[None]:
    """A rendered policy with one more line, once the set with it is active; as it was at the end."""
    system = world.within(SYSTEM)
    former = await system.read(CONFIG_MAP, name)

    async def put(text: str) -> None:
        before = policy_status(await system.read(CONFIG_MAP, name))
        await system.patch(CONFIG_MAP, name, {"data": {key: text}})
        await decides(world, name, former=before)

    text: str = former["data"][key]
    assert text.count(after) == 1
    await put(text.replace(after, f"{after}\n{line}"))
    try:
        yield
    finally:
        await put(text)


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
    assert (condition(found, "Approved")["status"], condition(found, "Approved")["reason"]) == ("True", "Approved")
    (decision,) = found["status"]["approval"]["decisions"]
    assert (decision["approver"], decision["decision"], decision["source"]) == ("approver", "Approved", "WorkflowApproval")
    assert found["status"]["validationResults"]["approvalReceived"]
    assert await world.told("w", "ApprovalReceived") == "approver"
    await world.told("w", "WorkflowExecutionCompleted")
    assert (await counts(world, "ApprovalRequired"), await counts(world, "ApprovalReceived")) == ([1], [1])


@pytest.mark.parametrize("user", ["author", "viewer"])
async def test_who_may_not_approve_is_refused_and_nothing_happens(world: World, plane: Plane, user: str) -> None:
    await world.create(asking())
    await waits(world)
    async with seen_by(plane.users[user], world.namespace) as seen:
        with pytest.raises(ForbiddenError):
            await seen.decide("w", user)
        with pytest.raises((ForbiddenError, InvalidError)) as refused:
            await seen.annotate("w", APPROVED_BY, user)
    assert user == "viewer" or "approved-by" in str(refused.value)
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
    await world.create(asking(timeouts={"planning": "5s", "validation": "5s"}))
    await waits(world)
    assert not await world.changes(WORKFLOW, "w", 5.5)
    await approver.decide("w", "approver")
    assert phase(await world.ended("w")) == "completed"


async def test_a_yes_that_is_said_while_opa_is_down_counts_when_it_is_back(world: World, plane: Plane, approver: World) -> None:
    await world.create(asking())
    await waits(world)
    plane.stop("opa")
    try:
        await approver.decide("w", "approver")
        await waits(world, "a policy decision")
    finally:
        plane.start("opa")
    found = await world.ended("w")
    assert phase(found) == "completed", told(found)


async def test_more_steps_than_the_threshold_need_an_approval(world: World, approver: World) -> None:
    assert phase(await world.run(workflow("ten", *(tell(n) for n in range(1, 11))))) == "completed"
    await world.create(workflow("eleven", *(tell(n) for n in range(1, 12))))
    found = await waits(world, name="eleven")
    assert "it has 11 steps" in is_waiting(found)
    await approver.decide("eleven", "approver")
    assert phase(await world.ended("eleven")) == "completed"


@pytest.mark.parametrize("other", [{"planHash": "0123456789abcdef"}, {"uid": "00000000-0000-0000-0000-000000000000"}], ids=["plan", "uid"])
async def test_a_decision_on_another_plan_or_another_workflow_of_that_name_does_not_count(
    world: World, approver: World, other: dict[str, str]
) -> None:
    await world.create(asking(timeouts={"approval": "5s"}))
    found = await waits(world)
    reference = {"name": "w", "uid": other.get("uid", found["metadata"]["uid"])}
    plan = other.get("planHash", found["status"]["executionPlan"]["planHash"])
    spec = {"workflowRef": reference, "decision": "Approved", "planHash": plan, "approver": "approver"}
    body = {"apiVersion": APPROVAL.api_version, "kind": APPROVAL.kind, "metadata": {"name": "w-approver"}, "spec": spec}
    await approver.create(body)
    found = await world.ended("w")
    assert found["status"]["failureReason"] == "approval_expired", told(found)


# Who has to say yes.


async def test_as_many_people_as_a_rule_asks_for_have_to_say_yes_and_nobody_counts_twice(
    world: World, author: World, approver: World
) -> None:
    async with ruled(world, "approval", wanting(count=2)):
        await author.create(workflow("w", tell(1)))
        await waits(world, "two pairs of eyes (0 of 2 approvals)")
        await says(approver, "approver")
        await waits(world, "1 of 2")
        await says(approver, "approver")
        assert not await world.changes(WORKFLOW, "w", 0.5), "what a person says again is no news"
        found = await world.read(WORKFLOW, "w")
        assert (found["status"]["approval"]["count"], found["status"]["approval"]["received"]) == (2, 1)
        assert condition(found, "Approved")["reason"] == "WaitingForApproval"
        assert not await counts(world, "ApprovalReceived")
        await says(world, "admin")
        found = await world.ended("w")
    assert phase(found) == "completed", told(found)
    assert await world.told("w", "ApprovalReceived") == "admin, approver"
    await world.told("w", "WorkflowExecutionCompleted")
    assert (await counts(world, "ApprovalRequired"), await counts(world, "ApprovalReceived")) == ([1], [1])


async def test_an_annotation_counts_as_one_of_several(world: World, approver: World) -> None:
    async with ruled(world, "approval", wanting(count=2)):
        await world.create(workflow("w", tell(1)))
        await waits(world)
        await approver.annotate("w", APPROVED_BY, "approver")
        await waits(world, "1 of 2")
        await says(world, "admin")
        found = await world.ended("w")
    assert phase(found) == "completed", told(found)
    assert {(d["approver"], d["source"]) for d in found["status"]["approval"]["decisions"]} == {
        ("approver", "annotation"),
        ("admin", "WorkflowApproval"),
    }


async def test_only_members_of_the_groups_of_a_rule_count_and_only_who_proves_it(world: World, approver: World) -> None:
    async with ruled(world, "approval", wanting(groups=["on-call"])):
        await world.create(workflow("w", tell(1)))
        await waits(world, "0 of 1 approvals from on-call")
        await says(world, "admin", groups=["system:masters"])
        await world.until(WORKFLOW, "w", lambda w: len(w["status"]["approval"]["decisions"]) == 1)
        with pytest.raises(InvalidError, match="a group that admin is not in"):
            await says(world, "admin", groups=["on-call"])
        await says(approver, "approver", groups=["on-call"])
        found = await world.ended("w")
    assert phase(found) == "completed", told(found)
    assert found["status"]["approval"]["groups"] == ["on-call"]


async def test_who_asked_for_a_workflow_does_not_count_where_a_rule_says_so(world: World, approver: World) -> None:
    async with ruled(world, "approval", wanting(not_requester=True)):
        await world.create(workflow("w", tell(1), requestedBy="admin"))
        await waits(world, "not by the requester")
        await says(world, "admin")
        found = await world.until(WORKFLOW, "w", lambda w: len(w["status"]["approval"]["decisions"]) == 1)
        assert (phase(found), found["status"]["approval"]["received"]) == ("validating", 0), told(found)
        await says(approver, "approver")
        found = await world.ended("w")
    assert phase(found) == "completed", told(found)


async def test_where_nobody_knows_who_asked_for_it_nobody_can_be_told_from_its_requester(world: World, approver: World) -> None:
    async with ruled(world, "approval", wanting(not_requester=True)):
        await world.create(workflow("w", tell(1)))
        found = await waits(world, "the workflow does not say who requested it")
        assert "spec.requestedBy" in found["status"]["remedy"]
        await says(approver, "approver")
        found = await world.until(WORKFLOW, "w", lambda w: len(w["status"]["approval"]["decisions"]) == 1)
    assert found["status"]["approval"]["received"] == 0, told(found)


async def test_nobody_else_can_be_named_as_the_requester(author: World) -> None:
    with pytest.raises(InvalidError, match=r"spec\.requestedBy is admin, but you are author"):
        await author.create(workflow("w", tell(1), requestedBy="admin"))


async def test_one_no_beats_every_yes(world: World, approver: World) -> None:
    async with ruled(world, "approval", FREEZE):
        await world.create(asking())
        await waits(world)
        await says(approver, "approver")
        await waits(world, "freeze: nothing is changed today")
        await says(world, "admin", "Rejected")
        found = await world.ended("w")
    assert (phase(found), found["status"]["failureReason"]) == ("failed", "approval_rejected"), told(found)
    assert "admin said no" in found["status"]["message"]
    await world.told("w", "WorkflowExecutionFailed")
    assert not await counts(world, "ApprovalReceived")


async def test_of_what_a_person_says_in_one_second_the_no_counts(world: World, approver: World) -> None:
    async with ruled(world, "approval", wanting(count=2)):
        await world.create(workflow("w", tell(1)))
        await waits(world)
        await approver.annotate("w", APPROVED_BY, "approver")
        await waits(world, "1 of 2")
        await says(approver, "approver", "Rejected")
        found = await world.ended("w")
    assert found["status"]["failureReason"] == "approval_rejected", told(found)


async def test_decisions_on_former_workflows_of_that_name_take_no_room_and_are_not_named(world: World, approver: World) -> None:
    await world.create(asking())
    await waits(world)
    for number in range(51):
        await says(world, "admin", uid=f"00000000-0000-0000-0000-{number:012d}")
    await says(approver, "approver")
    found = await world.ended("w")
    assert phase(found) == "completed", told(found)
    assert [d["approver"] for d in found["status"]["approval"]["decisions"]] == ["approver"]
    assert await world.told("w", "ApprovalReceived") == "approver"


# What changes while it waits.


async def test_an_earlier_yes_does_not_suffice_where_policy_asks_for_more_since(world: World, approver: World) -> None:
    async with ruled(world, "approval", FREEZE) as lift:
        await world.create(asking())
        await waits(world)
        await says(approver, "approver")
        await waits(world, "freeze")
        async with ruled(world, "approval", wanting(count=2)):
            await waits(world, "two pairs of eyes (1 of 2 approvals)")
            await lift()
            found = await world.until(WORKFLOW, "w", lambda w: "freeze" not in is_waiting(w))
            assert phase(found) == "validating", told(found)
            await says(world, "admin")
            found = await world.ended("w")
    assert phase(found) == "completed", told(found)
    await world.told("w", "WorkflowExecutionCompleted")
    assert await counts(world, "ApprovalRequired") == [1]


async def test_a_change_that_asks_for_nothing_more_keeps_what_was_said(world: World, approver: World) -> None:
    async with ruled(world, "approval", wanting(count=2)):
        await world.create(workflow("w", tell(1)))
        await waits(world)
        await says(approver, "approver")
        before = await waits(world, "1 of 2")
        async with ruled(world, "approval", 'warn contains {"code": "careful", "message": "look twice"}'):
            found = await world.until(WORKFLOW, "w", lambda w: w["status"]["policyRevision"] != before["status"]["policyRevision"])
            assert "1 of 2" in is_waiting(found)
            assert found["status"]["approval"]["expiresAt"] == before["status"]["approval"]["expiresAt"]
            await says(world, "admin")
            found = await world.ended("w")
    assert phase(found) == "completed", told(found)


async def test_it_goes_on_without_anybody_when_the_rule_that_asked_is_taken_away(world: World) -> None:
    async with ruled(world, "approval", wanting()) as lift:
        await world.create(workflow("w", tell(1)))
        await waits(world)
        await lift()
        found = await world.ended("w")
    assert phase(found) == "completed", told(found)
    assert condition(found, "Approved")["reason"] == "NotRequired"
    await world.told("w", "WorkflowExecutionCompleted")
    assert not await counts(world, "ApprovalReceived")


async def test_who_is_asked_again_has_the_whole_time_again(world: World, approver: World) -> None:
    async with ruled(world, "approval", FREEZE) as thaw:
        async with ruled(world, "approval", wanting()):
            await world.create(workflow("w", tell(1)))
            first = (await waits(world))["status"]["approval"]
        found = await world.until(WORKFLOW, "w", lambda w: condition(w, "Approved").get("reason") == "NotRequired")
        assert phase(found) == "validating"
        assert not {"expiresAt", "count", "reasons"} & found["status"]["approval"].keys()
        async with ruled(world, "approval", wanting()):
            again = (await waits(world))["status"]["approval"]
            assert first["requestedAt"] < again["requestedAt"]
            assert first["expiresAt"] < again["expiresAt"]
            await says(approver, "approver")
            await thaw()
            found = await world.ended("w")
    assert phase(found) == "completed", told(found)
    await world.told("w", "WorkflowExecutionCompleted")
    assert await counts(world, "ApprovalRequired") == [2]


async def test_a_teams_wait_takes_of_the_time_of_validating(world: World, approver: World) -> None:
    async with ruled(world, "approval", FREEZE):
        await world.create(asking(timeouts={"validation": "5s"}))
        found = await waits(world)
        assert "clockStoppedSince" in found["status"]
        assert not await world.changes(WORKFLOW, "w", 5.5), "waiting for people costs nothing"
        await says(approver, "approver")
        found = await world.until(WORKFLOW, "w", lambda w: "clockStoppedSince" not in w["status"])
        assert "freeze" in is_waiting(found), told(found)
        found = await world.ended("w")
    assert (phase(found), found["status"]["failureReason"], found["status"]["errorType"]) == ("failed", "timeout", "timeout"), told(found)
    assert "validating took longer than 5s: freeze" in found["status"]["message"]


async def test_a_step_whose_action_is_another_one_than_was_approved_does_not_run(world: World, approver: World) -> None:
    await world.create(config_map())
    hold = 'hold contains {"step": 2, "code": "later", "message": "not yet"}'
    async with ruled(world, "dispatch", hold) as lift:
        await world.create(workflow("w", *chain(write(1, "new"), tell(2)), executionStrategy={"approvalRequired": True}))
        await waits(world)
        await says(approver, "approver")
        found = await waits(world, "later: not yet")
        assert states(found) == ["completed", "pending"]
        name, key = "kubernaut-policy-actions-notify-only", "actions.notify_only.rego"
        async with edited(world, name, key, 'member := "notifyOnly"', "# another comment"):
            await lift()
            found = await world.ended("w")
            (refused,) = [a for a in await world.attempts("w") if a["spec"]["stepNumber"] == 2]
            # Where nobody approved anything, the module that is live is as good as any.
            assert phase(await world.run(workflow("unapproved", tell(1)))) == "completed"
    assert "plan_changed" in refused["status"]["executionResults"]["errorMessage"]
    assert (phase(found), states(found)) == ("blocked", ["completed", "blocked"]), told(found)
    assert found["status"]["failureReason"] == "policy_denied"
    assert "plan_changed" in found["status"]["stepStatuses"][1]["errorMessage"]
    assert "have the new plan approved" in found["status"]["remedy"]
    assert (await world.read(*CONFIG))["data"]["key"] == "new"


async def test_a_plan_that_changed_before_it_was_approved_does_not_begin(world: World, approver: World) -> None:
    await world.create(asking())
    await waits(world)
    async with edited(
        world, "kubernaut-policy-actions-notify-only", "actions.notify_only.rego", 'member := "notifyOnly"', "# another comment"
    ):
        await says(approver, "approver")
        found = await world.ended("w")
    assert phase(found) == "blocked", told(found)
    assert "plan_changed" in told(found)
