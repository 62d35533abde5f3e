"""A bad change never replaces a good set."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from controller.policy.acceptance import accept
from controller.policy.sources import SET, Module, PolicyProblem, Source


def source(name: str, text: str = "", created: str = "") -> Source:
    return Source(name, created, (Module(name, "x.rego", text),))


def named(*sources: Source) -> dict[str, Source]:
    return {s.name: s for s in sources}


class Judge:
    """Refuses what says ``bad``, and whoever ``needs`` a source that is not there."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []

    async def __call__(self, sources: Mapping[str, Source], _: Collection[str]) -> list[PolicyProblem]:
        self.asked.append(sorted(sources))
        texts = {s.name: s.modules[0].text for s in sources.values()}
        return [
            PolicyProblem(name, "x.rego", 1, 1, text)
            for name, text in texts.items()
            if text == "bad" or (text.startswith("needs ") and text.removeprefix("needs ") not in texts)
        ]


async def test_changes_that_pass_together_are_asked_about_once() -> None:
    judge = Judge()
    acceptance = await accept({}, named(source("a", "needs b"), source("b")), judge)
    assert set(acceptance.accepted) == {"a", "b"}
    assert acceptance.rejected == {}
    assert judge.asked == [["a", "b"]]


async def test_nothing_changed_is_not_judged_again() -> None:
    judge = Judge()
    last = named(source("a"))
    assert (await accept(last, named(source("a")), judge)).accepted == last
    assert judge.asked == []


async def test_a_bad_change_keeps_its_last_good_version_and_the_others_go_through() -> None:
    last = named(source("a", "old"), source("b", "old"))
    acceptance = await accept(last, named(source("a", "bad"), source("b", "new"), source("c", "new")), Judge())
    assert {name: s.modules[0].text for name, s in acceptance.accepted.items()} == {"a": "old", "b": "new", "c": "new"}
    assert {name: [p.message for p in problems] for name, problems in acceptance.rejected.items()} == {"a": ["bad"]}


async def test_a_single_bad_change_is_judged_once() -> None:
    judge = Judge()
    acceptance = await accept({}, named(source("a", "bad")), judge)
    assert acceptance.accepted == {}
    assert len(judge.asked) == 1


async def test_one_that_needs_a_younger_one_is_accepted_on_the_next_round() -> None:
    found = named(source("a", "needs b", "1"), source("b", "", "2"), source("c", "bad", "0"))
    acceptance = await accept({}, found, Judge())
    assert set(acceptance.accepted) == {"a", "b"}
    assert set(acceptance.rejected) == {"c"}


async def test_what_others_need_is_not_deleted_from_under_them() -> None:
    last = named(source("lib"), source("user", "needs lib"))
    acceptance = await accept(last, named(source("user", "needs lib")), Judge())
    assert set(acceptance.accepted) == {"lib", "user"}
    assert set(acceptance.rejected) == {"lib"}
    assert set((await accept(last, {}, Judge())).accepted) == set()


async def test_where_nobody_is_blamed_the_one_that_spoils_the_set_is_found_and_answers_for_it() -> None:
    async def too_much(sources: Mapping[str, Source], _: Collection[str]) -> list[PolicyProblem]:
        return [PolicyProblem(SET, "", 0, 0, "too much", "less")] if "spoiler" in sources else []

    found = named(*(source(name) for name in ("a", "b", "c", "spoiler", "x", "y")))
    acceptance = await accept({}, found, too_much)
    assert set(acceptance.accepted) == found.keys() - {"spoiler"}
    assert acceptance.rejected == {"spoiler": [PolicyProblem("spoiler", "", 0, 0, "too much", "less")]}


async def test_one_bad_change_among_two_hundred_costs_a_handful_of_judgements() -> None:
    judge = Judge()
    acceptance = await accept({}, named(*(source(f"s{n}", "bad" if n == 77 else "") for n in range(200))), judge)
    assert (len(acceptance.accepted), set(acceptance.rejected)) == (199, {"s77"})
    assert len(judge.asked) == 3
