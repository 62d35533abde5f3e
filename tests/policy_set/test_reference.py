"""docs/reference/ says all that the policies can say, and nothing else."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from controller import paths
from controller.policy.reference.__main__ import FOLDER, main, render
from controller.policy.reference.reading import UndescribedError, read_actions, read_modules
from controller.policy.reference.reasons import condition_reasons, find_reasons
from controller.settings import Settings

LIB = """package kubernaut.lib.made

reason(policy, code) := {"code": code, "message": sprintf("it is %s", [input.name]), "remedy": "look"}

late contains {"code": "late", "message": "too late"} if input.late
"""
# Every way in which a gate can come by a reason.
GATE = """package kubernaut.gates.dispatch

import data.kubernaut.lib.made

default verdict := {"decision": "deny", "reasons": [{"code": "undefined", "message": "nothing is known"}]}

_deny contains {"code": "plain", "message": "as written", "remedy": _help} if input.plain

_help := "this" if {
	input.one
} else := sprintf("that of %s", [input.two])

_deny contains reason if some reason in made.late

_wait contains made.reason("dispatch", "called") if input.called

_warn contains {"code": "told", "message": _words(input.told)} if input.told

_words(told) := sprintf("words: %s%s", [told, told])

_holds[number] contains {"code": "held", "message": input.why} if some number in input.ready
"""
RULE = """package kubernaut.rules.safety.team

import data.kubernaut.lib.made

deny contains made.reason("team", "by_rule") if input.team
"""
SHOWN = re.compile(r"\]\(([^)\s]+)\)")
HEARD = '\nverdict := _overheard if print("VERDICT", json.marshal(_overheard))\n'


@pytest.fixture(scope="session")
def pages(opa: Path) -> dict[str, str]:
    return render(opa)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One gate, one library, one rule."""
    for path, text in {"gates/dispatch.rego": GATE, "lib/made.rego": LIB, "rules/safety/team.rego": RULE}.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    return tmp_path


def test_a_reason_is_found_wherever_its_code_is_a_constant(opa: Path, folder: Path) -> None:
    found = {r.code: (r.effect, r.message, r.remedy, r.gates) for r in find_reasons(read_modules(opa, folder))}
    assert found == {
        "undefined": ("deny", "nothing is known", "", ("dispatch",)),
        "plain": ("deny", "as written", "this, or: that of …", ("dispatch",)),
        "late": ("deny", "too late", "", ("dispatch", "safety")),
        "called": ("wait", "it is …", "look", ("dispatch",)),
        "told": ("warn", "words: …", "", ("dispatch",)),
        "held": ("hold", "*said in each case*", "", ("dispatch",)),
        "by_rule": ("deny", "it is …", "look", ("safety",)),
    }


@pytest.mark.parametrize("code", ["input.code", 'sprintf("%s_%s", ["a", input.b])', "_code"])
def test_a_code_that_cannot_be_listed_stops_the_generator(opa: Path, folder: Path, code: str) -> None:
    (folder / "gates" / "dispatch.rego").write_text(f'{GATE}\n_deny contains {{"code": {code}, "message": "m"}} if input.a\n')
    with pytest.raises(UndescribedError, match=r"dispatch\.rego:23: the code of this reason cannot be told"):
        find_reasons(read_modules(opa, folder))


def test_a_reason_that_no_gate_can_give_stops_the_generator(opa: Path, folder: Path) -> None:
    (folder / "lib" / "lost.rego").write_text('package kubernaut.lib.lost\n\nlost contains {"code": "lost", "message": "m"} if input.a\n')
    with pytest.raises(UndescribedError, match="no gate imports it"):
        find_reasons(read_modules(opa, folder))


def test_a_gate_that_nobody_described_stops_the_generator(opa: Path, folder: Path) -> None:
    (folder / "actions").mkdir()
    (folder / "actions" / "wave.rego").write_text("package kubernaut.actions.wave\n\npreconditions := {}\n\npostconditions := {}\n")
    with pytest.raises(UndescribedError, match="when these gates are asked: action, approval"):
        render(opa, folder)


def test_whoever_is_kept_from_something_is_told_what_helps(opa: Path) -> None:
    waiting_is_all = {"nothing_ready", "parallel_limit"}
    helpless = {r.code for r in find_reasons(read_modules(opa, paths.POLICIES)) if r.effect != "warn" and not r.remedy}
    assert helpless == waiting_is_all


def test_every_code_that_a_verdict_really_carries_is_in_the_reference(opa: Path, tmp_path: Path, pages: Mapping[str, str]) -> None:
    """The tests of policies/ are run with gates that tell every verdict they give."""
    said = {(gate, reason["code"], reason["policy"]) for gate, verdict in _verdicts(opa, tmp_path) for reason in _reasons(verdict)}
    modules = read_modules(opa, paths.POLICIES)
    shipped = {package.removeprefix("kubernaut.") for package in modules}
    reasons = [*find_reasons(modules), *condition_reasons(read_actions(opa, paths.POLICIES))]
    listed = {(gate, reason.code) for reason in reasons for gate in reason.gates}
    # The tests bring rules and conditions of their own, which are nobody's to list. Those of the catalogue are listed from its constants.
    theirs = {line for line in said if line[2].startswith(("rules.", "catalogue.")) and line[2] not in shipped}
    ours = {(gate, code) for gate, code, _ in said - theirs}
    passed_on = {("safety", code) for gate, code in listed if gate == "action"}
    assert len(ours) > 60
    assert ours - listed - passed_on == set()
    assert {code for _, code in listed} == set(re.findall(r"^## (.+)$", pages["reasons.md"], re.MULTILINE))


def _verdicts(opa: Path, folder: Path) -> Iterator[tuple[str, Any]]:
    shutil.copytree(paths.POLICIES, folder / "policies")
    for file in (folder / "policies" / "gates").glob("*.rego"):
        rule, text = "\nverdict := object.union_n([", file.read_text()
        assert text.count(rule) == 1, file
        told = HEARD.replace('"VERDICT"', f'"VERDICT {file.stem}"')
        file.write_text(text.replace(rule, rule.replace("verdict", "_overheard")) + told)
    # Whether the tests pass is not asked here.
    command = [opa, "test", "--timeout", "60s", "--format", "json", "policies"]
    done = subprocess.run(command, cwd=folder, capture_output=True, timeout=150, check=False)
    for test in json.loads(done.stdout):
        for line in base64.b64decode(test.get("output", "")).decode().splitlines():
            word, _, rest = line.partition(" ")
            gate, _, verdict = rest.partition(" ")
            if word == "VERDICT" and verdict != "<undefined>":
                yield gate, json.loads(verdict)


def _reasons(node: Any) -> Iterator[Mapping[str, str]]:
    if isinstance(node, dict) and {"code", "policy"} <= node.keys():
        yield node
    elif isinstance(node, dict | list):
        for value in node.values() if isinstance(node, dict) else node:
            yield from _reasons(value)


def test_every_link_of_the_reference_leads_somewhere(pages: Mapping[str, str]) -> None:
    pages = {**pages, "README.md": (FOLDER / "README.md").read_text()}
    anchors = {
        name: {title.lower().replace(" ", "-") for title in re.findall(r"^#+ (.+)$", page, re.MULTILINE)} for name, page in pages.items()
    }
    links = [(name, *link.partition("#")[::2]) for name, page in pages.items() for link in SHOWN.findall(page)]
    lost = [link for link in links if not (_leads(link[0], link[1], link[2], anchors))]
    assert len(links) > 300
    assert lost == []


def _leads(page: str, target: str, anchor: str, anchors: Mapping[str, set[str]]) -> bool:
    if target in anchors or not target:
        return not anchor or anchor in anchors[target or page]
    return (FOLDER / target).exists()


def test_the_tables_are_whole(pages: Mapping[str, str]) -> None:
    for name, page in pages.items():
        for head, body in re.findall(r"^(\|.*)\n\|(?:---\|)+\n((?:\|.*\n)+)", page, re.MULTILINE):
            columns = head.count("|")
            assert {len(re.findall(r"(?<!\\)\|", row)) for row in body.splitlines()} == {columns}, (name, head)
        assert "| … |" not in page, "a cell that says nothing"


def test_every_gate_field_action_and_setting_has_its_line(pages: Mapping[str, str]) -> None:
    gates = re.split(r"^## ", pages["gates.md"], flags=re.MULTILINE)
    for file in sorted(paths.SCHEMAS.glob("*.json")):
        gate, _, side = file.stem.rpartition("_")
        section = next(text for text in gates if text.startswith(gate + "\n"))
        half = section.partition(f"### What {gate} answers")[2 if side == "verdict" else 0]
        fields = json.loads(file.read_text())["properties"]
        assert [name for name in fields if f"| `{name}` |" not in half] == [], file.name
    for gate in (paths.POLICIES / "gates").glob("*.rego"):
        assert f"\n## {gate.stem}\n" in pages["gates.md"]
    for action in (paths.POLICIES / "actions").glob("*.rego"):
        assert f"\n## {action.stem}\n" in pages["actions.md"]
    assert all(f"| `{key}` |" in pages["settings.md"] for key in Settings().document())


def test_check_tells_what_is_not_up_to_date_and_writes_nothing(
    opa: Path, pages: Mapping[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--opa", str(opa), "--out", str(tmp_path)]) == 0
    assert {file.name: file.read_text() for file in tmp_path.iterdir()} == pages
    (tmp_path / "reasons.md").write_text("by hand")
    (tmp_path / "README.md").write_text("stays")
    capsys.readouterr()
    assert main(["--opa", str(opa), "--out", str(tmp_path), "--check"]) == 1
    assert "/reasons.md is not what" in capsys.readouterr().err
    assert (tmp_path / "reasons.md").read_text() == "by hand"


def test_without_opa_or_with_a_policy_that_is_none_it_says_so(
    opa: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--opa", str(tmp_path / "absent"), "--out", str(tmp_path)]) == 2
    assert "absent" in capsys.readouterr().err
    (folder / "lib" / "made.rego").write_text("no rego")
    assert main(["--opa", str(opa), "--policies", str(folder), "--out", str(tmp_path)]) == 2
    assert "made.rego cannot be parsed" in capsys.readouterr().err
