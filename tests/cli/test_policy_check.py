"""`phasegate policy check` on the real opa: what is found, where it stands on disk, and every format read back."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from support.policy_files import GOOD, UNSAFE, PolicyCommand, manifest, write

from controller.cli import main
from controller.cli._exits import Exit

NEGATION = 'package kubernaut.rules.dispatch.team\n\nwait contains "late" if not input.now > 1\n'


def test_a_good_policy_is_said_to_be_good(say: PolicyCommand) -> None:
    write("Team A/limit.rego", GOOD)
    write("Team A/README.md", "notes")
    write("Team A/.hidden/odd", "left out")
    assert say("check", "Team A") == (Exit.DONE, "✔ team-a: good; kubernaut.rules.dispatch.team\n", "")


def test_a_mistake_is_shown_with_its_line_and_a_caret_under_the_column(say: PolicyCommand) -> None:
    write("team/sub/limit.rego", UNSAFE)
    code, out, _ = say("check", "team")
    assert code == Exit.NO
    lines = out.splitlines()
    assert lines[0] == "team/sub/limit.rego:4:2: error: var missing is unsafe"
    assert lines[1:3] == ["  4 | \tn := missing", "    | \t^"]
    assert lines[3].startswith("  → nothing gives this name a value")
    assert lines[4] == "✘ team: would be refused, 1 error"


def test_the_caret_stands_right_behind_wide_characters(say: PolicyCommand) -> None:
    write("team/a.rego", 'package kubernaut.rules.dispatch.team\n\nwait contains "a" if {"ä日本" == input.x; yy}\n')
    _, out, _ = say("check", "team")
    text, caret = out.splitlines()[1:3]
    # Two of the characters before it are two columns wide.
    assert caret.index("^") == text.index("yy") + 2


def test_a_very_long_line_is_shown_around_the_caret(say: PolicyCommand) -> None:
    write("team/a.rego", f'package kubernaut.rules.dispatch.team\n\nwait contains "a" if {{ "{"x" * 5000}" == input.x; yy }}\n')
    _, out, _ = say("check", "team")
    text, caret = out.splitlines()[1:3]
    assert len(text) < 200
    assert text[caret.index("^") :].startswith("yy")


def test_a_config_map_is_judged_where_its_text_stands_in_the_manifest(say: PolicyCommand) -> None:
    block = "\n".join("    " + line if line else "" for line in UNSAFE.splitlines())
    other = "---\napiVersion: v1\nkind: ServiceAccount\nmetadata: {name: x}\n---\n"
    file = write("manifests/all.yaml", other + manifest("team", "  b.rego: |", block, '  odd.rego: "package nowhere"'))
    rows = file.read_text().splitlines()
    _, out, _ = say("check", "manifests")
    odd = rows.index('  odd.rego: "package nowhere"') + 1
    assert f"manifests/all.yaml:{odd}:13: error: line 1, column 1 of odd.rego: package nowhere" in out
    file.write_text(file.read_text().replace('  odd.rego: "package nowhere"\n', ""))
    _, out, _ = say("check", "manifests/all.yaml")
    row = rows.index("    \tn := missing") + 1
    assert out.splitlines()[:3] == [
        f"manifests/all.yaml:{row}:6: error: var missing is unsafe",
        f"  {row} | \tn := missing",
        f"  {' ' * len(str(row))} | \t^",
    ]


def test_several_paths_are_judged_together_and_only_the_culprit_is_refused(say: PolicyCommand) -> None:
    write("a/a.rego", GOOD)
    write("b/b.rego", GOOD)
    write("c/c.rego", UNSAFE.replace("team", "other"))
    write("d.rego", GOOD.replace("team", "d"))
    code, out, _ = say("check", "a", "b", "c", "d.rego")
    assert code == Exit.NO
    assert [line.split(":")[0] for line in out.splitlines() if line[0] in "✔✘"] == ["✔ a", "✘ b", "✘ c", "✔ d"]
    assert "package kubernaut.rules.dispatch.team is already defined by a" in out


def test_an_unsafe_negation_is_a_warning_and_with_strict_an_error(say: PolicyCommand) -> None:
    write("team/a.rego", NEGATION)
    code, out, _ = say("check", "team")
    assert code == Exit.DONE
    assert ": warning: `not input.now > 1` can be undefined" in out.splitlines()[0]
    code, out, _ = say("check", "--strict", "team")
    assert code == Exit.NO
    assert ": error: `not input.now > 1` can be undefined" in out.splitlines()[0]


def test_settings_among_the_paths_are_judged_and_are_those_that_policies_see(say: PolicyCommand) -> None:
    write("team/team.rego", GOOD)
    write("settings.yaml", manifest("kubernaut-workflowexecution-config", '  max-parallel-steps: "900"', labels="{}"))
    code, out, _ = say("check", "team", "settings.yaml")
    assert code == Exit.NO
    assert out.startswith("settings.yaml:7:23: error: ")
    assert "max-parallel-steps" in out.splitlines()[0]


def test_the_json_is_all_that_the_text_says(say: PolicyCommand) -> None:
    write("team/limit.rego", UNSAFE)
    write("warned.rego", NEGATION.replace("team", "warned"))
    code, out, _ = say("check", "-o", "json", "team", "warned.rego")
    document: dict[str, Any] = json.loads(out)
    assert (code, document["passed"]) == (Exit.NO, False)
    assert [(p["file"], p["line"], p["column"], p["severity"], bool(p["remedy"])) for p in document["problems"]] == [
        ("team/limit.rego", 4, 2, "error", True),
        ("warned.rego", 3, 25, "warning", True),
    ]
    assert [(source["name"], source["passed"], source["packages"]) for source in document["sources"]] == [
        ("team", False, ["kubernaut.rules.dispatch.team"]),
        ("warned", True, ["kubernaut.rules.dispatch.warned"]),
    ]


def test_github_gets_one_escaped_command_for_each_problem(say: PolicyCommand) -> None:
    write("a,b:c%/limit.rego", UNSAFE)
    write("warned.rego", NEGATION.replace("team", "warned"))
    _, out, _ = say("check", "-o", "github", "a,b:c%", "warned.rego")
    error, warning, *rest = out.splitlines()
    assert error.startswith("::error file=a%2Cb%3Ac%25/limit.rego,line=4,col=2,title=a-b-c::var missing is unsafe%0A→ nothing gives")
    assert warning.startswith("::warning file=warned.rego,line=3,col=25,title=warned::`not input.now > 1` can be undefined")
    assert not any(line.startswith("::") for line in rest)


def test_junit_is_xml_whatever_a_policy_says(say: PolicyCommand) -> None:
    write("good/a.rego", GOOD)
    write("bad/a.rego", 'package kubernaut.rules.dispatch.bad\n\nlimit := "<\x01]]>&\x0c"\n')
    _, out, _ = say("check", "-o", "junit", "good", "bad")
    suites = {suite.attrib["name"]: suite for suite in ET.fromstring(out.encode())}  # noqa: S314 - our own
    assert (suites["good"].attrib["failures"], suites["bad"].attrib["failures"]) == ("0", "1")
    assert suites["good"].find("testcase/failure") is None
    failure = suites["bad"].find("testcase/failure")
    assert failure is not None
    assert "bad/a.rego:3:" in str(failure.text)


def test_nothing_in_a_policy_reaches_the_terminal_as_a_command(say: PolicyCommand) -> None:
    write("bad/a.rego", 'package kubernaut.rules.dispatch.bad\n\nwait contains "\x1b[2J" if yy # \x1b]0;owned\x07\n')
    code, out, _ = say("check", "bad")
    assert code == Exit.NO
    assert "\x1b" not in out
    assert "\x07" not in out


def test_what_reads_the_outside_is_refused_as_in_the_cluster(say: PolicyCommand) -> None:
    write("bad/a.rego", 'package kubernaut.rules.dispatch.bad\n\nwait contains "x" if http.send({"method": "get", "url": "http://x"})\n')
    code, out, _ = say("check", "bad")
    assert code == Exit.NO
    assert "undefined function http.send" in out


@pytest.mark.parametrize(
    ("files", "words", "said"),
    [
        ({}, ["gone"], "gone: there is no such file or folder"),
        ({"a/README.md": "x"}, ["a"], "a: there is no policy in it"),
        ({"a/x.rego": b"package a\n\n# \xff\n"}, ["a"], "a/x.rego:3: not UTF-8: byte 13 is 0xff"),
        ({"a/x.rego": GOOD, "a/x.reg": GOOD}, ["a"], "a/x.reg: unknown kind of file"),
        ({"a/x y.rego": GOOD}, ["a"], "so it cannot be 'x y.rego'"),
        ({"a/b/c.rego": GOOD, "a/b.c.rego": GOOD}, ["a"], "its key b.c.rego is that of"),
        ({"a/x.rego": GOOD, "b/a/x.rego": GOOD}, ["a", "b/a"], "b/a: the name a is taken by a"),
        ({"a/x.rego": GOOD, "b/x.rego": GOOD}, ["a", "b", "--name", "c"], "--name names one source, and these paths hold 2"),
        ({"a.yaml": manifest("a", "  x.rego: x")}, ["a.yaml", "--name", "c"], "--name is for a folder or a .rego file"),
        ({"---/x.rego": GOOD}, ["./---"], "give it a name with --name"),
        ({"a.yaml": "x: 1\n"}, ["a.yaml"], "a.yaml holds no ConfigMap"),
        ({"a.yaml": "a: &a [1]\nb: *a\n"}, ["a.yaml"], "aliases are not allowed"),
        ({"a.yaml": "a: [\n"}, ["a.yaml"], "a.yaml: not plain YAML"),
        ({"a.yaml": manifest("a", "  x.rego: 5")}, ["a.yaml"], "the value of x.rego is no text"),
        ({"a.yaml": manifest("a") + "  [x]"}, ["a.yaml"], "a: data is no object"),
        ({"a.yaml": manifest("a") + "  text"}, ["a.yaml"], "a: data is no object"),
        ({"a.yaml": manifest("a", "  x.rego: x", "binaryData: {1: x}")}, ["a.yaml"], "the value of 1 is no text"),
        ({"a.yaml": manifest("a", '  x.rego: "\\uD800"')}, ["a.yaml"], "the value of 'x.rego' has half a character"),
        ({"a.yaml": manifest("Not A Name!", "  x.rego: x")}, ["a.yaml"], "no ConfigMap can be called 'Not A Name!'"),
        ({"a.yaml": manifest("a" * 254, "  x.rego: x")}, ["a.yaml"], "253 at most"),
        ({"a.yaml": manifest("../a", "  x.rego: x")}, ["a.yaml"], "no ConfigMap can be called '../a'"),
        ({"a.yaml": manifest("a", '  "../../x.rego": x')}, ["a.yaml"], "so it cannot be '../../x.rego'"),
        ({"a.yaml": manifest("a", '  "/x.rego": x')}, ["a.yaml"], "so it cannot be '/x.rego'"),
        ({"a.yaml": manifest("a", "  ..x.rego: x")}, ["a.yaml"], "so it cannot be '..x.rego'"),
        ({"a.yaml": manifest("a", "  x.rego: x", 'binaryData: {"../x": eA==}')}, ["a.yaml"], "so it cannot be '../x'"),
        ({"kubernaut-workflowexecution-config/x.rego": GOOD}, ["kubernaut-workflowexecution-config"], "no policy can be called like that"),
        ({"a/x.rego": GOOD}, ["a", "--name", "Not A Name!"], "--name: no policy can be called 'Not A Name!'"),
        ({"a/x.rego": GOOD}, ["a", "--name", ""], "--name: no policy can be called ''"),
        ({}, ["x" * 5000], "File name too long"),
        ({"a.rego": GOOD}, ["a.rego/b"], "there is no such file or folder"),
        ({"a.yaml": manifest("a", "  x.rego: x", labels="{}")}, ["a.yaml"], "there is no policy in it"),
        ({"a/x.rego": GOOD + "#" * (1 << 20)}, ["a"], "a ConfigMap holds 1048576; split it"),
        ({"a/x.rego": GOOD}, ["a", "--policies", "nowhere"], "--policies: there is no policy below nowhere"),
        ({"a.txt": GOOD}, ["a.txt"], "a.txt: policies end in .rego"),
    ],
)
def test_wrong_input_is_a_sentence(say: PolicyCommand, files: dict[str, str | bytes], words: list[str], said: str) -> None:
    for file, text in files.items():
        write(file, text)
    code, out, err = say("check", *words)
    assert (code, out) == (Exit.USAGE, ""), err
    assert said in err
    assert len(err.splitlines()) == 1 or "not plain YAML" in err


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"a/x.rego": "package elsewhere\n"}, "a/x.rego:1:1: error: package elsewhere is not below kubernaut"),
        ({"a/x.rego": GOOD.replace("dispatch", "dispach")}, "did you mean dispatch?"),
        ({"a/x.rego": "\ufeff" + GOOD.replace("limit", "lmit")}, "a/x.rego:"),
        ({"a/x.rego": ""}, "there is no package"),
        ({"a/x.rego": GOOD, "a/d.json": "{"}, "a/d.json:1:2: error: not JSON"),
        ({"a/x.rego": GOOD, "a/d.yaml": "a: &a [1]\nb: *a\n"}, "a/d.yaml:2:4: error: not plain YAML: aliases are not allowed"),
        ({"a.yaml": manifest("a", "  x.txt: hello")}, "a.yaml:7:10: error: unknown kind of key"),
        ({"a/x.rego": GOOD.replace("limit", "lmit")}, "did you mean limit?"),
    ],
)
def test_what_the_loader_would_refuse_is_found_at_its_place(say: PolicyCommand, files: dict[str, str], said: str) -> None:
    for file, text in files.items():
        write(file, text)
    code, out, err = say("check", next(iter(files)).partition("/")[0])
    assert (code, err) == (Exit.NO, "")
    assert said in out


@pytest.mark.parametrize(
    "value",
    ['!!int ""', '!!int "x"', '!!bool "maybe"', '!!timestamp "x"', '!!float ""', '!!binary "ä"', "2020-99-99", "!!omap [1]", "9" * 5000],
)
def test_a_value_that_does_not_fit_its_tag_is_a_sentence_in_a_manifest_and_a_problem_in_a_data_file(say: PolicyCommand, value: str) -> None:
    write("a.yaml", manifest("a", "  x.rego: x") + f"odd: {value}\n")
    code, out, err = say("check", "a.yaml")
    assert (code, out, err.startswith("phasegate: a.yaml: not plain YAML: ")) == (Exit.USAGE, "", True), err
    write("a/x.rego", GOOD)
    write("a/d.yaml", f"odd: {value}\n")
    code, out, err = say("check", "a")
    assert (code, err, "a/d.yaml" in out.splitlines()[0]) == (Exit.NO, "", True), out


def test_a_character_that_json_writes_as_two_escapes_is_one(say: PolicyCommand) -> None:
    config_map = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "labels": {"kubernaut.ai/policy": "rego"}}}
    write("a.json", json.dumps({**config_map, "data": {"a.rego": GOOD + "# 😀\n"}}))
    assert say("check", "a.json")[0] == Exit.DONE
    assert "# 😀" in say("render", "a.json")[1]


def test_a_document_that_says_a_thing_twice_is_read_as_its_last_word(say: PolicyCommand) -> None:
    one = "{apiVersion: v1, kind: Secret}"
    write("a.yaml", f"apiVersion: v1\nkind: List\nitems: [{one}]\nitems: [{one}, {one}]\n")
    code, _, err = say("check", "a.yaml")
    assert (code, "there is no policy in it" in err) == (Exit.USAGE, True)


@pytest.mark.parametrize("name", ["team", "kubernaut-workflowexecution-config"])
def test_what_is_for_another_namespace_is_refused_because_the_loader_never_sees_it(say: PolicyCommand, name: str) -> None:
    lines = ["  a.rego: |", *(f"    {line}" for line in GOOD.splitlines())] if name == "team" else ['  max-parallel-steps: "5"']
    write("a.yaml", manifest(name, *lines, namespace="shop"))
    code, out, _ = say("check", "a.yaml")
    said = "a.yaml:6:14: error: it is for namespace shop, and the cluster reads policies and settings from kubernaut-system only"
    assert (code, out.splitlines()[:2]) == (Exit.NO, [said, "  → write namespace: kubernaut-system"])
    assert say("diff", "a.yaml")[0] == Exit.USAGE
    write("a.yaml", manifest(name, *lines, namespace="kubernaut-system"))
    assert say("check", "a.yaml")[0] == Exit.DONE


def test_a_link_counts_as_what_it_leads_to_as_long_as_that_is_in_the_folder(say: PolicyCommand) -> None:
    write("team/..data/a.rego", GOOD)
    Path("team/a.rego").symlink_to("..data/a.rego")
    Path("alias").symlink_to("team")
    assert say("check", "alias", "--name", "team") == (Exit.DONE, "✔ team: good; kubernaut.rules.dispatch.team\n", "")


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("../secret.rego", "team/b.rego leads out of the folder, to "),
        ("/etc/hostname", "team/b.rego leads out of the folder, to "),
        ("../elsewhere", "team/b.rego leads out of the folder, to "),
        ("../teams", "team/b.rego leads out of the folder, to "),
        ("sub", "team/b.rego: this link leads to no file"),
        ("missing.rego", "team/b.rego: this link leads to no file"),
        ("b.rego", "team/b.rego: this link leads to no file"),
    ],
)
def test_a_link_that_leads_elsewhere_is_refused(say: PolicyCommand, target: str, said: str) -> None:
    for file in ("team/a.rego", "team/sub/c.rego", "secret.rego", "elsewhere/d.rego", "teams/e.rego"):
        write(file, GOOD)
    Path("team/b.rego").symlink_to(target)
    code, out, err = say("check", "team")
    assert (code, out, said in err) == (Exit.USAGE, "", True), err


def test_what_is_no_file_is_refused(say: PolicyCommand) -> None:
    write("team/a.rego", GOOD)
    os.mkfifo("team/b.rego")
    code, _, err = say("check", "team")
    assert (code, err) == (Exit.USAGE, "phasegate: team/b.rego: neither a file nor a folder; remove it\n")


@pytest.mark.parametrize("output", ["text", "json", "github", "junit"])
def test_a_folder_whose_name_is_no_text_is_named_all_the_same(say: PolicyCommand, output: str) -> None:
    folder = os.fsdecode(b"te\xffam")
    write(f"{folder}/a.rego", UNSAFE)
    code, out, _ = say("check", folder, "-o", output)
    assert (code, "var missing is unsafe" in out) == (Exit.NO, True)
    out.encode()


@pytest.mark.parametrize("named", ["bin/opa", "./bin/opa", "opa"])
def test_opa_is_named_by_a_path_or_as_a_shell_would_find_it(
    say: PolicyCommand, opa: Path, monkeypatch: pytest.MonkeyPatch, named: str
) -> None:
    write("team/a.rego", GOOD)
    Path("bin").mkdir()
    Path("bin/opa").symlink_to(opa)
    monkeypatch.setenv("PATH", "bin:/usr/bin:/bin")
    assert say("check", f"--opa={named}", "team")[0] == Exit.DONE
    assert say("diff", f"--opa={named}", "team")[0] == Exit.NO


@pytest.mark.parametrize("named", ["opaa", "bin/opa", "team", "team/a.rego", ""])
def test_an_opa_that_is_no_program_is_named(say: PolicyCommand, named: str) -> None:
    write("team/a.rego", GOOD)
    code, out, err = say("check", f"--opa={named}", "team")
    assert (code, out, f"phasegate: --opa: there is no program {named!r}" in err) == (Exit.UNREACHABLE, "", True), err


@pytest.mark.parametrize("action", ["check", "test", "diff"])
@pytest.mark.parametrize("program", ["/bin/false", "/bin/true", "/bin/echo"])
def test_a_program_that_fails_is_told_of(say: PolicyCommand, action: str, program: str) -> None:
    write("team/a.rego", GOOD)
    code, out, err = say(action, f"--opa={program}", "team")
    assert (code, out, err.startswith("phasegate: opa ")) == (Exit.UNREACHABLE, "", True), err


def test_without_opa_it_says_what_to_do(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(str(tmp_path / "team" / "a.rego"), GOOD)
    assert main(["policy", "check", f"--opa={tmp_path / 'no-opa'}", str(tmp_path / "team")]) == Exit.UNREACHABLE
    assert "no-opa" in capsys.readouterr().err
    for variable in ("PATH", "XDG_CACHE_HOME", "KUBEBUILDER_ASSETS"):
        monkeypatch.setenv(variable, str(tmp_path))
    assert main(["policy", "check", str(tmp_path / "team")]) == Exit.UNREACHABLE
    assert "there is no opa to check policies with; put it on the PATH, name it with --opa" in capsys.readouterr().err


def test_the_shipped_policies_as_rendered_are_good_and_change_nothing(say: PolicyCommand, repository_config_maps: Path) -> None:
    code, out, _ = say("check", str(repository_config_maps))
    assert (code, "✘" in out) == (Exit.DONE, False)
    assert say("diff", str(repository_config_maps)) == (Exit.DONE, "no difference\n", "")


@pytest.fixture
def repository_config_maps(tmp_path: Path) -> Path:
    """configmaps/ as `make generate` would write it now."""
    from controller.policy import render  # noqa: PLC0415 - heavy, and for one test

    folder = tmp_path / "rendered"
    assert render.main(["--out", str(folder)]) == 0
    return folder


def test_a_list_of_objects_is_taken_apart(say: PolicyCommand) -> None:
    maps = [
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": name, "labels": {"kubernaut.ai/policy": "rego"}},
            "data": {"a.rego": GOOD.replace("team", name)},
        }
        for name in ("one", "two")
    ]
    write("list.json", json.dumps({"apiVersion": "v1", "kind": "List", "items": [*maps, {"apiVersion": "v1", "kind": "Secret"}]}))
    code, out, _ = say("check", "list.json")
    assert (code, [line[:5] for line in out.splitlines()]) == (Exit.DONE, ["✔ one", "✔ two"])


def test_windows_line_ends_do_not_move_the_caret(say: PolicyCommand) -> None:
    write("team/limit.rego", UNSAFE.replace("\n", "\r\n"))
    _, out, _ = say("check", "team")
    assert out.splitlines()[:3] == ["team/limit.rego:4:2: error: var missing is unsafe", "  4 | \tn := missing", "    | \t^"]


def test_another_opa_than_the_pinned_one_is_used_with_a_word_of_warning(
    opa: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    other = write(str(tmp_path / "bin" / "opa"), f"#!/bin/sh\n[ $1 = version ] && echo 'Version: 0.1.0' || exec {opa} \"$@\"\n")
    other.chmod(0o755)
    monkeypatch.setenv("PATH", f"{other.parent}:/usr/bin:/bin")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("KUBEBUILDER_ASSETS", raising=False)
    write(str(tmp_path / "team" / "a.rego"), GOOD)
    assert main(["policy", "check", str(tmp_path / "team")]) == Exit.DONE
    assert f"{other} is not the pinned version" in capsys.readouterr().err
