"""Broken questions to every gate, judged in bulk by one OPA.

Whatever is missing, mistyped, null, empty or huge: there is an answer, it can be parsed, and it never allows while something that the
gate itself asked for is unknown.
"""

from __future__ import annotations

import copy
import functools
import json
import random
import subprocess
from pathlib import Path
from typing import Any

import pytest

from controller import paths
from controller.core.verdict import VERDICTS, Decision, parse
from controller.local import programs

Json = dict[str, Any]

MUTATIONS = 400
SEED = 20261121
_SHARED = ("lib", "gates", "actions", "rules", "testing")
_HUGE = (10**30, -(10**30), 1e300, "x" * 20_000, [{"name": "x"}] * 500, {str(i): i for i in range(500)})
_WRONG = (None, 7, -1, 0.5, "", "other", "../x", True, False, [], {}, [None], [[]], {"name": "other"}, [{"stepNumber": 1}])
# What `opa eval` is given besides the modules: settings, references and one package of conditions.
_CONDITIONS = 'package kubernaut.conditions.queue\n\nholds contains "queue_empty" if input.step.stepNumber == 1\n'
_DATA = {
    "modules": {"actions": {"scale_deployment": "d-1", "restart_deployment": "d-2"}},
    "references": {"shop-conditions:queue.rego": "queue"},
}


def _opa(folder: Path, query: str, question: object) -> Any:
    """Evaluate one query over the shipped policies; an evaluation error fails the test with OPA's own words."""
    (folder / "queue.rego").write_text(_CONDITIONS)
    (folder / "data.json").write_text(json.dumps({"kubernaut": _DATA}))
    opa = programs.provide("opa")["opa"]
    sources = [f"--data={source}" for source in (*(paths.POLICIES / part for part in _SHARED), folder / "queue.rego", folder / "data.json")]
    ended = subprocess.run(
        [str(opa), "eval", "--stdin-input", "--format=json", *sources, query],
        input=json.dumps(question),
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
    )
    assert ended.returncode == 0, (ended.stdout + ended.stderr)[-4000:]
    return json.loads(ended.stdout)["result"][0]["expressions"][0]["value"]


def _places(document: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inside = document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    return [place for key, value in inside for place in [(*at, key), *_places(value, (*at, key))]]


def _holder(document: Json, way: list[Any]) -> Any:
    return functools.reduce(lambda inside, key: inside[key], way, document)


def _dropped(base: Json) -> list[Json]:
    """The question without each of its places, one at a time."""
    broken = []
    for *way, last in _places(base):
        question = copy.deepcopy(base)
        del _holder(question, way)[last]
        broken.append(question)
    return broken


def _mutated(base: Json, chance: random.Random) -> Json:
    """The question damaged in one to three places."""
    question = copy.deepcopy(base)
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        *way, last = chance.choice(_places(question))
        holder = _holder(question, way)
        match chance.randrange(5):
            case 0:
                del holder[last]
            case 1:
                holder[last] = copy.deepcopy(chance.choice(_HUGE))
            case _:
                holder[last] = copy.deepcopy(chance.choice(_WRONG))
        if not _places(question):
            break
    return question


def _unknown(question: Json, verdict: Any) -> list[str]:
    facts = question.get("facts")
    known = facts if isinstance(facts, dict) else {}

    def is_known(name: str) -> bool:
        fact = known.get(name)
        return isinstance(fact, dict) and fact.get("available") is True

    return [request.id for request in verdict.facts if not request.optional and not is_known(request.id)]


@pytest.fixture(scope="module")
def settings_and_bases(tmp_path_factory: pytest.TempPathFactory) -> Json:
    document: Json = _opa(tmp_path_factory.mktemp("bases"), "data.kubernaut.testing.questions", {})
    return document


@pytest.fixture(scope="module")
def questions(settings_and_bases: Json) -> dict[str, list[Json]]:
    chance = random.Random(SEED)  # noqa: S311 - the same questions every time, on purpose
    asked: dict[str, list[Json]] = {}
    for gate in VERDICTS:
        base = settings_and_bases[gate]
        asked[gate] = [base, {}, *_dropped(base), *(_mutated(base, chance) for _ in range(MUTATIONS))]
    return asked


@pytest.fixture(scope="module")
def answers(settings_and_bases: Json, questions: dict[str, list[Json]], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Json]:
    """Gate → index of the question → verdict; a question whose verdict is undefined has no entry."""
    settings = json.dumps(settings_and_bases["settings"])
    asked = "data.kubernaut.gates.{gate}.verdict with input as q with data.kubernaut.settings as {settings}"
    parts = [f'"{gate}": {{i: v | some i, q in input.{gate}; v := {asked.format(gate=gate, settings=settings)}}}' for gate in VERDICTS]
    found: dict[str, Json] = _opa(tmp_path_factory.mktemp("answers"), "{" + ", ".join(parts) + "}", questions)
    return found


@pytest.mark.parametrize("gate", VERDICTS)
def test_the_question_as_it_should_be_is_allowed(gate: str, answers: dict[str, Json]) -> None:
    assert answers[gate]["0"]["decision"] == "allow", answers[gate]["0"]["reasons"]


@pytest.mark.parametrize("gate", VERDICTS)
def test_the_empty_question_is_denied(gate: str, answers: dict[str, Json]) -> None:
    assert answers[gate]["1"]["decision"] == "deny"


@pytest.mark.parametrize("gate", VERDICTS)
def test_every_broken_question_has_an_answer_that_can_be_parsed(
    gate: str, questions: dict[str, list[Json]], answers: dict[str, Json]
) -> None:
    assert len(questions[gate]) >= 300
    assert len(answers[gate]) == len(questions[gate])
    for verdict in answers[gate].values():
        parse(VERDICTS[gate], verdict)


@pytest.mark.parametrize("gate", VERDICTS)
def test_nothing_is_allowed_while_a_fact_that_was_asked_for_is_unknown(
    gate: str, questions: dict[str, list[Json]], answers: dict[str, Json]
) -> None:
    for index, document in answers[gate].items():
        verdict = parse(VERDICTS[gate], document)
        if verdict.decision is Decision.ALLOW:
            assert _unknown(questions[gate][int(index)], verdict) == []
        else:
            assert verdict.reasons


@pytest.mark.parametrize("gate", ["safety", "monitoring", "action", "verify"])
def test_each_fact_that_cannot_be_read_holds_its_gate_back(gate: str, settings_and_bases: Json, tmp_path: Path) -> None:
    base = settings_and_bases[gate]
    settings = json.dumps(settings_and_bases["settings"])
    hidden = []
    for name in base["facts"]:
        question = copy.deepcopy(base)
        question["facts"][name] = {"available": False, "reason": "timeout"}
        hidden.append(question)
    query = f"[v | some q in input; v := data.kubernaut.gates.{gate}.verdict with input as q with data.kubernaut.settings as {settings}]"
    for name, verdict in zip(base["facts"], _opa(tmp_path, query, hidden), strict=True):
        optional = {request["id"] for request in verdict["facts"] if request.get("optional")}
        if name not in optional:
            assert verdict["decision"] != "allow", name
            assert "fact_missing" in {reason["code"] for reason in verdict["reasons"]}, name
