"""Checking and serving with the real OPA; ConfigMaps come from a cache that is filled by hand."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from support.opa import Folder, serving
from support.patience import until

from controller.observe.metrics import Metrics
from controller.policy.bundle import build_bundle
from controller.policy.check import Checker
from controller.policy.loader import PolicyLoader
from controller.policy.process import CheckUnavailableError, Limits
from controller.policy.serve import BundleServer
from controller.policy.sources import Module, PolicySet, combine, read_shipped

TEAM = "package kubernaut.rules.dispatch.team_a\n\nlimit contains 1\n"


def shipped_set(policies: Path) -> PolicySet:
    policy_set, problems = combine(read_shipped(policies), [], {"max-parallel-steps": 5})
    assert problems == []
    return policy_set


def with_team(policy_set: PolicySet, text: str) -> PolicySet:
    return PolicySet((*policy_set.modules, Module("team-a", "limit.rego", text)), {}, policy_set.settings, policy_set.shipped)


async def test_a_good_set_has_no_problems(opa: Path, policies: Path) -> None:
    assert await Checker(opa).compile(with_team(shipped_set(policies), TEAM)) == []


@pytest.mark.parametrize(
    ("text", "place", "said"),
    [
        ("limit contains n if {\n\tn := missing\n}", (4, 2), "var missing is unsafe"),
        ("limit contains 1 if input.x == }", (3, 32), "unexpected } token"),
        ('limit contains 1 if http.send({"method": "get", "url": "x"})', (3, 21), "undefined function http.send (policies read no clock"),
        ("limit contains time.now_ns()", (3, 16), "undefined function time.now_ns (policies read no clock"),
        ("limit contains 1 if opa.runtime().env", (3, 21), "undefined function opa.runtime"),
        ("limit contains 1 if net.lookup_ip_addr(input.x)", (3, 21), "undefined function net.lookup_ip_addr"),
        ("import data.kubernaut.lib.unused", (3, 1), "unused"),
    ],
)
async def test_a_mistake_is_named_with_line_and_column(opa: Path, policies: Path, text: str, place: tuple[int, int], said: str) -> None:
    problems = await Checker(opa).compile(with_team(shipped_set(policies), f"package kubernaut.rules.dispatch.team_a\n\n{text}\n"))
    assert [(p.source, p.key, p.line, p.column) for p in problems] == [("team-a", "limit.rego", *place)]
    assert said in str(problems[0])


async def test_a_schema_finds_a_misspelt_field(opa: Path, policies: Path, tmp_path: Path) -> None:
    schemas = tmp_path / "schemas"
    schemas.mkdir()
    schema = {"type": "object", "additionalProperties": False, "properties": {"now": {"type": "string"}}}
    (schemas / "dispatch_input.json").write_text(json.dumps(schema))
    text = "# METADATA\n# schemas:\n#   - input: schema.dispatch_input\n" + TEAM + "\nlimit contains 2 if input.nwo\n"
    assert await Checker(opa).compile(with_team(shipped_set(policies), text)) == []
    problems = await Checker(opa, schemas).compile(with_team(shipped_set(policies), text))
    assert ["nwo" in p.message or "undefined ref" in p.message for p in problems] == [True]


async def test_a_check_that_cannot_be_done_is_no_verdict_about_the_policies(opa: Path, policies: Path, tmp_path: Path) -> None:
    for checker in (
        Checker(tmp_path / "no-opa"),
        Checker(opa, limits=Limits(seconds=0.001)),
        Checker(opa, limits=Limits(memory_bytes=1 << 20)),
    ):
        with pytest.raises(CheckUnavailableError):
            await checker.compile(shipped_set(policies))


async def test_a_new_bundle_is_active_by_long_poll_and_an_empty_opa_is_refilled(opa: Path, policies: Path, tmp_path: Path) -> None:
    async with serving(opa, tmp_path) as (server, sidecar, told):
        await sidecar.start()  # before there is any set
        await asyncio.sleep(0.3)
        assert (await sidecar.verdict())[1] is None
        first = build_bundle(shipped_set(policies))
        server.publish(first)
        assert (await sidecar.reaches(first.revision))["max_parallel"] == 5
        await until(lambda: (first.revision, []) in told)

        await asyncio.sleep(0.5)  # let it settle into its long poll
        second = build_bundle(with_team(shipped_set(policies), TEAM))
        server.publish(second)
        assert (await sidecar.reaches(second.revision, 3))["max_parallel"] == 1

        await sidecar.kill()
        await sidecar.start()
        assert (await sidecar.reaches(second.revision))["max_parallel"] == 1


async def test_what_opa_cannot_activate_is_heard_of(opa: Path, policies: Path, tmp_path: Path) -> None:
    async with serving(opa, tmp_path) as (server, sidecar, told):
        good = build_bundle(shipped_set(policies))
        server.publish(good)
        await sidecar.start()
        await sidecar.reaches(good.revision)
        server.publish(build_bundle(with_team(shipped_set(policies), "package kubernaut.rules.dispatch.team_a\n\nlimit contains x\n")))
        await until(lambda: any(problems for _, problems in told))
        assert (await sidecar.verdict())[0] == good.revision


async def test_what_opa_could_not_activate_is_kept_over_its_polls_until_it_has_what_is_served(
    opa: Path, policies: Path, tmp_path: Path
) -> None:
    async with serving(opa, tmp_path) as (server, sidecar, told):
        good = build_bundle(shipped_set(policies))
        server.publish(good)
        await sidecar.start()
        await sidecar.reaches(good.revision)
        server.publish(build_bundle(with_team(shipped_set(policies), TEAM.replace("contains 1", "contains x"))))
        await until(lambda: any(problems for _, problems in told))
        since = [bool(problems) for _, problems in told].index(True)
        await until(lambda: len(told) > since + 5)
        assert [problems for revision, problems in told[since:] if revision == good.revision and not problems] == []

        mended = build_bundle(with_team(shipped_set(policies), TEAM))
        server.publish(mended)
        await until(lambda: told[-1] == (mended.revision, []))


async def test_the_loader_takes_good_changes_keeps_off_bad_ones_and_follows_deletions(opa: Path, policies: Path, tmp_path: Path) -> None:
    folder, metrics = Folder(), Metrics()
    async with serving(opa, tmp_path) as (server, sidecar, _):
        loader = PolicyLoader(read_shipped(policies), folder.informer, Checker(opa), server, environ={}, metrics=metrics)
        revisions: list[str] = []
        loader.subscribe(lambda revision, _: revisions.append(revision))
        running = asyncio.create_task(loader.run())
        await asyncio.sleep(0.1)
        trouble = loader.trouble()
        assert trouble is not None  # nothing is served before the ConfigMaps are known
        assert "not read yet" in trouble.why
        folder.informer.synced.set()
        await sidecar.start()
        await until(lambda: loader.revision is not None)
        base = loader.revision
        assert (await sidecar.reaches(base))["max_parallel"] == 5
        await until(lambda: loader.trouble() is None)

        folder.apply("team-a", limit__rego=TEAM)
        await until(lambda: loader.revision != base)
        with_rule = loader.revision
        assert (await sidecar.reaches(with_rule))["max_parallel"] == 1

        folder.apply("team-a", limit__rego=TEAM.replace("contains 1", "contains x"))
        folder.apply("team-b", limit__rego="package kubernaut.rules.dispatch.team_b\n\nlimit contains 3\n")
        await until(lambda: loader.revision != with_rule)
        assert (await sidecar.reaches(loader.revision))["max_parallel"] == 1  # team-a's last good version still decides
        assert [p.line for p in loader.acceptance.rejected["team-a"]] == [3]

        folder.apply("kubernaut-workflowexecution-config", policy=False, max0parallel0steps="4")
        folder.delete("team-a")
        folder.delete("team-b")
        await until(lambda: loader.settings.max_parallel_steps == 4 and not loader.acceptance.accepted)
        assert (await sidecar.reaches(loader.revision))["max_parallel"] == 4

        folder.delete("kubernaut-workflowexecution-config")
        await until(lambda: loader.revision == base)
        running.cancel()
    assert revisions[0] == revisions[-1] == base
    assert b'kubernaut_policy_loads_total{result="rejected"} 1.0' in metrics.exposition()


async def test_a_shipped_set_that_does_not_compile_serves_nothing_and_says_why(opa: Path, policies: Path) -> None:
    (policies / "gates" / "dispatch.rego").write_text("package kubernaut.gates.dispatch\n\nverdict := x\n")
    folder = Folder()
    server = BundleServer()
    loader = PolicyLoader(read_shipped(policies), folder.informer, Checker(opa), server, environ={})
    await loader.load()
    trouble = loader.trouble()
    assert loader.revision is None
    assert trouble is not None
    assert "gates.dispatch.rego:3:12: var x is unsafe" in trouble.why


async def test_readiness_goes_by_what_opa_has_not_by_what_it_once_complained_of(opa: Path, policies: Path) -> None:
    server = BundleServer()
    loader = PolicyLoader(read_shipped(policies), Folder().informer, Checker(opa), server, environ={})
    await loader.load()
    assert loader.revision is not None
    assert server.observer is not None

    server.observer("an-older-one", ["rego_type_error: undefined function"])
    behind = loader.trouble()
    server.observer(loader.revision, ["dial tcp: connection refused"])  # a report of before this process began to serve

    assert behind is not None
    assert behind.why == f"OPA has an-older-one, served is {loader.revision}; it says: rego_type_error: undefined function"
    assert loader.trouble() is None
    assert loader.active
