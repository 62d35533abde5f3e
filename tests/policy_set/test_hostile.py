"""Hostile and unlucky policies: each is refused by name with words that help, and who shares its moment is not harmed."""

from __future__ import annotations

import asyncio
import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from support.opa import Folder, serving

from controller import paths
from controller.gates.client import GateClient, PolicyNotReadyError
from controller.policy.check import Checker
from controller.policy.loader import PolicyLoader
from controller.policy.process import Limits
from controller.policy.serve import BundleServer
from controller.policy.sources import Module, PolicyProblem, Source, combine, read_shipped

PACKAGE = "package kubernaut.rules.dispatch.evil\n\n"
GOOD = "package kubernaut.rules.dispatch.good\n\nlimit contains 3\n"


async def loaded(opa: Path, policies: Path, folder: Folder, limits: Limits | None = None) -> PolicyLoader:
    checker = Checker(opa, paths.SCHEMAS, limits=limits)
    loader = PolicyLoader(read_shipped(policies), folder.informer, checker, BundleServer(), environ={})
    await loader.load()
    return loader


async def refused(opa: Path, policies: Path, *, key: str = "evil__rego", text: str, limits: Limits | None = None) -> list[PolicyProblem]:
    """What is said of a ConfigMap that comes together with a good one, which has to go in."""
    folder = Folder()
    folder.apply("evil", **{key: text})
    folder.apply("good", good__rego=GOOD)
    loader = await loaded(opa, policies, folder, limits)
    assert set(loader.acceptance.accepted) == {"good"}
    assert set(loader.acceptance.rejected) == {"evil"}
    assert loader.revision is not None
    return loader.acceptance.rejected["evil"]


FORBIDDEN = "policies read no clock, no network and no chance: use input.now and facts"


@pytest.mark.parametrize(
    ("rule", "line", "message", "remedy"),
    [
        (
            'deny contains "x" if http.send({"method": "get", "url": "http://x"}).status_code == 200',
            3,
            "undefined function http.send",
            FORBIDDEN,
        ),
        ('deny contains "x" if opa.runtime().env.TOKEN', 3, "undefined function opa.runtime", FORBIDDEN),
        ('deny contains "x" if net.lookup_ip_addr("x")', 3, "undefined function net.lookup_ip_addr", FORBIDDEN),
        ('deny contains "x" if time.now_ns() > 0', 3, "undefined function time.now_ns", FORBIDDEN),
        ('deny contains "x" if rand.intn("a", 2) == 1', 3, "undefined function rand.intn", FORBIDDEN),
        ('deny contains "x" if uuid.rfc4122("a") == ""', 3, "undefined function uuid.rfc4122", FORBIDDEN),
        ('deny contains "x" if trace("a")', 3, "undefined function trace", FORBIDDEN),
        ('deny contains "x" if io.jwt.decode_verify("a", {})', 3, "undefined function io.jwt.decode_verify", FORBIDDEN),
        ('deny contains "x" if providers.aws.sign_req({}, {}, 1)', 3, "undefined function providers.aws.sign_req", FORBIDDEN),
        ('deny[msg] { msg := "x" }', 3, "`if` keyword is required", "this is Rego v0"),
        ('deny contains "x" if { some p; data.kubernaut.rules.dispatch[p].deny }', 3, "is recursive", "a whole folder includes the asker"),
        ('deny contains "x" if data.kubernaut', 0, "may be recursive: data.kubernaut.gates.action", "name what you refer to"),
        ('deny contains "x" if helper(1)\n\nhelper(n) := n\n\nhelper(n) := n + 1', 7, "produced conflicting values", "exclude each other"),
        (
            'deny contains "x" if { count([1 | some a in numbers.range(1, 9999); some b in numbers.range(1, 9999); a == b]) == 0 }',
            3,
            "timed out|deadline",
            "bound",
        ),
    ],
)
async def test_a_hostile_rule_is_refused_with_its_line_and_what_would_be_right(
    opa: Path, rule: str, line: int, message: str, remedy: str
) -> None:
    problems = await refused(opa, paths.POLICIES, text=PACKAGE + rule + "\n")
    assert ("evil", line) == (problems[0].source, problems[0].line)
    assert re.search(message, problems[0].message), str(problems[0])
    assert remedy in problems[0].remedy


async def test_a_range_without_end_is_refused_for_its_time_or_its_memory(opa: Path) -> None:
    rule = 'deny contains "x" if { some n in numbers.range(1, 1000000000); n == 0 }\n'
    (problem, *_) = await refused(opa, paths.POLICIES, text=PACKAGE + rule)
    assert problem.source == "evil"
    assert re.search("timed out|deadline|more memory than 300 MiB", problem.message)
    assert "bound" in problem.remedy


async def test_a_million_results_are_refused(opa: Path) -> None:
    rule = 'deny contains sprintf("r%d", [n]) if some n in numbers.range(1, 1000000)\n'
    (problem, *_) = await refused(opa, paths.POLICIES, text=PACKAGE + rule)
    assert re.search("timed out|deadline|more memory|1000000 reasons", problem.message)
    rule = 'deny contains sprintf("r%d", [n]) if some n in numbers.range(1, 4998)\n'
    (problem, *_) = await refused(opa, paths.POLICIES, text=PACKAGE + rule)
    assert problem.message == "gate dispatch gives 5000 reasons for an empty question; 1000 are the most"


@pytest.mark.parametrize(
    ("key", "text", "said"),
    [
        ("evil__rego", "package other.place\n", "package other.place is not below kubernaut"),
        (
            "evil__rego",
            "package kubernaut.gates.dispatch\n\nverdict := 1\n",
            "the gates are shipped; a rule of yours is kubernaut.rules.<gate>.<name>",
        ),
        ("evil__rego", "package kubernaut.gates.dispatch.verdict\n\ndecision := 1\n", "the gates are shipped"),
        ("evil__rego", "package kubernaut.rules.dispach.evil\n\nlimit contains 1\n", "there is no gate dispach (did you mean dispatch?"),
        ("evil__rego", "package kubernaut.rule.dispatch.evil\n\nlimit contains 1\n", "did you mean kubernaut.rules?"),
        ("evil__rego", "package kubernaut.settings\n\nx := 1\n", "would hide data.kubernaut.settings"),
        ("evil__rego", "package kubernaut.lib.verdict.answer\n\nx := 1\n", "conflicts with rule answer"),
        ("evil__rego", "package kubernaut.lib.verdict\n\nanswer(_, _) := {}\n", "already defined by kubernaut-policy-lib-verdict"),
        ("evil__rego", "", "there is no package"),
        ("evil__yaml", "a: &x [1, 2]\nb: *x\n", "aliases are not allowed"),
        ("evil__sh", "rm -rf /\n", "unknown kind of key"),
        ("evil__yaml", 'a: !!int ""\n', "not plain data"),
        ("evil__yaml", 'a: !!bool "maybe"\n', "not plain data"),
        ("evil__yaml", 'a: !!timestamp "x"\n', "not plain data"),
        ("evil__yaml", "a:\n" + "- 1\n" * 40_000, "take too long to read (write it as JSON)"),
        (
            "evil__rego",
            "package\nkubernaut.gates.dispatch\n\n_settled if true\n\nx := `\npackage kubernaut.rules.dispatch.evil\n`\n",
            "the package is kubernaut.gates.dispatch, which the first line",
        ),
    ],
)
async def test_who_would_be_somebody_else_is_refused_by_name(opa: Path, key: str, text: str, said: str) -> None:
    problems = await refused(opa, paths.POLICIES, key=key, text=text)
    assert any(said in str(problem) for problem in problems), [str(problem) for problem in problems]


@pytest.mark.parametrize(
    "config_map",
    [
        {"binaryData": {"evil.rego": "//79"}},
        {"data": {}},
        {},
    ],
)
async def test_what_is_no_text_and_what_is_empty_is_refused_and_the_last_good_version_stays(opa: Path, config_map: dict[str, Any]) -> None:
    folder = Folder()
    folder.apply("evil", evil__rego=PACKAGE + "limit contains 1\n")
    loader = await loaded(opa, paths.POLICIES, folder)
    before = loader.revision
    kept = folder.informer.get("kubernaut-system", "evil")
    assert kept is not None
    folder.informer.put(
        {**{key: kept[key] for key in ("metadata",)}, **config_map, "metadata": {**kept["metadata"], "resourceVersion": "99"}}
    )
    await loader.load()
    assert loader.revision == before
    (problem,) = loader.acceptance.rejected["evil"]
    assert "is not UTF-8 becomes binary data" in problem.remedy or problem.remedy == "delete the ConfigMap to take its rules away"


async def test_a_megabyte_of_text_is_refused_in_words_that_stay_short(opa: Path) -> None:
    many = "".join(f'deny contains "c{n}" if input.workflow.metadata.labels.x{n} == "{"y" * 60}"\n' for n in range(8000))
    assert len(many) > 900_000
    # With room to spare, so that it is what OPA says that is too much: of 300 MiB a busy machine may see the end first.
    (problem, *_) = await refused(opa, paths.POLICIES, text=PACKAGE + many, limits=Limits(memory_bytes=1 << 30))
    assert "opa parse said more than 8 MiB" in problem.message
    assert "split the file" in problem.remedy
    # A mistake in column 900,000 is told without the line.
    (problem, *_) = await refused(opa, paths.POLICIES, text=PACKAGE + 'deny contains "x" if input.x == [' + "1, " * 300_000 + "}\n")
    assert (problem.line, problem.message) == (3, "unexpected } token")


async def test_text_that_nests_without_end_is_refused(opa: Path) -> None:
    deep = "x := " + "[" * 200_000 + "]" * 200_000 + "\n"
    (problem, *_) = await refused(opa, paths.POLICIES, text=PACKAGE + deep)
    assert (problem.line, problem.message) == (3, "max parsing recursion depth exceeded")


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        (Limits(cpu_seconds=1), "opa eval needed more than 1 s of CPU"),
        (Limits(memory_bytes=1536 << 20, heap_bytes=2 << 30, cpu_seconds=60), "opa eval needed more memory than 1536 MiB"),
    ],
)
async def test_what_needs_more_than_a_check_may_use_is_a_problem_of_the_policies(
    opa: Path, policies: Path, limits: Limits, said: str
) -> None:
    many = "".join(f"x{n} := {n}\n" for n in range(150_000))
    policy_set, _ = combine(read_shipped(policies), [Source("evil", modules=(Module("evil", "evil.rego", PACKAGE + many),))], {})
    (problem,) = await Checker(opa, limits=limits).compile(policy_set)
    assert problem.message.startswith(said)
    assert problem.remedy.startswith("look for a comprehension")


async def test_two_bad_ones_and_a_good_one_in_one_moment(opa: Path) -> None:
    folder = Folder()
    folder.apply("bad-a", a__rego="package kubernaut.rules.dispatch.a\n\nlimit contains x\n")
    folder.apply("bad-b", b__rego="package kubernaut.rules.dispatch.b\n\ndeny if input.x\n")
    folder.apply("good", good__rego=GOOD)
    loader = await loaded(opa, paths.POLICIES, folder)
    assert set(loader.acceptance.accepted) == {"good"}
    assert {name: [(p.source, p.line) for p in problems] for name, problems in loader.acceptance.rejected.items()} == {
        "bad-a": [("bad-a", 3)],
        "bad-b": [("bad-b", 3)],
    }


async def test_a_function_that_another_team_uses_is_not_taken_away_and_the_message_says_whose(opa: Path) -> None:
    folder = Folder()
    folder.apply("a", a__rego="package kubernaut.lib.a\n\nmost(n) := n + 1\n")
    folder.apply("b", b__rego="package kubernaut.rules.dispatch.b\n\nlimit contains data.kubernaut.lib.a.most(2)\n")
    loader = await loaded(opa, paths.POLICIES, folder)
    assert set(loader.acceptance.accepted) == {"a", "b"}
    before = loader.revision
    folder.apply("a", a__rego="package kubernaut.lib.a\n\nleast(n) := n - 1\n")
    await loader.load()
    assert loader.revision == before
    ((name, (own, theirs)),) = loader.acceptance.rejected.items()
    assert name == "a"
    assert str(own).startswith(
        "a: with this change the set fails elsewhere: undefined function data.kubernaut.lib.a.most (nothing in the set"
    )
    assert str(theirs).startswith("b/b.rego:3:16: undefined function data.kubernaut.lib.a.most (nothing in the set defines it; whoever did")


async def test_tests_of_a_config_map_are_its_own_affair(opa: Path) -> None:
    folder = Folder()
    mine = "package kubernaut.rules.dispatch.mine\n\nlimit contains 4\n"
    verdict = "data.kubernaut.gates.dispatch.verdict"
    test = f"package kubernaut.rules.dispatch.mine_test\n\ntest_four if {verdict}.max_parallel == %d with input as {{}}\n"
    folder.apply("mine", mine__rego=mine, mine_test__rego=test % 4)
    # Stricter than what `mine` expects: its test runs without it.
    folder.apply("strict", strict__rego="package kubernaut.rules.dispatch.strict\n\nlimit contains 1\n")
    loader = await loaded(opa, paths.POLICIES, folder)
    assert set(loader.acceptance.accepted) == {"mine", "strict"}

    folder.apply("mine", mine__rego=mine, mine_test__rego=test % 5)
    folder.apply("strict", strict__rego="package kubernaut.rules.dispatch.strict\n\nlimit contains 2\n")
    await loader.load()
    (problem,) = loader.acceptance.rejected["mine"]
    assert (problem.source, problem.key, problem.line) == ("mine", "mine_test.rego", 3)
    assert problem.message == "test_four fails"
    assert loader.acceptance.accepted["strict"].modules[0].text.endswith("contains 2\n")


async def test_a_replaced_shipped_module_has_to_pass_the_tests_it_ships_with(opa: Path) -> None:
    folder = Folder()
    name, key = "kubernaut-policy-gates-completion", "gates.completion.rego"
    (module,) = [m for m in read_shipped(paths.POLICIES).modules if m.key == key]
    folder.apply(name, gates__completion__rego=module.text + "\n# mine\n")
    loader = await loaded(opa, paths.POLICIES, folder)
    assert set(loader.acceptance.accepted) == {name}
    answer = {"decision": "allow", "reasons": [], "warnings": [], "facts": [], "conditions": []}
    lax = f"package kubernaut.gates.completion\n\nverdict := {json.dumps(answer)}\n\nshadow := set()\n"
    folder.apply(name, gates__completion__rego=lax)
    await loader.load()
    problems = loader.acceptance.rejected[name]
    assert {problem.source for problem in problems} == {name}
    assert any(problem.message.startswith("shipped test tests.gates.completion_test.rego:") for problem in problems)


NEVER_ENDS = """deny contains "x" if {
	input.workflow.metadata.name == "evil"
	count([1 | some a in numbers.range(1, 99999); some b in numbers.range(1, 99999); a == b]) == 0
}
"""
RUNTIME = {
    "errs": (
        'deny contains "x" if helper(input.workflow.metadata.name)\n\nhelper(n) := 1 if n == "evil"\n\nhelper(n) := 2 if n == "evil"\n',
        "conflicting values",
    ),
    "never-ends": (NEVER_ENDS, "2 s"),
    "says-too-much": (
        'deny contains sprintf("r%d", [n]) if {\n\tinput.workflow.metadata.name == "evil"\n\tsome n in numbers.range(1, 300000)\n}\n',
        "2 s|8 MiB",
    ),
}


@pytest.mark.parametrize("kind", RUNTIME)
async def test_what_only_fails_on_some_questions_denies_those_within_the_deadline_and_others_are_answered(
    opa: Path, tmp_path: Path, kind: str
) -> None:
    rule, said = RUNTIME[kind]
    folder = Folder()
    folder.apply("evil", evil__rego=PACKAGE + rule)
    async with serving(opa, tmp_path) as (server, sidecar, _):
        loader = PolicyLoader(read_shipped(paths.POLICIES), folder.informer, Checker(opa), server, environ={})
        await loader.load()
        assert loader.acceptance.rejected == {}
        await sidecar.start()
        await sidecar.reaches(loader.revision)
        client = GateClient(f"http://127.0.0.1:{sidecar.port}", token=None, deadline=timedelta(seconds=2), observe=lambda *_: None)
        question = {"now": datetime.now(UTC).isoformat(), "workflow": {"metadata": {"name": "evil"}}}
        async with client:
            async with asyncio.timeout(10):
                with pytest.raises(PolicyNotReadyError, match=said):
                    await client.evaluate("dispatch", question)
            other, _ = await client.evaluate("dispatch", {**question, "workflow": {"metadata": {"name": "other"}}})
            assert isinstance(other, dict)
            assert "verdict_undefined" not in str(other)
            assert (await client.evaluate("planning", question))[1] == loader.revision
