"""What changes of sources become, over the life of a controller: nobody waits for another, and no rule is lost on the way."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.opa import Folder

from controller import paths
from controller.observe.metrics import Metrics
from controller.policy.bundle import Bundle
from controller.policy.check import Checker
from controller.policy.loader import PolicyLoader, Remembered
from controller.policy.process import CheckUnavailableError, Limits
from controller.policy.serve import BundleServer
from controller.policy.sources import Module, PolicyProblem, PolicySet, Source, read_shipped
from controller.settings import Settings

CLOCK = ("kubernaut-policy-lib-clock", "lib.clock.rego")
COMPLETION = ("kubernaut-policy-gates-completion", "gates.completion.rego")


class CountingChecker(Checker):
    """The real one, which counts."""

    asked = 0

    async def compile(self, policy_set: PolicySet, bundle: Bundle | None = None) -> list[PolicyProblem]:
        self.asked += 1
        return await super().compile(policy_set, bundle)


class Kept:
    """What is remembered, without a cluster."""

    def __init__(self, *sources: Source, settings: Settings | None = None) -> None:
        self.sources = {source.name: source for source in sources}
        self.settings = settings or Settings()

    def read(self) -> Remembered:
        return Remembered(self.sources, {}, self.settings)


def rule(name: str, text: str) -> str:
    return f"package kubernaut.rules.dispatch.{name}\n\n{text}\n"


def shipped_text(key: str) -> str:
    (text,) = [module.text for module in read_shipped(paths.POLICIES).modules if module.key == key]
    return text


@pytest.fixture
def folder() -> Folder:
    return Folder()


@pytest.fixture
def make(opa: Path, folder: Folder) -> Callable[..., PolicyLoader]:
    def made(**more: Any) -> PolicyLoader:
        checker = more.pop("checker", None) or Checker(opa)
        return PolicyLoader(read_shipped(paths.POLICIES), folder.informer, checker, BundleServer(), environ={}, **more)

    return made


async def test_a_standing_mistake_is_not_judged_again_with_each_change_of_another(
    opa: Path, folder: Folder, make: Callable[..., PolicyLoader]
) -> None:
    checker = CountingChecker(opa)
    loader = make(checker=checker)
    folder.apply("broken", a__rego=rule("a", "limit contains data.kubernaut.lib.later.most(1)"))
    await loader.load()
    before = checker.asked
    folder.apply("bad", b__rego=rule("b", "limit contains if input.x"))
    await loader.load()
    assert set(loader.acceptance.rejected) == {"broken", "bad"}
    assert checker.asked == before + 1
    # It gets its chance as soon as the set is another one, and what it needs may come last.
    folder.apply("later", later__rego="package kubernaut.lib.later\n\nmost(n) := n + 1\n")
    await loader.load()
    assert (set(loader.acceptance.accepted), set(loader.acceptance.rejected)) == ({"broken", "later"}, {"bad"})


async def test_a_replacement_with_its_many_tests_keeps_no_other_change_waiting(folder: Folder, make: Callable[..., PolicyLoader]) -> None:
    loader = make()
    name, key = CLOCK
    folder.apply(name, lib__clock__rego=shipped_text(key) + "\n# mine\n")
    folder.apply("good", good__rego=rule("good", "limit contains 3"))
    told: list[tuple[set[str], set[str]]] = []
    loader.subscribe_report(lambda: told.append((set(loader.report.acceptance.accepted), set(loader.report.acceptance.rejected))))
    await loader.load()
    assert told == [({"good"}, set()), ({"good", name}, set())]


async def test_who_needs_a_replacement_of_the_same_moment_is_not_told_no_before_it_is_judged(
    folder: Folder, make: Callable[..., PolicyLoader]
) -> None:
    loader = make()
    name, key = CLOCK
    folder.apply(name, lib__clock__rego=shipped_text(key) + "\n# METADATA\n# description: Twice.\ntwice(n) := n * 2\n")
    folder.apply("user", user__rego=rule("user", "limit contains data.kubernaut.lib.clock.twice(2)"))
    told: list[set[str]] = []
    loader.subscribe_report(lambda: told.append(set(loader.report.acceptance.rejected)))
    await loader.load()
    assert set(loader.acceptance.accepted) == {name, "user"}
    assert told == [set(), set()]


async def test_a_replacement_that_was_refused_is_judged_again_once_it_is_mended(folder: Folder, make: Callable[..., PolicyLoader]) -> None:
    loader = make()
    name, key = COMPLETION
    folder.apply(name, gates__completion__rego=shipped_text(key).replace('"allow"', '"deny"') + "\nx := y\n")
    await loader.load()
    assert set(loader.acceptance.rejected) == {name}
    folder.apply(name, gates__completion__rego=shipped_text(key) + "\n# mended\n")
    await loader.load()
    assert (set(loader.acceptance.accepted), loader.acceptance.rejected) == ({name}, {})


async def test_a_replacement_is_remembered_before_it_decides(folder: Folder, make: Callable[..., PolicyLoader]) -> None:
    name, key = COMPLETION
    kept: list[tuple[list[str], str | None]] = []

    async def keep(sources: Any) -> None:
        kept.append((list(sources), loader.revision))

    loader = make(before_serving=keep)
    await loader.load()
    before = loader.revision
    folder.apply(name, gates__completion__rego=shipped_text(key) + "\n# mine\n")
    folder.apply("good", good__rego=rule("good", "limit contains 3"))
    await loader.load()
    ((names, revision),) = kept
    assert names == [name]
    assert revision not in {before, loader.revision}  # `good` decides by then, the replacement not yet


async def test_a_source_that_takes_another_name_is_never_missing_from_the_set(folder: Folder, make: Callable[..., PolicyLoader]) -> None:
    loader = make()
    text = rule("mine", "limit contains 3")
    folder.apply("old", mine__rego=text)
    await loader.load()
    folder.apply("renamed", mine__rego=text)
    await loader.load()
    ((name, (problem,)),) = loader.acceptance.rejected.items()
    assert (name, problem.message) == ("renamed", "package kubernaut.rules.dispatch.mine is already defined by old")
    served: list[set[str]] = []
    loader.subscribe(lambda *_: served.append(set(loader.acceptance.accepted)))
    folder.delete("old")
    await loader.load()
    assert served == [{"renamed"}]


async def test_a_source_that_becomes_unreadable_is_refused_alone_and_accepted_once_it_is_mended(
    folder: Folder, make: Callable[..., PolicyLoader]
) -> None:
    loader = make()
    text = rule("mine", "limit contains 3")
    folder.apply("mine", mine__rego=text)
    await loader.load()
    folder.apply("mine", mine__rego=text, README__md="# notes")
    folder.apply("other", other__rego=rule("other", "limit contains 4"))
    await loader.load()
    assert set(loader.acceptance.accepted) == {"mine", "other"}
    assert [problem.message for problem in loader.acceptance.rejected["mine"]] == ["unknown kind of key"]
    folder.apply("mine", mine__rego=text)
    await loader.load()
    assert loader.acceptance.rejected == {}


async def test_a_rule_reads_the_data_that_comes_with_it(folder: Folder, make: Callable[..., PolicyLoader]) -> None:
    loader = make()
    test = "package kubernaut.rules.dispatch.mine_test\n\ntest_cap if data.kubernaut.rules.dispatch.mine.limit == {7}\n"
    folder.apply("mine", mine__rego=rule("mine", "limit contains data.kubernaut.teams.mine.cap"), mine_test__rego=test, caps__yaml="cap: 7")
    await loader.load()
    assert loader.acceptance.rejected == {}
    folder.apply("mine", mine__rego=rule("mine", "limit contains data.kubernaut.teams.mine.cap"), mine_test__rego=test, caps__yaml="cap: 8")
    await loader.load()
    assert [problem.message for problem in loader.acceptance.rejected["mine"]] == ["test_cap fails"]


async def test_without_all_policy_config_maps_the_shipped_set_decides(folder: Folder, make: Callable[..., PolicyLoader]) -> None:
    loader = make()
    await loader.load()
    shipped = loader.revision
    for name in ("a", "b"):
        folder.apply(name, x__rego=rule(name, "limit contains 3"))
    await loader.load()
    assert loader.revision != shipped
    folder.delete("a")
    folder.delete("b")
    await loader.load()
    assert loader.revision == shipped


async def running(loader: PolicyLoader, folder: Folder, holds: Callable[[], object]) -> None:
    folder.informer.synced.set()
    task = asyncio.create_task(loader.run())
    try:
        async with asyncio.timeout(60):
            while not holds():
                assert not task.done(), task.exception()
                await asyncio.sleep(0.02)
    finally:
        task.cancel()


async def test_a_last_good_rule_that_this_version_does_not_compile_with_lets_nothing_decide(
    folder: Folder, make: Callable[..., PolicyLoader]
) -> None:
    text = rule("mine", "limit contains data.kubernaut.lib.gone.most(1)")
    folder.apply("mine", mine__rego=text)
    loader = make(memory=Kept(Source("mine", "2026-01-01T00:00:00Z", (Module("mine", "mine.rego", text),))))
    await running(loader, folder, lambda: loader.report.unloadable)
    assert loader.revision is None
    trouble = loader.trouble()
    assert trouble is not None
    assert "mine/mine.rego:3:16: undefined function data.kubernaut.lib.gone.most" in trouble.why
    assert [problem.source for problem in loader.report.unloadable] == ["mine"]
    folder.apply("mine", mine__rego=rule("mine", "limit contains 2"))
    await running(loader, folder, lambda: loader.revision)


async def test_a_restart_with_a_setting_that_cannot_be_read_goes_on_with_the_one_before(
    folder: Folder, make: Callable[..., PolicyLoader]
) -> None:
    folder.apply("kubernaut-workflowexecution-config", policy=False, complexity0approval0threshold="three")
    loader = make(memory=Kept(settings=Settings(complexity_approval_threshold=3)))
    await running(loader, folder, lambda: loader.revision)
    assert loader.settings.complexity_approval_threshold == 3
    assert [problem.key for problem in loader.report.setting_problems] == ["complexity-approval-threshold"]


async def test_a_busy_machine_is_no_fault_of_the_policies(opa: Path, make: Callable[..., PolicyLoader]) -> None:
    # A good set that is cut short by the clock on the wall, and ends when it is given the processor's time.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("controller.policy.check._PROBE_TAKES_AT_MOST", "1ms")
        assert (await make(checker=Checker(opa)).load()).revision is not None
    with pytest.raises(CheckUnavailableError, match="did not end within"):
        await make(checker=Checker(opa, limits=Limits(seconds=0.001))).load()
    assert (await make().load()).revision is not None


async def test_the_states_of_the_sources_are_counted(folder: Folder, make: Callable[..., PolicyLoader]) -> None:
    metrics = Metrics()
    loader = make(metrics=metrics)
    folder.apply("good", good__rego=rule("good", "limit contains 3"))
    folder.apply("bad", bad__rego=rule("bad", "limit contains x"))
    await loader.load()
    lines = metrics.exposition().decode().splitlines()
    assert 'kubernaut_policy_configmaps{state="active"} 1.0' in lines
    assert 'kubernaut_policy_configmaps{state="rejected"} 1.0' in lines
