"""What counts as a source, and who may define which package."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from controller.policy import sources
from controller.policy.sources import combine, read_config_map, read_shipped


def config_map(name: str, created: str = "2026-01-01T00:00:00Z", **data: str) -> dict[str, Any]:
    metadata = {"name": name, "creationTimestamp": created, "labels": {"kubernaut.ai/policy": "rego"}}
    return {"metadata": metadata, "data": {key.replace("__", "."): text for key, text in data.items()}}


def test_a_shipped_module_is_keyed_by_its_package_and_named_after_its_config_map(policies: Path) -> None:
    shipped = read_shipped(policies)
    assert [(m.source, m.key, m.package) for m in shipped.modules] == [
        ("kubernaut-policy-actions-scale-deployment", "actions.scale_deployment.rego", "kubernaut.actions.scale_deployment"),
        ("kubernaut-policy-gates-dispatch", "gates.dispatch.rego", "kubernaut.gates.dispatch"),
    ]


def test_shipping_a_package_twice_or_none_at_all_is_an_error(policies: Path, tmp_path: Path) -> None:
    (policies / "gates" / "again.rego").write_text("package kubernaut.gates.dispatch\n")
    with pytest.raises(ValueError, match="already in"):
        read_shipped(policies)
    with pytest.raises(ValueError, match="no policy"):
        read_shipped(tmp_path / "none")


def test_keys_are_modules_tests_and_data(policies: Path) -> None:
    source, problems = read_config_map(
        config_map(
            "team-a",
            cap__rego="package kubernaut.rules.dispatch.team_a",
            cap_test__rego="package kubernaut.rules.dispatch.team_a_test",
            limits__yaml="cap: 3\nnames: [x]",
            more__json='{"deep": {"er": null}}',
        )
    )
    assert problems == []
    assert [m.key for m in source.modules] == ["cap.rego"]
    assert [m.key for m in source.tests] == ["cap_test.rego"]
    assert source.data == {"cap": 3, "names": ["x"], "deep": {"er": None}}
    policy_set, problems = combine(read_shipped(policies), [source], {"max-parallel-steps": 5})
    assert problems == []
    assert policy_set.data == {"team-a": source.data}


@pytest.mark.parametrize(
    ("key", "text", "line", "said"),
    [
        ("x.rego", "# package kubernaut.rules.dispatch.x\n", 1, "there is no package"),
        ("x.rego", "# a comment\n\npackage other.thing", 3, "not below kubernaut"),
        ("x.rego", "package kubernaut", 1, "not below kubernaut"),
        ("x.rego", 'package kubernaut["x"]', 1, "plain names"),
        ("x.rego", "package kubernaut.settings", 1, "would hide data.kubernaut.settings"),
        ("x.rego", "package kubernaut.rules.dispach.x", 1, "there is no gate dispach"),
        ("x.rego", "package kubernaut.rules.dispatch", 1, "must be kubernaut.rules.<gate>.<name>"),
        ("x.json", '{\n"a": }', 2, "not JSON"),
        ("x.json", "[1]", 0, "must be an object"),
        ("x.yaml", "a: [", 1, "not plain YAML"),
        ("x.yaml", "a: &x [1]\nb: *x", 2, "aliases are not allowed"),
        ("x.yaml", "a: 2026-01-01", 0, "quote dates"),
        ("x.yaml", "a: .nan", 0, "not plain data"),
        ("x.txt", "hello", 0, "unknown kind of key"),
    ],
)
def test_an_unusable_key_is_named_with_its_line(key: str, text: str, line: int, said: str) -> None:
    _, problems = read_config_map({"metadata": {"name": "team-a"}, "data": {key: text}})
    assert [(p.source, p.key, p.line) for p in problems] == [("team-a", key, line)]
    assert said in str(problems[0])


def test_a_rendered_config_map_replaces_the_shipped_module_of_its_key(policies: Path) -> None:
    edited = "package kubernaut.gates.dispatch\n\ndefault verdict := {}"
    source, _ = read_config_map(config_map("kubernaut-policy-gates-dispatch", gates__dispatch__rego=edited))
    policy_set, problems = combine(read_shipped(policies), [source], {})
    assert problems == []
    assert [m.text for m in policy_set.modules if m.package == "kubernaut.gates.dispatch"] == [edited]
    assert len(policy_set.modules) == 2


def test_of_two_sources_with_one_package_the_later_one_is_refused_by_name(policies: Path) -> None:
    text = "package kubernaut.rules.dispatch.cap"
    older, _ = read_config_map(config_map("z-older", "2026-01-01T00:00:00Z", a__rego=text))
    newer, _ = read_config_map(config_map("a-newer", "2026-01-02T00:00:00Z", a__rego=text))
    thief, _ = read_config_map(config_map("thief", a__rego="package kubernaut.gates.dispatch"))
    policy_set, problems = combine(read_shipped(policies), [newer, older, thief], {})
    assert [(p.source, p.message) for p in problems] == [
        ("thief", "package kubernaut.gates.dispatch is already defined by kubernaut-policy-gates-dispatch"),
        ("a-newer", "package kubernaut.rules.dispatch.cap is already defined by z-older"),
    ]
    assert {m.source for m in policy_set.modules} >= {"z-older"}


def test_a_replacement_must_keep_the_package_and_may_bring_nothing_else(policies: Path) -> None:
    other, _ = read_config_map(
        config_map(
            "kubernaut-policy-gates-dispatch",
            gates__dispatch__rego="package kubernaut.gates.other",
            extra__rego="package kubernaut.rules.dispatch.extra",
        )
    )
    _, problems = combine(read_shipped(policies), [other], {})
    assert {p.key for p in problems} == {"gates.dispatch.rego", "extra.rego"}


def test_the_digest_follows_the_content_and_nothing_else() -> None:
    first, _ = read_config_map(config_map("x", "2026-01-01T00:00:00Z", a__rego="package kubernaut.rules.dispatch.a"))
    again, _ = read_config_map(config_map("x", "2027-01-01T00:00:00Z", a__rego="package kubernaut.rules.dispatch.a"))
    other, _ = read_config_map(config_map("x", "2026-01-01T00:00:00Z", a__rego="package kubernaut.rules.dispatch.b"))
    assert first.digest == again.digest != other.digest


def test_only_the_label_makes_a_config_map_a_source() -> None:
    assert sources.is_policy_source(config_map("x"))
    assert not sources.is_policy_source({"metadata": {"name": "x"}})
    assert not sources.is_policy_source({"metadata": {"name": "x", "labels": {"kubernaut.ai/policy": "no"}}})
