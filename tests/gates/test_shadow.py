"""Policies on trial, with a real OPA: they are heard, told of and counted, and whatever they do, they decide nothing."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from gates.conftest import OpaWith
from support.patience import until

from controller.core.verdict import Decision, DispatchVerdict, FactRequest
from controller.gates.client import Decided, GateClient
from controller.gates.shadow import ShadowRecorder, TrialSummary
from controller.observe.metrics import Metrics

Document = dict[str, Any]

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
FINE = 'package kubernaut.shadow.dispatch.fine\n\ndeny contains {"code": "night", "message": "production is left alone"}\n'
ERRS = """package kubernaut.shadow.dispatch.errs

deny contains "odd" if half(count(input.steps)) > 0

half(_) := 1

half(steps) := 2 if steps > 0
"""
NEVER_ENDS = """package kubernaut.shadow.dispatch.never_ends

deny contains "lost" if {
	some i in numbers.range(1, 100000)
	some j in numbers.range(1, 100000)
	i * j == 0.5
}
"""
TOO_MUCH = 'package kubernaut.shadow.dispatch.too_much\n\nwarn contains sprintf("w%d", [i]) if some i in numbers.range(1, 100000)\n'
READS = """package kubernaut.shadow.dispatch.reads

facts contains {"id": "first", "verb": "get", "apiVersion": "v1", "kind": "ConfigMap", "namespace": "shop", "name": "a"}

facts contains {"id": "second", "verb": "get", "apiVersion": "v1", "kind": "ConfigMap", "namespace": "shop", "name": "b"} if {
	input.facts.first.found
}

deny contains "frozen" if input.facts.second.found
"""


def question(uid: str = "w-1", **more: Any) -> Document:
    """What the gate `dispatch` allows."""
    return {
        "workflow": {
            "metadata": {"name": "w", "namespace": "shop", "uid": uid, "generation": 1},
            "spec": {"workflowDefinition": {"name": "shop"}},
            "status": {"phase": "executing"},
        },
        "steps": [{"stepNumber": 1, "name": "s1", "action": "notify_only", "parameters": {}}],
        "ready": [1],
        "running": [],
        "since": {},
        **more,
    }


class Facts:
    """Finds whatever is asked for, and remembers what that was."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []

    async def read(self, requests: list[FactRequest], *, identity: str | None, fresh: bool) -> dict[str, Document]:
        assert (identity, fresh) == (None, False)
        self.asked.append([request.id for request in requests])
        return {request.id: {"available": True, "found": True} for request in requests}


@dataclass
class Trials:
    """A gate client whose decisions are followed by a recorder, and what that recorder made of them."""

    gates: GateClient
    recorder: ShadowRecorder
    facts: Facts
    packages: set[str]
    metrics: Metrics = field(default_factory=Metrics)
    told: list[tuple[str, str]] = field(default_factory=list)

    async def decide(self, asked: Document | None = None) -> Decision:
        answer = await self.gates.session(self.facts, NOW).ask("dispatch", DispatchVerdict, asked or question())
        return answer.verdict.decision

    async def of(self, name: str, *, evaluated: int = 0, errors: int = 0) -> TrialSummary:
        """What became of one package, as soon as it was asked so often."""

        def found() -> TrialSummary:
            return self.recorder.summary()[f"kubernaut.shadow.dispatch.{name}"]

        await until(lambda: (found().evaluated, found().errors) == (evaluated, errors), what=f"{name} to be asked")
        return found()

    def errors(self) -> dict[str, float]:
        """Reason → how often."""
        text = self.metrics.exposition().decode()
        return {m[1]: float(m[2]) for m in re.finditer(r'shadow_errors_total\{gate="dispatch",reason="(\w+)"\} (\S+)', text)}

    def lines(self) -> dict[tuple[str, ...], float]:
        """(effect, code, policy) → how often."""
        text = self.metrics.exposition().decode()
        found = re.finditer(r'shadow_decisions_total\{code="(.*?)",effect="(.*?)",gate="dispatch",policy="(.*?)"\} (\S+)', text)
        return {(m[2], m[1], m[3]): float(m[4]) for m in found}


def _decided(asked: str, *, revision: str = "r") -> Decided:
    """A decision that was never had, for what the recorder does with one."""
    verdict = DispatchVerdict(
        decision=Decision.ALLOW,
        reasons=[],
        warnings=[],
        facts=[],
        start=[],
        hold=[],
        skip=[],
        block=[],
        max_parallel=1,
        conditions=[],
        adjustments=[],
    )
    return Decided(
        gate="dispatch",
        asked=asked,
        now="2026-11-21T12:00:00Z",
        revision=revision,
        requests={},
        identity=None,
        fresh=False,
        decision_id="d",
        input_digest="",
        verdict=verdict,
    )


@asynccontextmanager
async def trying(opa_with: OpaWith, *texts: str, pause: float = 60, running: bool = True) -> AsyncIterator[Trials]:
    files = {f"{number}.rego": text for number, text in enumerate(texts)}
    packages = {text.split(maxsplit=2)[1] for text in texts if text.startswith("package kubernaut.shadow.")}
    async with opa_with(files) as url, GateClient(url, token=None, deadline=timedelta(seconds=20), observe=lambda *_: None) as gates:
        metrics, facts, told = Metrics(), Facts(), list[tuple[str, str]]()
        recorder = ShadowRecorder(
            gates,
            facts,
            trials=lambda: frozenset(packages),
            tell=lambda metadata, message: told.append((metadata["uid"], message)),
            observer=metrics,
            deadline=timedelta(seconds=1),
            pause=timedelta(seconds=pause),
        )
        gates.follow(recorder.submit)
        task = asyncio.create_task(recorder.run()) if running else None
        try:
            yield Trials(gates, recorder, facts, packages, metrics, told)
        finally:
            if task is not None:
                task.cancel()
                await asyncio.wait([task])


async def test_a_denial_on_trial_is_counted_and_told_once_and_the_gate_allows(opa_with: OpaWith) -> None:
    async with trying(opa_with, FINE) as trials:
        assert [await trials.decide(), await trials.decide(), await trials.decide(question("w-2"))] == [Decision.ALLOW] * 3
        found = await trials.of("fine", evaluated=3)
        assert (found.said, found.errors, found.last_said is not None) == ({"deny/night": 3}, 0, True)
        assert trials.lines() == {("deny", "night", "shadow.dispatch.fine"): 3}
        message = "on trial at gate dispatch, deny by shadow.dispatch.fine (night): production is left alone"
        assert trials.told == [("w-1", message), ("w-2", message)]


async def test_what_is_said_about_a_workflow_is_told_again_when_it_changes(opa_with: OpaWith) -> None:
    rule = """package kubernaut.shadow.dispatch.moody

deny contains "full" if count(input.running) > 1

warn contains "busy" if count(input.running) > 0
"""
    async with trying(opa_with, rule) as trials:
        for running in ([], [2], [2], [2, 3], []):
            await trials.decide(question(running=running))
        found = await trials.of("moody", evaluated=5)
        assert found.said == {"warn/busy": 3, "deny/full": 1}
        assert [message for _, message in trials.told] == [
            "on trial at gate dispatch, warn by shadow.dispatch.moody (busy): busy",
            "on trial at gate dispatch, deny by shadow.dispatch.moody (full): full; and 1 more",
            "on trial at gate dispatch, shadow.dispatch.moody says nothing any more",
        ]


async def test_nothing_is_asked_where_nothing_is_on_trial(opa_with: OpaWith) -> None:
    async with trying(opa_with, FINE, running=False) as trials:
        trials.packages.clear()
        trials.packages.add("kubernaut.shadow.safety.elsewhere")
        assert await trials.decide() is Decision.ALLOW
        task = asyncio.create_task(trials.recorder.run())
        trials.packages.add("kubernaut.shadow.dispatch.fine")
        assert await trials.decide() is Decision.ALLOW
        # The first question was never queued: only the second one is answered.
        await trials.of("fine", evaluated=1)
        task.cancel()
        assert trials.recorder.summary()["kubernaut.shadow.safety.elsewhere"] == TrialSummary(0, {}, 0, "", None)


async def test_what_a_package_on_trial_wants_to_know_is_read_in_rounds(opa_with: OpaWith) -> None:
    async with trying(opa_with, READS) as trials:
        assert await trials.decide() is Decision.ALLOW
        assert (await trials.of("reads", evaluated=1)).said == {"deny/frozen": 1}
        assert trials.facts.asked == [["first"], ["second"]]


async def test_two_different_reads_under_one_id_are_a_denial_as_they_would_be_for_real(opa_with: OpaWith) -> None:
    other = READS.replace("dispatch.reads", "dispatch.same_id").replace('"name": "a"', '"name": "z"')
    async with trying(opa_with, READS, other) as trials:
        await trials.decide()
        assert (await trials.of("reads", evaluated=1)).said == {"deny/frozen": 1}
        assert (await trials.of("same_id", evaluated=1)).said == {"deny/frozen": 1, "deny/fact_id_conflict": 1}


async def test_a_package_that_goes_on_asking_is_given_up(opa_with: OpaWith) -> None:
    endless = """package kubernaut.shadow.dispatch.curious

facts contains {"id": sprintf("f%d", [i]), "verb": "executions"} if {
	some i in numbers.range(0, count(input.facts))
}
"""
    many = """package kubernaut.shadow.dispatch.greedy

facts contains {"id": sprintf("g%d", [i]), "verb": "executions"} if some i in numbers.range(1, 51)
"""
    async with trying(opa_with, endless) as trials:
        await trials.decide()
        assert "still asked for after 4 rounds: f4" in (await trials.of("curious", errors=1)).last_error
    async with trying(opa_with, many) as trials:
        await trials.decide()
        assert (await trials.of("greedy", errors=1)).last_error == "more than 50 facts are asked for"
        assert trials.facts.asked == []


async def test_a_rule_that_errs_is_named_with_its_place_and_the_others_are_heard_all_the_same(opa_with: OpaWith) -> None:
    async with trying(opa_with, FINE, ERRS) as trials:
        for _ in range(2):
            assert await trials.decide() is Decision.ALLOW
        found = await trials.of("errs", errors=2)
        assert "conflicting values" in found.last_error
        assert re.search(r"team/1\.rego:\d+$", found.last_error), found.last_error
        assert (await trials.of("fine", evaluated=2)).said == {"deny/night": 2}
        assert trials.errors() == {"evaluation": 2}


async def test_a_rule_that_never_ends_is_left_in_peace_after_a_while_and_the_others_are_not(opa_with: OpaWith) -> None:
    async with trying(opa_with, FINE, NEVER_ENDS) as trials:
        for _ in range(5):
            assert await trials.decide() is Decision.ALLOW
        await trials.of("fine", evaluated=5)
        found = await trials.of("never_ends", errors=3)
        assert found.last_error == "OPA gave no answer within 1 s; it is not asked again for 60 s"
        assert trials.errors() == {"timeout": 3, "paused": 2}


async def test_a_package_that_was_left_in_peace_is_asked_again_later(opa_with: OpaWith) -> None:
    async with trying(opa_with, NEVER_ENDS.replace("if {", "if {\n\tcount(input.running) > 0"), pause=0.01) as trials:
        for number in range(1, 5):
            await trials.decide(question(running=[2]))
            found = await trials.of("never_ends", errors=number)
            await asyncio.sleep(0.05)
        assert found.last_error.endswith("it is not asked again for 0.02 s")
        await trials.decide()
        await trials.of("never_ends", evaluated=1, errors=4)


async def test_a_package_that_says_too_much_is_an_error_of_its_own(opa_with: OpaWith) -> None:
    async with trying(opa_with, TOO_MUCH) as trials:
        assert await trials.decide() is Decision.ALLOW
        found = await trials.of("too_much", errors=1)
        assert found.last_error.startswith("the answer is larger than 512 KiB") or "no answer" in found.last_error


async def test_codes_that_are_made_up_do_not_fill_the_memory(opa_with: OpaWith) -> None:
    async with trying(opa_with, TOO_MUCH.replace("100000", "300")) as trials:
        await trials.decide()
        found = await trials.of("too_much", evaluated=1)
        assert (len(found.said), found.said["other"], sum(found.said.values())) == (51, 250, 300)
        assert (len(trials.lines()), trials.lines()["warn", "other", "other"]) == (201, 100)


async def test_a_gate_whose_module_was_replaced_and_knows_no_trial_is_told_of(opa_with: OpaWith) -> None:
    allow = '{"decision": "allow", "reasons": [], "warnings": [], "facts": [], "start": [1], "hold": [], "skip": [], "block": []'
    gate = f'package kubernaut.gates.dispatch\n\nverdict := {allow}, "max_parallel": 1, "conditions": [], "adjustments": []}}\n'
    async with trying(opa_with, FINE, gate) as trials:
        assert await trials.decide() is Decision.ALLOW
        assert "defines no rule shadow" in (await trials.of("fine", errors=1)).last_error


async def test_an_answer_that_is_no_list_of_lines_is_an_error(opa_with: OpaWith) -> None:
    library = 'package kubernaut.lib.rules\n\non_trial(_) := {{"effect": "explode", "policy": "p"}}\n'
    stubs = "".join(f"\n{name}(_) := set()\n" for name in ("deny", "wait", "warn", "facts", "faults"))
    async with trying(opa_with, FINE, library + stubs + "\npolicy(gate, name) := [gate, name]\n") as trials:
        assert await trials.decide() is Decision.ALLOW
        assert "explode" in (await trials.of("fine", errors=1)).last_error
        assert trials.errors() == {"malformed": 1}


async def test_a_question_of_another_policy_set_is_dropped_and_counted(opa_with: OpaWith) -> None:
    async with trying(opa_with, FINE) as trials:
        trials.recorder.submit(_decided('{"gate":"dispatch","facts":{}}', revision="older"))
        await until(trials.errors)
        assert trials.errors() == {"outdated": 1}
        await trials.of("fine")


async def test_what_does_not_fit_onto_the_queue_is_dropped_and_counted(opa_with: OpaWith) -> None:
    async with trying(opa_with, FINE, running=False) as trials:
        for _ in range(257):
            assert await trials.decide() is Decision.ALLOW
        assert trials.errors() == {"queue_full": 1}


async def test_very_long_questions_do_not_fill_the_memory(opa_with: OpaWith) -> None:
    async with trying(opa_with, FINE, running=False) as trials:
        asked = " " * (10 << 20)
        for _ in range(2):
            trials.recorder.submit(_decided(asked))
        assert trials.errors() == {"queue_full": 1}


async def test_what_breaks_inside_ends_one_question_and_not_the_trials(opa_with: OpaWith) -> None:
    async with trying(opa_with, FINE) as trials:
        trials.recorder.submit(_decided("no question"))
        await trials.decide()
        await trials.of("fine", evaluated=1)
        assert trials.errors() == {"internal": 1}


async def test_an_opa_that_is_gone_is_no_fault_of_a_package(opa_with: OpaWith) -> None:
    async with trying(opa_with, FINE, running=False) as trials:
        await trials.decide()
        async with GateClient("http://127.0.0.1:1", token=None, deadline=timedelta(seconds=1), observe=lambda *_: None) as nowhere:
            packages: Mapping[str, None] = dict.fromkeys(trials.packages)
            recorder = ShadowRecorder(
                nowhere,
                trials.facts,
                trials=lambda: frozenset(packages),
                tell=lambda *_: pytest.fail("nothing was said"),
                observer=trials.metrics,
            )
            recorder.submit(_decided('{"gate":"dispatch","facts":{}}'))
            task = asyncio.create_task(recorder.run())
            await until(trials.errors)
            task.cancel()
        assert trials.errors() == {"unreachable": 1}
        assert recorder.summary()["kubernaut.shadow.dispatch.fine"].errors == 0
