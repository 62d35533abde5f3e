"""configmaps/ is what policies/ says."""

from __future__ import annotations

import json
import random
import subprocess
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from controller.local import programs
from controller.policy import render
from controller.policy.sources import combine, read_config_map, read_shipped
from controller.settings import Settings, parse_settings


def test_every_package_becomes_one_labelled_config_map(policies: Path) -> None:
    documents = {name: yaml.safe_load(text) for name, text in render.render(policies).items()}
    gate = documents["kubernaut-policy-gates-dispatch.yaml"]
    assert gate["metadata"]["labels"] == {"kubernaut.ai/policy": "rego"}
    assert gate["metadata"]["annotations"]["kubernaut.ai/policy-digest"].startswith("sha256:")
    assert gate["data"] == {"gates.dispatch.rego": (policies / "gates" / "dispatch.rego").read_text()}
    assert len(documents) == 3


def test_what_is_rendered_changes_nothing_when_it_is_applied(policies: Path) -> None:
    shipped = read_shipped(policies)
    read = [read_config_map(d) for d in map(yaml.safe_load, render.render(policies).values()) if "labels" in d["metadata"]]
    assert [problems for _, problems in read] == [[], []]
    assert combine(shipped, [source for source, _ in read], {}) == combine(shipped, [], {})


def test_the_rendered_settings_are_the_defaults(policies: Path) -> None:
    document = yaml.safe_load(render.render(policies)["kubernaut-workflowexecution-config.yaml"])
    assert parse_settings(document["data"], {}) == (Settings(), [])


def test_check_finds_what_is_missing_outdated_or_left_over(policies: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "configmaps"
    arguments = ["--policies", str(policies), "--out", str(out)]
    assert render.main([*arguments, "--check"]) == 1
    assert not out.exists()
    assert render.main(arguments) == 0
    assert render.main([*arguments, "--check"]) == 0
    (policies / "actions" / "scale_deployment.rego").unlink()
    assert render.main([*arguments, "--check"]) == 1
    assert render.main(arguments) == 0
    assert sorted(path.name for path in out.iterdir()) == [
        "kubernaut-policy-gates-dispatch.yaml",
        "kubernaut-workflowexecution-config.yaml",
    ]
    (policies / "gates" / "dispatch.rego").write_text("no package here")
    assert render.main(arguments) == 2
    assert "there is no package" in capsys.readouterr().err


@given(
    st.dictionaries(
        st.sampled_from(["a.rego", "b_test.rego", "-c.json", ".d.yaml"]),
        st.text(st.one_of(st.sampled_from(" \t\n\r-|>#:'\"\\ab\x00\x7f\x85\u2028\ufeff"), st.characters(exclude_categories=["Cs"]))),
        min_size=1,
    )
)
def test_any_text_survives_being_rendered(data: dict[str, str]) -> None:
    assert yaml.safe_load(render.render_config_map("x", data, header="# x\n"))["data"] == data


def test_kubectl_reads_what_was_rendered() -> None:
    chance = random.Random(4)  # noqa: S311 - the same texts every time, on purpose
    alphabets = (" \t\n\r-|>#:ab", " \t\n|#é\u2028😀\x01\x85\ufeff")
    data = {f"{n}.rego": "".join(chance.choices(alphabets[n % 2], k=chance.randint(0, 12))) for n in range(400)}
    kubectl = programs.provide("kubectl")["kubectl"]
    ended = subprocess.run(
        [kubectl, "annotate", "--local", "--filename", "-", "a=b", "--output", "json"],
        input=render.render_config_map("x", data, header="").encode(),
        capture_output=True,
        timeout=60,
        check=True,
    )
    assert json.loads(ended.stdout)["data"] == data


def test_a_policy_with_tabs_is_rendered_line_by_line(policies: Path) -> None:
    rendered = render.render(policies)["kubernaut-policy-gates-dispatch.yaml"].splitlines()
    written = (policies / "gates" / "dispatch.rego").read_text().splitlines()
    assert rendered[-len(written) :] == [f"    {line}" if line else "" for line in written]
    assert "\t" in "".join(written)
