"""Another executor: with `--controllers workflow` the attempts are carried out by somebody who writes nothing but their status."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from support.controller import ControllerProcess
from support.workflows import World, config_map, phase, states, tell, told, workflow, write

from controller.cluster.errors import InvalidError
from controller.cluster.kinds import EXECUTION, WORKFLOW
from controller.core.names import CANCEL_ANNOTATION

Document = dict[str, Any]


@pytest.fixture
def controller(controller_process: ControllerProcess) -> Iterator[ControllerProcess]:
    """A controller that sequences, and carries nothing out."""
    controller_process.kill()
    controller_process.start("--controllers", "workflow,policy")
    yield controller_process
    controller_process.kill()


class Executor:
    """Writes the status of attempts, as an administrator may."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def sees(self, name: str) -> Document:
        """The attempt, once it is there."""
        return await self._world.until(EXECUTION, name, bool)

    async def says(self, name: str, phase_: str, **results: Any) -> None:
        """Write the phase, in whatever spelling, and what came of it."""
        await self.sees(name)
        await self.writes(name, {"phase": phase_, **({"executionResults": results} if results else {})})

    async def writes(self, name: str, status: Document) -> None:
        """Merge into the status."""
        await self._world.cluster.patch(EXECUTION, self._world.namespace, name, {"status": status}, subresource="status")


@pytest.fixture
def executor(world: World) -> Executor:
    return Executor(world)


@pytest.mark.parametrize("word", ["completed", "Completed", "COMPLETED"])
async def test_a_phase_counts_in_any_letter_case(world: World, executor: Executor, word: str) -> None:
    await world.create(workflow("w", tell(1)))
    await executor.says("w-step-1", word)
    found = await world.ended("w")
    assert (phase(found), states(found)) == ("completed", ["completed"]), told(found)


async def test_a_step_waits_as_long_as_its_attempt_says_anything_else(world: World, executor: Executor) -> None:
    await world.create(workflow("w", tell(1), tell(2, dependsOn=[1])))
    for word in ("Pending", "running", "whatever", "Executing"):
        await executor.says("w-step-1", word)
    found = await world.read(WORKFLOW, "w")
    assert states(found) == ["executing", "pending"]
    await executor.says("w-step-1", "Completed")
    await executor.says("w-step-2", "Completed")
    assert phase(await world.ended("w")) == "completed"


async def test_attempts_may_end_in_any_order(world: World, executor: Executor) -> None:
    await world.create(workflow("w", tell(1), tell(2), tell(3, dependsOn=[1, 2])))
    await executor.sees("w-step-1")
    await executor.says("w-step-2", "completed")
    await world.until(WORKFLOW, "w", lambda found: states(found)[:2] == ["executing", "completed"])
    await executor.says("w-step-1", "completed")
    await executor.says("w-step-3", "completed")
    found = await world.ended("w")
    assert phase(found) == "completed", told(found)
    assert [entry["completionOrder"] for entry in found["status"]["stepStatuses"]] == [2, 1, 3]


async def test_an_end_that_is_told_twice_counts_once(world: World, executor: Executor) -> None:
    await world.create(workflow("w", tell(1), tell(2, dependsOn=[1])))
    await executor.says("w-step-1", "completed")
    await executor.sees("w-step-2")
    await executor.says("w-step-1", "completed", message="once more")
    found = await world.read(WORKFLOW, "w")
    assert [(entry["status"], entry["attempts"]) for entry in found["status"]["stepStatuses"]] == [("completed", 1), ("executing", 1)]
    await executor.says("w-step-2", "completed")
    found = await world.ended("w")
    assert [entry["attempts"] for entry in found["status"]["stepStatuses"]] == [1, 1], told(found)


async def test_an_attempt_that_has_ended_stays_ended(world: World, executor: Executor) -> None:
    await world.create(workflow("w", tell(1), tell(2, dependsOn=[1])))
    await executor.says("w-step-1", "completed")
    await executor.sees("w-step-2")
    with pytest.raises(InvalidError, match="its phase stays"):
        await executor.says("w-step-1", "failed")
    await executor.says("w-step-2", "completed")
    assert phase(await world.ended("w")) == "completed"


async def test_a_failure_is_told_in_the_executors_words_and_leads_to_what_policy_says(world: World, executor: Executor) -> None:
    await world.create(workflow("w", tell(1, maxRetries=1)))
    await executor.says("w-step-1", "Failed", errorMessage="the tape is full", errorType="execution_error")
    await executor.says("w-step-1-r1", "failed", errorMessage="the tape is still full", errorType="execution_error")
    found = await world.ended("w")
    (entry,) = found["status"]["stepStatuses"]
    assert (phase(found), entry["attempts"], entry["retriesAttempted"]) == ("failed", 2, 1), told(found)
    assert "the tape is still full" in entry["errorMessage"]


async def test_a_failure_without_a_word_is_a_failure(world: World, executor: Executor) -> None:
    await world.create(workflow("w", tell(1)))
    await executor.says("w-step-1", "FAILED")
    found = await world.ended("w")
    assert (phase(found), found["status"]["errorType"]) == ("failed", "execution_error"), told(found)
    assert "without saying why" in found["status"]["stepStatuses"][0]["errorMessage"]


async def test_an_attempt_that_nobody_begins_fails_its_step_when_its_time_is_over_and_is_told_to_stop(
    world: World, executor: Executor
) -> None:
    await world.create(workflow("w", tell(1, timeout="1s")))
    found = await world.ended("w")
    assert (phase(found), found["status"]["errorType"], found["status"]["failureReason"]) == ("failed", "timeout", "timeout"), told(found)
    assert "nobody began its attempt" in found["status"]["stepStatuses"][0]["errorMessage"]
    left = await executor.sees("w-step-1")
    assert left["metadata"]["annotations"][CANCEL_ANNOTATION] == "timeout"


async def test_an_attempt_that_is_begun_and_never_ended_is_told_to_stop_and_then_given_up(world: World, executor: Executor) -> None:
    await world.create(workflow("w", tell(1, timeout="5s")))
    attempt = await executor.sees("w-step-1")
    status = {"phase": "executing", "startTime": attempt["metadata"]["creationTimestamp"]}
    await executor.writes("w-step-1", status)
    await world.until(EXECUTION, "w-step-1", lambda found: CANCEL_ANNOTATION in (found["metadata"].get("annotations") or {}))
    found = await world.ended("w")
    assert (phase(found), found["status"]["errorType"]) == ("failed", "timeout"), told(found)
    assert "its attempt did not end" in found["status"]["stepStatuses"][0]["errorMessage"]


async def test_what_is_told_after_a_step_was_given_up_changes_nothing(world: World, executor: Executor) -> None:
    await world.create(workflow("w", tell(1, timeout="1s")))
    found = await world.ended("w")
    await executor.says("w-step-1", "completed")
    assert not await world.changes(WORKFLOW, "w", 1.0)
    assert states(found) == ["failed"]


ODD: list[Document] = [
    {"executionResults": {"errorType": "ran out of tape", "errorMessage": "no"}},
    {"uncounted": "2 minutes", "clockStoppedSince": "2026-11-21T12:00:00Z"},
    {
        "executionResults": {
            "operations": [{"verb": "wave", "kind": "Hand", "name": "left", "do": {"verb": "wave"}, "sentAt": "2026-11-21T12:00:00Z"}]
        }
    },
    {"preConditionResults": [{"conditionType": f"c{n}", "evaluated": True, "passed": False} for n in range(64)]},
]


@pytest.mark.parametrize("written", ODD, ids=["error type", "time", "operations", "conditions"])
async def test_odd_words_of_an_executor_stall_nothing(world: World, executor: Executor, written: Document) -> None:
    await world.create(workflow("w", tell(1)))
    await executor.sees("w-step-1")
    await executor.writes("w-step-1", {"phase": "Failed", **written})
    found = await world.ended("w")
    assert (phase(found), states(found), found["status"]["errorType"]) == ("failed", ["failed"], "execution_error"), told(found)


async def failed_after_a_write(world: World, executor: Executor) -> None:
    """A workflow whose first step is on record as done, with its way back, and whose second has failed."""
    await world.create(config_map(), workflow("w", write(1, "new"), tell(2, dependsOn=[1])))
    attempt = await executor.sees("w-step-1")
    target = {"verb": "patch", "apiVersion": "v1", "kind": "ConfigMap", "namespace": world.namespace, "name": "settings"}
    requests = {
        word: {**target, "patchType": "json", "body": [{"op": "replace", "path": "/data/key", "value": value}]}
        for word, value in (("do", "new"), ("undo", "old"))
    }
    now = attempt["metadata"]["creationTimestamp"]
    results = {"operations": [{**target, **requests, "sentAt": now, "answeredAt": now}]}
    await executor.writes("w-step-1", {"phase": "completed", "executionResults": results, "rollbackInformation": {"available": True}})
    await executor.says("w-step-2", "failed", errorMessage="no", errorType="execution_error")


async def test_an_undo_is_carried_out_by_the_other_executor_as_well(world: World, executor: Executor) -> None:
    await failed_after_a_write(world, executor)
    assert (await executor.sees("w-rollback-1"))["spec"]["undoOf"] == "w-step-1"
    await executor.says("w-rollback-1", "Completed")
    found = await world.ended("w")
    assert (phase(found), states(found)) == ("rolled_back", ["rolled_back", "failed"]), told(found)


async def test_an_undo_that_nobody_begins_is_given_up_and_named(
    world: World, executor: Executor, controller_process: ControllerProcess
) -> None:
    controller_process.kill()
    controller_process.start("--controllers", "workflow,policy", environment={"ROLLBACK_STEP_TIMEOUT": "1s"})
    await failed_after_a_write(world, executor)
    found = await world.ended("w")
    assert (phase(found), found["status"]["failureReason"]) == ("failed", "rollback_failed"), told(found)
    assert "nobody began its attempt" in found["status"]["stepStatuses"][0]["errorMessage"]
    assert "not undone: 1" in found["status"]["message"]
