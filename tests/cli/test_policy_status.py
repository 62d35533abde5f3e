"""`phasegate policy status`, and `diff --against cluster`, with a controller at work."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from argparse import Namespace
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from support.commands import Phasegate
from support.controller import ControllerProcess
from support.planes import kubeconfig
from support.workflows import World, tell, workflow

from controller.cli._exits import Exit
from controller.cli._policy.status import InCluster, _lines, _row, _told
from controller.local.plane import Plane
from controller.policy.sources import read_config_map
from controller.settings import Settings

Kubectl = Callable[..., str]
SYSTEM = "kubernaut-system"
GOOD = "package kubernaut.rules.dispatch.status_a\n\nlimit contains 4\n"
BAD = GOOD.replace("contains 4", "contains x")


def config_map(name: str, **texts: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": SYSTEM, "labels": {"kubernaut.ai/policy": "rego"}},
        "data": {key.replace("__", "."): text for key, text in texts.items()},
    }


@pytest.fixture
def apply(kubectl: Kubectl) -> Iterator[Callable[[dict[str, Any]], None]]:
    """Apply a ConfigMap; all of them are deleted again."""
    names: list[str] = []

    def run(document: dict[str, Any]) -> None:
        names.append(document["metadata"]["name"])
        kubectl("apply", "-f", "-", manifest=json.dumps(document))

    yield run
    if names:
        kubectl("delete", "configmap", "-n", SYSTEM, "--ignore-not-found", *reversed(names))


async def eventually(holds: Callable[[], bool]) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + 30
    while not await asyncio.to_thread(holds):
        assert time.monotonic() < deadline, "it does not come to hold"
        await asyncio.sleep(0.1)


class Status:
    """What the command says as JSON."""

    def __init__(self, phasegate: Phasegate) -> None:
        self._phasegate = phasegate

    async def __call__(self, *words: str) -> tuple[int, dict[str, Any], dict[str, dict[str, Any]]]:
        said = await self._phasegate("policy", "status", "--wait", "20s", "-o", "json", *words, user="admin")
        document = json.loads(said.out)
        return said.code, document, {source["name"]: source for source in document["sources"]}


@pytest.fixture
def status(phasegate: Phasegate, controller: ControllerProcess) -> Status:
    assert controller.is_running
    return Status(phasegate)


async def test_a_good_policy_is_active_and_its_revision_tells_what_changed(
    status: Status, apply: Callable[[dict[str, Any]], None], phasegate: Phasegate
) -> None:
    apply(config_map("status-a", a__rego=GOOD))
    code, document, sources = await status("--history")
    assert (code, sources["status-a"]["state"], sources["status-a"]["errors"]) == (Exit.DONE, "active", [])
    assert sources["status-a"]["packages"] == ["kubernaut.rules.dispatch.status_a"]
    assert 0 <= sources["status-a"]["ageSeconds"] < 60
    revision = sources["status-a"]["revision"]
    changed = {entry["revision"]: entry["changed"] for entry in document["history"]}
    assert changed[revision].keys() == {"status-a"}
    said = await phasegate("policy", "status", revision[:8], user="admin")
    assert (said.code, said.out.split()[0], "status-a" in said.out) == (Exit.DONE, revision, True)


async def test_a_mistake_is_told_with_its_place_and_who_decides_meanwhile(
    status: Status, apply: Callable[[dict[str, Any]], None], phasegate: Phasegate
) -> None:
    apply(config_map("status-a", a__rego=GOOD))
    assert (await status())[0] == Exit.DONE
    apply(config_map("status-a", a__rego=BAD))
    apply(config_map("status-b", b__rego=BAD.replace("status_a", "status_b")))
    code, _, sources = await status()
    assert (code, sources["status-a"]["state"], sources["status-b"]["state"]) == (Exit.NO, "rejected", "rejected")
    error = sources["status-a"]["errors"][0]
    assert (error["file"], error["line"], error["column"], bool(error["remedy"])) == ("a.rego", 3, 16, True)
    said = await phasegate("policy", "status", user="admin")
    lines = said.out.splitlines()
    first, second = (next(n for n, line in enumerate(lines) if line.startswith(name)) for name in ("status-a", "status-b"))
    assert lines[first + 1].startswith("    error a.rego:3:16: var x is unsafe")
    assert "    an earlier version goes on deciding" in lines[first:second]
    assert "    nothing of it decides" in lines[second:]


async def test_a_source_that_others_need_is_kept_when_it_is_deleted(
    status: Status, apply: Callable[[dict[str, Any]], None], kubectl: Kubectl, phasegate: Phasegate
) -> None:
    apply(config_map("status-lib", lib__rego="package kubernaut.status_lib\n\ntwice(n) := n * 2\n"))
    user = "package kubernaut.rules.dispatch.status_user\n\nimport data.kubernaut.status_lib\n\nlimit contains status_lib.twice(40)\n"
    apply(config_map("status-user", user__rego=user))
    assert (await status())[0] == Exit.DONE
    kubectl("delete", "configmap", "-n", SYSTEM, "status-lib")
    # Until the controller has judged the deletion, the answer would be the same whatever becomes of it.
    kept = (
        "--field-selector=reason=PolicyRejected,involvedObject.name=kubernaut-last-good-status-lib",
        "-o",
        "jsonpath={.items[*].message}",
    )
    await eventually(lambda: "goes on deciding" in kubectl("get", "events", "-n", SYSTEM, *kept))
    said = await phasegate("policy", "status", "--wait", "1s", user="admin")
    assert said.code == Exit.NO
    assert "its ConfigMap is gone, but its last version goes on deciding" in said.out
    kubectl("delete", "configmap", "-n", SYSTEM, "status-user")
    code, _, sources = await status()
    assert (code, {"status-lib", "status-user"} & sources.keys()) == (Exit.DONE, set())


async def test_a_package_on_trial_is_shown_with_its_counts(
    status: Status, apply: Callable[[dict[str, Any]], None], phasegate: Phasegate, world: World
) -> None:
    apply(config_map("status-trial", a__rego="package kubernaut.shadow.dispatch.status_trial\n\nlimit contains 1\n"))
    assert (await status())[0] == Exit.DONE
    package, asked = "kubernaut.shadow.dispatch.status_trial", 0
    await world.run(workflow("w", tell()))
    deadline = time.monotonic() + 60
    while not asked:
        assert time.monotonic() < deadline, "no question to the package on trial is counted"
        code, _, sources = await status("status-trial")
        trial = sources["status-trial"]["trials"].get(package, {})
        asked = trial.get("evaluated", 0)
    assert (code, list(trial["said"]), trial["errors"]) == (Exit.DONE, ["limit/limit"], 0)
    said = await phasegate("policy", "status", user="admin")
    (line,) = (line for line in said.out.splitlines() if package in line and "on trial" in line)
    assert line.startswith(f"    on trial {package}: asked ")
    assert "would have said limit/limit " in line


async def test_one_team_is_told_of_its_own_policies_whatever_becomes_of_others(
    status: Status, apply: Callable[[dict[str, Any]], None], phasegate: Phasegate
) -> None:
    apply(config_map("status-a", a__rego=GOOD))
    apply(config_map("status-b", b__rego=BAD.replace("status_a", "status_b")))
    assert (await status())[0] == Exit.NO
    code, _, sources = await status("status-a")
    assert (code, list(sources)) == (Exit.DONE, ["status-a"])
    code, _, sources = await status("status-a", "status-b")
    assert (code, list(sources)) == (Exit.NO, ["status-a", "status-b"])
    said = await phasegate("policy", "status", "status-a", user="admin")
    assert (said.code, len(said.out.splitlines())) == (Exit.DONE, 3), said.out
    said = await phasegate("policy", "status", "kubernaut-policy-gates-safety", user="admin")
    assert (said.code, said.out.splitlines()[2].split()[:2]) == (Exit.DONE, ["kubernaut-policy-gates-safety", "active"])
    said = await phasegate("policy", "status", "status-a", "status-c", user="admin")
    assert (said.code, said.err) == (Exit.USAGE, "phasegate: there is no source status-c; name sources or revisions, not both\n")


@pytest.fixture
async def damaged(status: Status, apply: Callable[[dict[str, Any]], None], kubectl: Kubectl) -> AsyncIterator[str]:
    """The last good copy of status-a, which somebody has spoilt; status-b is as good as ever."""
    apply(config_map("status-a", a__rego=GOOD))
    apply(config_map("status-b", b__rego=GOOD.replace("status_a", "status_b")))
    assert (await status())[0] == Exit.DONE
    name = "kubernaut-last-good-status-a"
    patch = {"binaryData": {"source.json.gz": base64.b64encode(b"no gzip").decode()}}
    kubectl("patch", "configmap", "-n", SYSTEM, name, "--type=merge", "-p", json.dumps(patch))
    yield name
    kubectl("delete", "configmap", "-n", SYSTEM, name)


async def test_a_copy_that_is_damaged_is_told_beside_all_the_rest(status: Status, damaged: str, phasegate: Phasegate) -> None:
    code, document, sources = await status()
    assert (code, {"status-a", "status-b"} <= sources.keys()) == (Exit.NO, True)
    assert [(error["source"], "cannot be read" in error["message"]) for error in document["errors"]] == [(damaged, True)]
    lines = (await phasegate("policy", "status", user="admin")).out.splitlines()
    assert lines[0].startswith(f"error {damaged}: the last good copy cannot be read: ")
    assert lines[1].startswith("  → apply status-a anew")
    assert any(line.startswith("status-b") for line in lines)
    assert [(await status(one))[0] for one in ("status-a", "status-b")] == [Exit.NO, Exit.DONE]


async def test_nothing_is_compared_with_a_cluster_whose_copies_are_damaged(
    damaged: str, phasegate: Phasegate, tmp_path: Path, opa: Path
) -> None:
    (tmp_path / "team.rego").write_text(GOOD)
    said = await phasegate("policy", "diff", str(tmp_path / "team.rego"), "--against", "cluster", f"--opa={opa}", user="admin")
    assert (said.code, said.out) == (Exit.UNREACHABLE, ""), "1 would mean that something differs"
    assert "what decides in the cluster cannot be told" in said.err
    assert damaged in said.err


@pytest.mark.parametrize(
    "trouble", ['[{"source": "status-x", "key": "a.rego", "line": 3, "column": 5, "message": "odd", "remedy": "mend"}]']
)
async def test_what_keeps_anything_from_being_served_comes_first_and_concerns_everybody(
    status: Status, apply: Callable[[dict[str, Any]], None], kubectl: Kubectl, phasegate: Phasegate, trouble: str
) -> None:
    apply(config_map("status-a", a__rego=GOOD))
    assert (await status())[0] == Exit.DONE
    with_trouble, without = ({"data": {"trouble.json": text}} for text in (trouble, None))
    kubectl("patch", "configmap", "-n", SYSTEM, "kubernaut-policy-set", "--type=merge", "-p", json.dumps(with_trouble))
    try:
        for words in ((), ("status-a",)):
            said = await phasegate("policy", "status", *words, user="admin")
            lines = said.out.splitlines()
            assert lines[:3] == ["no policy set can be served; mend this first:", "error status-x/a.rego:3:5: odd", "  → mend"]
            assert lines[3].startswith("the last revision was ")
            assert (said.code, any(line.startswith("status-a") for line in lines)) == (Exit.NO, True)
        said = await phasegate("policy", "status", "-o", "json", user="admin")
        assert (said.code, json.loads(said.out)["errors"]) == (Exit.NO, json.loads(trouble))
    finally:
        kubectl("patch", "configmap", "-n", SYSTEM, "kubernaut-policy-set", "--type=merge", "-p", json.dumps(without))
    assert (await status())[0] == Exit.DONE


def in_cluster(**more: Any) -> InCluster:
    one = config_map("status-a", a__rego=GOOD)
    digest = read_config_map(one)[0].digest
    one["metadata"]["annotations"] = {"kubernaut.ai/policy-status": json.dumps({"state": "active", "digest": digest})}
    known: Mapping[str, Any] = {
        "config_maps": [one],
        "deciding": {},
        "history": [{"revision": "0123", "time": "now", "changed": {}}],
        "settings": Settings(),
        "setting_problems": [],
        "trouble": [],
        "damaged": {},
    }
    return InCluster(**{**known, **more})


@pytest.mark.parametrize(
    ("more", "good"),
    [
        ({}, True),
        ({"history": []}, False),
        ({"history": [], "config_maps": []}, False),
        ({"config_maps": [config_map("status-a", a__rego=GOOD)]}, False),
        ({"trouble": [{"source": "x"}]}, False),
        ({"damaged": {"x": {"source": "kubernaut-last-good-x"}}}, False),
    ],
)
def test_all_is_good_only_where_a_controller_serves_a_set_that_has_every_policy_in_it(more: dict[str, Any], good: bool) -> None:
    assert _told(in_cluster(**more), ()).is_good is good


def test_a_damaged_copy_that_the_controller_complains_of_itself_is_told_once() -> None:
    copy = {"source": "kubernaut-last-good-x", "message": "cannot be read", "remedy": "delete it"}
    assert _told(in_cluster(trouble=[copy], damaged={"x": copy}), ()).errors == [copy]


async def test_a_refused_setting_is_told(status: Status, kubectl: Kubectl) -> None:
    kubectl(
        "patch", "configmap", "-n", SYSTEM, "kubernaut-workflowexecution-config", "--type=merge", '-p={"data":{"max-parallel-steps":"x"}}'
    )
    try:
        code, document, _ = await status()
        assert code == Exit.NO
        assert [(problem["key"], "max-parallel-steps" in problem["message"]) for problem in document["settings"]] == [
            ("max-parallel-steps", True)
        ]
    finally:
        patch = '-p={"data":{"max-parallel-steps":"5"}}'
        kubectl("patch", "configmap", "-n", SYSTEM, "kubernaut-workflowexecution-config", "--type=merge", patch)


async def test_what_a_policy_would_change_in_the_cluster(
    status: Status, apply: Callable[[dict[str, Any]], None], phasegate: Phasegate, tmp_path: Path, opa: Path
) -> None:
    apply(config_map("status-a", a__rego=GOOD))
    assert (await status())[0] == Exit.DONE
    folder = tmp_path / "status-a"
    folder.mkdir()
    (folder / "a.rego").write_text(f"# a comment\n{GOOD}")
    words = ["policy", "diff", str(folder), "--against", "cluster", f"--opa={opa}"]
    same = await phasegate(*words, user="admin")
    assert (same.code, same.out, same.err) == (Exit.DONE, "no difference\n", "")
    (folder / "a.rego").write_text(GOOD.replace("4", "2"))
    other = await phasegate(*words, user="admin")
    assert other.code == Exit.NO
    assert "    ~ max_parallel: 4 → 2" in other.out.splitlines()


@pytest.fixture
def nobody(plane: Plane, kubectl: Kubectl, namespace: str, tmp_path: Path) -> Path:
    """The kubeconfig of somebody without any role."""
    kubectl("create", "serviceaccount", "-n", namespace, "nobody")
    token = kubectl("create", "token", "-n", namespace, "nobody").strip()
    return kubeconfig(plane.kubeconfig, tmp_path / "nobody", token=token)


async def test_who_may_not_read_policies_is_told_which_role_it_takes(
    phasegate: Phasegate, plane: Plane, nobody: Path, tmp_path: Path, opa: Path
) -> None:
    said = await phasegate("policy", "status", kubeconfig=nobody)
    assert said.code == Exit.NO
    assert "you may not read the policies" in said.err
    assert "ask for the role policy-writer in namespace kubernaut-system" in said.err
    (tmp_path / "team.rego").write_text(GOOD)
    said = await phasegate("policy", "diff", str(tmp_path / "team.rego"), "--against=cluster", f"--opa={opa}", kubeconfig=nobody)
    assert (said.code, "you may not read the policies" in said.err) == (Exit.UNREACHABLE, True), "1 would mean that something differs"
    said = await phasegate("policy", "status", kubeconfig=kubeconfig(plane.kubeconfig, tmp_path / "stranger", token="x"))
    assert (said.code, "does not know the kubeconfig's user" in said.err) == (Exit.UNREACHABLE, True)


async def test_an_unknown_revision_and_an_absent_cluster_have_their_exit_codes(
    status: Status, phasegate: Phasegate, tmp_path: Path
) -> None:
    assert (await status())[0] == Exit.DONE
    said = await phasegate("policy", "status", "0123456789ab", user="admin")
    assert (said.code, "the history does not know it" in said.err) == (Exit.NO, True)
    said = await phasegate("policy", "status", "--wait", "soon", user="admin")
    assert (said.code, "soon" in said.err) == (Exit.USAGE, True)
    said = await phasegate("policy", "status", kubeconfig=tmp_path / "none")
    assert (said.code, "Traceback" in said.err) == (Exit.UNREACHABLE, False)


@pytest.mark.parametrize("annotation", [None, "not json", "[]", "[" * 100_000, "5", '{"state": "active", "digest": "another"}'])
def test_a_status_that_is_about_another_version_counts_for_nothing(annotation: str | None) -> None:
    document = config_map("status-a", a__rego=GOOD)
    document["metadata"]["annotations"] = {} if annotation is None else {"kubernaut.ai/policy-status": annotation}
    assert _row(document).state == "pending"
    digest = read_config_map(document)[0].digest
    document["metadata"]["annotations"] = {"kubernaut.ai/policy-status": json.dumps({"state": "active", "digest": digest})}
    assert _row(document).state == "active"


@pytest.mark.parametrize(
    "odd",
    [
        {"errors": [1, {"line": "x"}], "warnings": {}, "trials": {"a": 5, "b": {"said": []}}, "time": [], "revision": {}},
        {"errors": 5, "trials": [], "time": "soon", "revision": None},
    ],
)
def test_a_status_that_somebody_has_written_by_hand_breaks_nothing(odd: dict[str, Any]) -> None:
    document = config_map("status-odd", a__rego=GOOD)
    digest = read_config_map(document)[0].digest
    document["metadata"]["annotations"] = {"kubernaut.ai/policy-status": json.dumps({"state": "active", "digest": digest, **odd})}
    there = in_cluster(config_maps=[document], history=[{"revision": 5, "changed": []}])
    told, now = _told(there, ()), datetime(2026, 1, 1, tzinfo=UTC)
    assert json.dumps(told.rows[0].document(now))
    assert any(line.startswith("status-odd  active") for line in _lines(there, told, now, Namespace(all=False, names=[], history=True)))
