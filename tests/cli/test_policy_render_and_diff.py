"""`phasegate policy render` and `diff` on the real opa."""

from __future__ import annotations

import json

import pytest
import yaml
from support.policy_files import GOOD, UNSAFE, PolicyCommand, manifest, write

from controller.cli._exits import Exit
from controller.policy.sources import read_config_map

SHADOW = 'package kubernaut.shadow.dispatch.trial\n\nwait contains "not_now" if input.workflow.metadata.namespace == "shop"\n'


def test_a_folder_becomes_the_config_map_that_the_loader_reads(say: PolicyCommand) -> None:
    texts = {"a.rego": UNSAFE, "a_test.rego": "package kubernaut.x_test\n", "sub/d.yaml": "x: 1\n"}
    for file, text in texts.items():
        write(f"My Team/{file}", text)
    code, out, err = say("render", "My Team")
    document = yaml.safe_load(out)
    assert (code, err) == (Exit.DONE, "")
    assert document["metadata"] == {"name": "my-team", "namespace": "kubernaut-system", "labels": {"kubernaut.ai/policy": "rego"}}
    assert document["data"] == {"a.rego": UNSAFE, "a_test.rego": texts["a_test.rego"], "sub.d.yaml": "x: 1\n"}
    assert "    \tn := missing" in out.splitlines()
    source, problems = read_config_map(document)
    assert (source.name, problems) == ("my-team", [])


def test_what_is_rendered_is_judged_like_the_folder(say: PolicyCommand) -> None:
    write("team/a.rego", GOOD)
    assert say("render", "team", "--name", "other", "-o", "out.yaml") == (Exit.DONE, "", "")
    assert say("diff", "out.yaml", "--against", "team") == (Exit.DONE, "no difference\n", "")


@pytest.mark.parametrize(
    ("files", "words", "code", "said"),
    [
        ({"a/x.rego": "package elsewhere\n"}, ["a"], Exit.NO, "a/x.rego:1:1: error: package elsewhere is not below kubernaut"),
        ({"a/x.rego": GOOD, "a/cm.yaml": manifest("b", "  y.rego: package kubernaut.b")}, ["a"], Exit.USAGE, "a holds 2 sources"),
        ({"a/x.rego": GOOD + "#" * (1 << 20)}, ["a"], Exit.USAGE, "a ConfigMap holds 1048576"),
        ({"a/x.rego": GOOD}, ["a", "-o", "no/such/folder.yaml"], Exit.USAGE, "cannot write no/such/folder.yaml: No such file or directory"),
        ({}, ["a"], Exit.USAGE, "there is no such file or folder"),
        ({"a/x.rego": GOOD}, ["a", "--name", "Not A Name!"], Exit.USAGE, "--name: no policy can be called 'Not A Name!'"),
        ({"a.yaml": manifest("b", "  y.rego: package kubernaut.b", namespace="x")}, ["a.yaml"], Exit.NO, "it is for namespace x"),
    ],
)
def test_what_can_be_no_config_map_is_refused(say: PolicyCommand, files: dict[str, str], words: list[str], code: Exit, said: str) -> None:
    for file, text in files.items():
        write(file, text)
    ended, out, err = say("render", *words)
    assert (ended, out) == (code, "")
    assert said in err


def test_a_new_rule_and_what_it_changes_in_the_answers(say: PolicyCommand) -> None:
    write("team/a.rego", GOOD.replace("3", "1") + '\nwait contains "not_now" if _always\n\n_always if input.gate\n')
    write("team/more.json", '{"windows": {"night": [22, 6]}, "off": null}')
    code, out, _ = say("diff", "team")
    assert code == Exit.NO
    lines = out.splitlines()
    assert lines[:6] == [
        "+ package kubernaut.rules.dispatch.team",
        "    + _always",
        "    + limit",
        "    + wait",
        "+ data.kubernaut.teams.team.off: null",
        "+ data.kubernaut.teams.team.windows.night: [22, 6]",
    ]
    assert "the example question of gate dispatch is answered differently" in lines
    assert {"    ~ decision: allow → wait", "    ~ max_parallel: 5 → 1", "    + reason rules.dispatch.team: not_now: not_now"} <= set(lines)


def test_comments_layout_and_wildcards_are_no_difference(say: PolicyCommand) -> None:
    rules = "\nlimit contains 1 if {\n\tsome _, x in input.steps\n\tx == input.y[_]\n}\n"
    first = "\n_other if input.z[_] == 1\n"
    write("old.rego", f"package kubernaut.rules.dispatch.team\n{rules}{first}")
    write("new.rego", f"# why\npackage kubernaut.rules.dispatch.team\n{first}\n# because\n{rules.replace('1 if', '1   if')}")
    assert say("diff", "new.rego", "--against", "old.rego") == (Exit.DONE, "no difference\n", "")


def test_each_rule_that_differs_is_named(say: PolicyCommand) -> None:
    old = 'package kubernaut.rules.dispatch.team\n\nlimit contains 1\n\nwarn contains "a"\n\nhold contains {"step": 9, "code": "a"}\n'
    new = (
        "package kubernaut.rules.dispatch.team\n\nimport data.kubernaut.lib.clock\n\nlimit contains 2\n\n"
        'hold contains {"step": 9, "code": "a"}\n\nwait contains "b" if clock.seconds("1s") > 2\n'
    )
    write("old/a.rego", old)
    write("new/a.rego", new)
    code, out, _ = say("diff", "-o", "json", "new", "--against", "old")
    document = json.loads(out)
    assert (code, document["different"], document["data"], document["settings"]) == (Exit.NO, True, [], [])
    assert document["packages"] == {
        "kubernaut.rules.dispatch.team": {
            "change": "changed",
            "rules": [
                {"rule": "import data.kubernaut.lib.clock", "change": "added"},
                {"rule": "limit", "change": "changed"},
                {"rule": "wait", "change": "added"},
                {"rule": "warn", "change": "removed"},
            ],
        }
    }
    told = [(change["what"], change["before"], change["after"]) for change in document["examples"]["dispatch"]]
    assert ("max_parallel", 1, 2) in told
    assert ("warning rules.dispatch.team: a", "a", None) in told


def test_a_rule_on_trial_changes_no_verdict_but_what_it_would_say_is_told(say: PolicyCommand) -> None:
    write("trial/a.rego", SHADOW)
    code, out, _ = say("diff", "trial")
    assert code == Exit.NO
    assert out.splitlines()[-2:] == [
        "the example question of gate dispatch is answered differently",
        "    + on trial, shadow.dispatch.trial would say wait: not_now: not_now",
    ]


def test_settings_are_compared_too(say: PolicyCommand) -> None:
    write("settings.yaml", manifest("kubernaut-workflowexecution-config", '  max-parallel-steps: "2"', labels="{}"))
    code, out, _ = say("diff", "settings.yaml")
    assert code == Exit.NO
    assert "~ setting max-parallel-steps: 5 → 2" in out.splitlines()
    assert "    ~ max_parallel: 5 → 2" in out.splitlines()


def test_a_set_that_cannot_answer_is_an_error_and_no_difference(say: PolicyCommand) -> None:
    # Only the question that the example asks makes it fail.
    slow = "limit contains count([1 | some i in numbers.range(1, 100000); some j in numbers.range(1, 100000); i == j]) if input.gate"
    write("team/a.rego", f"package kubernaut.rules.dispatch.team\n\n{slow}\n")
    code, out, err = say("diff", "team")
    assert (code, out) == (Exit.USAGE, "")
    assert "the example questions cannot be answered: " in err


def test_policies_that_would_be_refused_are_not_compared(say: PolicyCommand) -> None:
    write("team/a.rego", UNSAFE)
    write("good/a.rego", GOOD)
    write("settings.yaml", manifest("kubernaut-workflowexecution-config", '  max-parallel-steps: "900"', labels="{}"))
    code, _, err = say("diff", "good", "settings.yaml")
    assert (code, "settings.yaml:7:23: error: " in err) == (Exit.USAGE, True)
    for words in (("team",), ("good", "--against", "team")):
        code, out, err = say("diff", *words)
        assert (code, out) == (Exit.USAGE, "")
        assert "these policies would be refused" in err
        assert "team/a.rego:4:2: error: var missing is unsafe" in err
