"""configmaps/ is what policies/ says."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

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
