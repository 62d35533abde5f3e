"""docs/lifecycle.md and its drawing: what stands in the code's table stands there, and what they name exists."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
import yaml

from controller import diagram, paths
from controller.core import phases
from controller.settings import Settings

DOCS = paths.ROOT / "docs"
PAGE = (DOCS / "lifecycle.md").read_text()
DRAWING = (DOCS / "lifecycle.svg").read_text()
GATES = {file.stem for file in (paths.POLICIES / "gates").glob("*.rego")}
NAMED = set(re.findall(r"`([^`\n]+)`", PAGE))


def transitions() -> list[tuple[str, str, str]]:
    return [(before, after, when) for before, following in phases.TRANSITIONS.items() for after, when in following.items()]


def shown(drawing: str) -> list[str]:
    """The texts of a drawing, in order."""
    return [text.text or "" for text in ET.fromstring(drawing).iter("{http://www.w3.org/2000/svg}text")]  # noqa: S314 - it is our own


def with_transition(before: str, after: str, when: str) -> dict[str, dict[str, str]]:
    table = {phase: dict(following) for phase, following in phases.TRANSITIONS.items()}
    table.setdefault(before, {})[after] = when
    return table


def property_names(schema: object) -> Iterator[str]:
    if isinstance(schema, dict):
        yield from schema.get("properties") or {}
        for inner in schema.values():
            yield from property_names(inner)


# the drawing


def test_the_drawing_is_what_the_generator_writes(capsys: pytest.CaptureFixture[str]) -> None:
    assert diagram.main(["--check"]) == 0, capsys.readouterr().err


def test_a_drawing_that_somebody_changed_is_told_of_and_written_anew(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    drawing = tmp_path / "lifecycle.svg"
    drawing.write_text(DRAWING.replace("executing", "running"))
    assert diagram.main(["--check", "--out", str(tmp_path)]) == 1
    assert "lifecycle.svg is not what controller/core/phases.py says: run `make generate`" in capsys.readouterr().err
    assert diagram.main(["--out", str(tmp_path)]) == 0
    assert drawing.read_text() == DRAWING


@pytest.mark.parametrize(("before", "after", "when"), transitions())
def test_every_transition_is_drawn_with_its_words(before: str, after: str, when: str) -> None:
    texts = shown(DRAWING)
    row = texts.index(f"{before or 'new'} → {after}")
    assert texts[row + 1] == when
    # Once on its arrow, once in the list.
    assert texts.count(texts[row - 1]) == 2
    assert texts[row - 1].isdecimal()


def test_every_phase_has_one_box_and_every_transition_one_arrow() -> None:
    texts = shown(DRAWING)
    assert all(texts.count(phase or "new") == 1 for phase in phases.TRANSITIONS)
    assert DRAWING.count("marker-end") == len(transitions())


def test_a_transition_that_is_new_in_the_table_appears_whatever_its_words() -> None:
    when = "somebody <mended> what blocked it & " * 5
    texts = shown(diagram.draw(with_transition(phases.BLOCKED, phases.EXECUTING, when)))
    row = texts.index("blocked → executing")
    assert " ".join(texts[row + 1 : row + 3]) == when.strip()


def test_arrows_to_and_fro_between_two_boxes_do_not_lie_on_each_other() -> None:
    for table in (with_transition(phases.BLOCKED, phases.EXECUTING, "x"), with_transition(phases.ROLLING_BACK, phases.DEGRADED, "x")):
        drawn = diagram.arrows(table)
        assert len({arrow.start for arrow in drawn} | {arrow.end for arrow in drawn}) == 2 * len(drawn)


def test_a_phase_without_a_place_is_an_error_that_says_so() -> None:
    with pytest.raises(diagram.UnplacedPhaseError, match=r"diagram\.py has no place for the phase 'resting': add it to PLACES"):
        diagram.draw(with_transition(phases.EXECUTING, "resting", "it is tired"))


def test_a_phase_without_a_place_ends_the_command_with_its_reason(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(phases.TRANSITIONS, "resting", {})
    assert diagram.main(["--check"]) == 2
    assert "no place for the phase 'resting'" in capsys.readouterr().err


def test_a_place_whose_phase_is_gone_is_an_error_that_says_so() -> None:
    table = {phase: {a: w for a, w in following.items() if a != phases.BLOCKED} for phase, following in phases.TRANSITIONS.items()}
    del table[phases.BLOCKED]
    with pytest.raises(diagram.UnplacedPhaseError, match="a place for 'blocked', which is no phase any more"):
        diagram.draw(table)


def test_no_arrow_runs_through_another_phase_or_across_another_arrow() -> None:
    drawn = diagram.arrows()
    assert all(a.start[0] == a.end[0] or a.start[1] == a.end[1] for a in drawn)
    for arrow in drawn:
        others = [box for phase, box in diagram.PLACES.items() if phase not in {arrow.before, arrow.after}]
        others += [diagram.thin_box((a.start, a.end)) for a in drawn if a is not arrow]
        own = diagram.thin_box((arrow.start, arrow.end))
        assert not [box for box in others if own.across.meets(box.across) and own.down.meets(box.down)]


# the page


def test_the_page_names_every_phase() -> None:
    assert {phase for phase in phases.TRANSITIONS if phase} <= NAMED
    assert set(phases.ENTERED.values()) <= NAMED


def test_the_page_names_every_gate_and_no_other() -> None:
    linked = re.findall(r"\[(\w+)\]\(reference/gates\.md#(\w+)\)", PAGE)
    assert {gate for pair in linked for gate in pair} == GATES
    assert all(text == anchor for text, anchor in linked)


def test_every_setting_that_the_page_names_exists() -> None:
    settings = {name.replace("_", "-") for name in Settings.model_fields}
    assert {name for name in NAMED if re.fullmatch(r"[a-z]+(-[a-z]+)+", name)} <= settings


def test_every_field_that_the_page_names_exists() -> None:
    crds = [yaml.safe_load(file.read_text())["spec"]["versions"][0] for file in paths.CRDS.glob("*.yaml")]
    fields = {name for crd in crds for name in property_names(crd)}
    named = {part for name in NAMED for part in name.partition(":")[0].split(".") if re.fullmatch(r"[a-z]+([A-Z][a-z]+)+", part)}
    assert named
    assert named <= fields


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\(([^)#]+)", PAGE))))
def test_every_link_of_the_page_leads_somewhere(target: str) -> None:
    assert (DOCS / target).exists()
