"""Asking a gate: whatever OPA does wrong is no decision, and a decision belongs to exactly one policy set."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aiohttp import web
from gates.conftest import OpaWith
from support.patience import until

from controller.core.verdict import CompletionVerdict, Decision, FactRequest, MalformedVerdictError
from controller.gates.client import GateClient, PolicyNotReadyError, RevisionChangedError, Session
from controller.local.api import Api

Document = dict[str, Any]
Reply = Document | web.Response
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


def verdict(decision: str = "allow", *facts: Document) -> Document:
    return {"decision": decision, "reasons": [], "warnings": [], "facts": list(facts), "conditions": []}


def answer(result: object, revision: str | None = "r1") -> Document:
    bundles = {"kubernaut": {"revision": revision}} if revision else {}
    return {"result": result, "provenance": {"bundles": bundles}}


def read(name: str, **more: Any) -> Document:
    return {"id": name, "verb": "get", "apiVersion": "v1", "kind": "Pod", "name": name, **more}


class Facts:
    """Answers every request at once, and remembers what was asked."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []

    async def read(self, requests: list[FactRequest], *, identity: str | None, fresh: bool) -> dict[str, Document]:
        assert identity is None
        assert not fresh
        self.asked.append([request.id for request in requests])
        return {request.id: {"available": True, "found": False} for request in requests}


@asynccontextmanager
async def session(reply: Callable[[Document], Reply | Awaitable[Reply]], facts: Facts | None = None) -> AsyncIterator[Session]:
    """A session with an OPA of the test's own, which answers what ``reply`` makes of the input."""

    async def data(request: web.Request) -> web.Response:
        made = reply((await request.json())["input"])
        if isinstance(made, Awaitable):
            made = await made
        return made if isinstance(made, web.Response) else web.json_response(made)

    app = web.Application()
    app.router.add_post("/v1/data/kubernaut/gates/completion/verdict", data)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        async with GateClient(url, token=None, deadline=timedelta(seconds=0.5), observe=lambda *_: None) as client:
            yield client.session(facts or Facts(), NOW)
    finally:
        await runner.cleanup()


async def test_a_decision_names_its_revision_and_is_asked_with_the_time_that_came_in() -> None:
    seen: list[Document] = []

    def reply(question: Document) -> Document:
        seen.append(question)
        return answer(verdict())

    async with session(reply) as asking:
        got = await asking.ask("completion", CompletionVerdict, {"step": {"stepNumber": 1}})
    assert (got.verdict.decision, got.revision) == (Decision.ALLOW, "r1")
    assert seen[0] == {
        "contract": "v1",
        "gate": "completion",
        "now": "2026-11-21T12:00:00.000Z",
        "step": {"stepNumber": 1},
        "facts": {},
    }


@pytest.mark.parametrize(
    ("made", "error", "said"),
    [
        pytest.param(answer(verdict(), None), PolicyNotReadyError, "holds no policy set", id="an empty OPA"),
        pytest.param({"provenance": answer(None)["provenance"]}, PolicyNotReadyError, "defines no verdict", id="an undefined verdict"),
        pytest.param(answer({"decision": "allow"}), MalformedVerdictError, "Field required", id="half a verdict"),
        pytest.param(answer(verdict("yes")), MalformedVerdictError, "decision", id="an unknown decision"),
        pytest.param(answer("allow"), MalformedVerdictError, "CompletionVerdict", id="a bare word"),
    ],
)
async def test_anything_but_a_whole_verdict_is_no_decision(made: Document, error: type[Exception], said: str) -> None:
    async with session(lambda _: made) as asking:
        with pytest.raises(error, match=said):
            await asking.ask("completion", CompletionVerdict, {})


async def test_an_evaluation_error_names_the_file_and_the_line() -> None:
    fault = {"code": "internal_error", "errors": [{"message": "conflict", "location": {"file": "team/rule.rego", "row": 7}}]}
    async with session(lambda _: web.json_response(fault, status=500)) as asking:
        with pytest.raises(PolicyNotReadyError, match=r"conflict at team/rule\.rego:7"):
            await asking.ask("completion", CompletionVerdict, {})


async def test_an_opa_that_cannot_be_reached_is_no_decision() -> None:
    async with GateClient("http://127.0.0.1:1", token=None, deadline=timedelta(seconds=0.5), observe=lambda *_: None) as client:
        with pytest.raises(PolicyNotReadyError, match="gate completion gave no decision"):
            await client.session(Facts(), NOW).ask("completion", CompletionVerdict, {})


async def test_an_opa_that_never_answers_is_no_decision_after_the_deadline() -> None:
    async def never(_: Document) -> Document:
        await asyncio.Event().wait()
        return answer(verdict())

    async with session(never) as asking, asyncio.timeout(5):
        with pytest.raises(PolicyNotReadyError, match="gate completion gave no decision"):
            await asking.ask("completion", CompletionVerdict, {})


async def test_facts_are_read_in_rounds_and_only_what_is_new() -> None:
    facts = Facts()

    def reply(question: Document) -> Document:
        known = question["facts"]
        wanted = [read("first")] + ([read("second")] if "first" in known else [])
        return answer(verdict("allow" if "second" in known else "wait", *wanted))

    async with session(reply, facts) as asking:
        got = await asking.ask("completion", CompletionVerdict, {})
    assert facts.asked == [["first"], ["second"]]
    assert got.verdict.decision is Decision.ALLOW


async def test_a_gate_that_never_stops_asking_is_no_decision() -> None:
    async with session(lambda question: answer(verdict("allow", *(read(f"f{n}") for n in range(len(question["facts"]) + 1))))) as asking:
        with pytest.raises(PolicyNotReadyError, match="still asked for after 4 rounds: f4"):
            await asking.ask("completion", CompletionVerdict, {})


async def test_a_request_that_changes_between_two_rounds_is_no_decision() -> None:
    def reply(question: Document) -> Document:
        return answer(verdict("allow", read("pod", namespace="b" if question["facts"] else "a")))

    async with session(reply) as asking:
        with pytest.raises(PolicyNotReadyError, match="changed its content"):
            await asking.ask("completion", CompletionVerdict, {})


async def test_a_policy_change_inside_a_reconcile_throws_it_away() -> None:
    revisions = iter(["r1", "r2"])
    async with session(lambda _: answer(verdict(), next(revisions))) as asking:
        await asking.ask("completion", CompletionVerdict, {})
        with pytest.raises(RevisionChangedError, match="answered under revision r2, this reconcile began under r1"):
            await asking.ask("completion", CompletionVerdict, {})


MANY = """package kubernaut.gates.completion

verdict := [{"number": i, "message": "one of very many"} | some i in numbers.range(1, 1000000)] if input.step == 1

verdict := [[i, j] | some i in numbers.range(1, 100000); some j in numbers.range(1, 100000); i * j == 0.5] if input.step == 2
"""


async def test_an_answer_that_is_too_large_is_not_read_to_its_end(opa_with: OpaWith) -> None:
    seconds = timedelta(seconds=60)
    async with opa_with({"many.rego": MANY}) as url, GateClient(url, token=None, deadline=seconds, observe=lambda *_: None) as client:
        with pytest.raises(PolicyNotReadyError, match="the answer is larger than 8 MiB: a policy gives too many results"):
            await client.session(Facts(), NOW).ask("completion", CompletionVerdict, {"step": 1})


async def test_an_evaluation_past_its_deadline_ends_in_opa_too(opa_with: OpaWith) -> None:
    seen: list[tuple[str, str]] = []

    def observe(_: str, decision: str, code: str, __: float) -> None:
        seen.append((decision, code))

    seconds = timedelta(seconds=0.5)
    async with opa_with({"many.rego": MANY}) as url, GateClient(url, token=None, deadline=seconds, observe=observe) as client:
        with pytest.raises(PolicyNotReadyError, match=r"OPA gave no answer within 0\.5 s"):
            await client.session(Facts(), NOW).ask("completion", CompletionVerdict, {"step": 2})
        # Left alone it would take minutes. OPA counts a request when it has ended.
        await until(lambda: b'handler="v1/data"' in Api(url).get("/metrics").body, what="the end of the evaluation")
    assert seen == [("error", "timeout")]


# The facts that were wanted the last time.


class Wants:
    """An OPA whose gate wants these facts before it allows; it counts the questions."""

    def __init__(self, *wanted: Document) -> None:
        self.wanted = wanted
        self.questions = 0

    def __call__(self, question: Document) -> Document:
        self.questions += 1
        missing = {fact["id"] for fact in self.wanted} - question["facts"].keys()
        return answer(verdict("wait" if missing else "allow", *self.wanted))


async def asked_twice(opa: Wants, facts: Facts, between: Callable[[], None] = lambda: None) -> None:
    """Ask about the same thing twice; both times the whole answer counts."""
    async with session(opa, facts) as asking:
        for turn in range(2):
            got = await asking.ask("completion", CompletionVerdict, {"step": {}}, about="the same")
            assert got.verdict.decision is Decision.ALLOW
            assert got.facts.keys() == {fact["id"] for fact in opa.wanted}
            if not turn:
                between()


async def test_what_was_wanted_the_last_time_is_read_before_the_gate_is_asked_again() -> None:
    opa, facts = Wants(read("a"), read("b")), Facts()
    await asked_twice(opa, facts)
    assert opa.questions == 2 + 1
    assert [sorted(names) for names in facts.asked] == [["a", "b"], ["a", "b"]], "read anew, never remembered"


@pytest.mark.parametrize(
    "then", [(read("a"), read("c")), (read("a"), read("b"), read("c")), (read("a"),), (read("a"), read("b", namespace="other")), ()]
)
async def test_a_gate_that_wants_something_else_is_asked_as_if_nothing_had_been_read(then: tuple[Document, ...]) -> None:
    opa, facts = Wants(read("a"), read("b")), Facts()
    seen: list[set[str]] = []

    def noticing(question: Document) -> Document:
        seen.append(set(question["facts"]))
        return opa(question)

    def change() -> None:
        opa.wanted = then

    async with session(noticing, facts) as asking:
        await asking.ask("completion", CompletionVerdict, {"step": {}}, about="the same")
        change()
        got = await asking.ask("completion", CompletionVerdict, {"step": {}}, about="the same")
    assert got.facts.keys() == {fact["id"] for fact in then}
    assert seen[3] == set(), "the guess is forgotten"


async def test_nothing_is_guessed_where_nothing_is_said_of_what_it_is_about() -> None:
    opa, facts = Wants(read("a")), Facts()
    async with session(opa, facts) as asking:
        for _ in range(2):
            await asking.ask("completion", CompletionVerdict, {"step": {}})
    assert opa.questions == 4
