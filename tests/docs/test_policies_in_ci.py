"""docs/policies-in-ci.md: the steps of the job and the commands below it, run in a repository that has a policy; the last, on a cluster."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from support.controller import ControllerProcess
from support.pages import follow, read, run_all

from controller.local.plane import Plane
from controller.local.programs import PROGRAMS
from controller.paths import ROOT

PAGE = ROOT / "docs" / "policies-in-ci.md"


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with the policy of the other page."""
    text = (ROOT / "docs" / "write-a-policy.md").read_text()
    folder = tmp_path / "policies" / "night-freeze"
    folder.mkdir(parents=True)
    for name in ("freeze.rego", "freeze_test.rego"):
        (folder / name).write_text(text.partition(f"```rego night-freeze/{name}\n")[2].partition("```")[0])
    (tmp_path / "manifests").mkdir()
    return tmp_path


def job() -> list[dict[str, object]]:
    text = PAGE.read_text().partition("```yaml\n")[2].partition("```")[0]
    assert len(text.splitlines()) == 10
    steps: list[dict[str, object]] = yaml.safe_load(text)["jobs"]["policies"]["steps"]
    return steps


def test_the_job_installs_the_pinned_opa() -> None:
    versions = [step["with"]["version"] for step in job() if "setup-opa" in str(step.get("uses"))]  # type: ignore[index]
    assert versions == [PROGRAMS["opa"].version.removeprefix("v")]


def test_the_jobs_commands_pass_and_tell(repository: Path) -> None:
    summary = repository / "summary.md"
    commands = [str(step["run"]) for step in job() if "phasegate policy" in str(step.get("run"))]
    said = run_all([f"export GITHUB_STEP_SUMMARY={summary}", *commands], repository)
    assert [code for code, _ in said] == [0, 0, 0], said
    assert "2 of 2 tests pass" in said[1][1]
    assert "+ package kubernaut.rules.dispatch.night_freeze" in summary.read_text()


def test_the_jobs_commands_fail_with_an_annotation_on_a_mistake(repository: Path) -> None:
    file = repository / "policies" / "night-freeze" / "freeze.rego"
    file.write_text(file.read_text().replace("_hour < 6", "_huor < 6"))
    commands = [str(step["run"]) for step in job() if "phasegate policy" in str(step.get("run"))]
    said = run_all([f"export GITHUB_STEP_SUMMARY={os.devnull}", *commands], repository)
    assert [code for code, _ in said] == [0, 1, 1], said
    assert "::error file=policies/night-freeze/freeze.rego,line=16,col=11,title=night-freeze::var _huor is unsafe%0A→ " in said[1][1]


@pytest.fixture
def committed(repository: Path) -> Path:
    """The same, with the manifest in git's index."""
    render = read(PAGE)[1][0].text
    assert run_all(["git init --quiet", render, "git add manifests"], repository) == [(0, "")] * 3
    assert yaml.safe_load((repository / "manifests" / "night-freeze.yaml").read_text())["metadata"]["name"] == "night-freeze"
    return repository


def test_the_commands_below_the_job_pass_where_the_manifest_is_what_the_policy_says(committed: Path) -> None:
    follow(PAGE, committed)


def test_they_fail_once_the_policy_is_edited_and_the_manifest_is_not(committed: Path) -> None:
    file = committed / "policies" / "night-freeze" / "freeze.rego"
    file.write_text(file.read_text().replace(">= 22", ">= 20"))
    said = run_all([command.text for command in read(PAGE)[1]], committed)
    assert [code for code, _ in said] == [0, 1], said
    assert "+    _night if _hour >= 20" in said[1][1]


@pytest.fixture
def controller(plane: Plane, tmp_path: Path) -> Iterator[ControllerProcess]:
    process = ControllerProcess(plane, tmp_path / "controller.log")
    process.start()
    yield process
    process.kill()


def test_the_last_job_ships_it_and_fails_where_the_cluster_refuses_it(
    committed: Path, plane: Plane, controller: ControllerProcess, kubectl: Callable[..., str]
) -> None:
    assert controller.is_running
    commands = PAGE.read_text().partition("```sh\n")[2].partition("```")[0].splitlines()
    connected = f"export KUBECONFIG={plane.kubeconfig}"
    manifest = committed / "manifests" / "night-freeze.yaml"
    try:
        said = run_all([connected, *commands], committed)
        assert [code for code, _ in said] == [0] * 4, said
        assert "+ package kubernaut.rules.dispatch.night_freeze" in said[1][1]
        assert "\nnight-freeze  active " in said[3][1]
        manifest.write_text(manifest.read_text().replace("_hour < 6", "_huor < 6"))
        said = run_all([connected, *commands], committed)
        # A policy that would be refused is no difference (2), so the first line fails already.
        assert [code for code, _ in said] == [0, 1, 0, 1], said
        assert "var _huor is unsafe" in said[1][1]
        assert "an earlier version goes on deciding" in said[3][1]
    finally:
        kubectl("delete", "configmap", "-n", "kubernaut-system", "--ignore-not-found", "night-freeze")
