"""deploy/: generated from the catalogue where it can be, and nowhere wider than its comments say."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from controller import paths
from controller.local import programs
from controller.policy import permissions
from controller.policy.permissions import CatalogueError
from controller.settings import Settings, parse_settings

MODULE = """package kubernaut.actions.mend_thing

service_account := "mend-thing-sa"

permissions := [{"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["get", "patch"]}]

facts contains {"id": input.step.name}
"""
RIGHTS = {
    "action": "mend_thing",
    "service_account": "mend-thing-sa",
    "permissions": [{"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["get", "patch"]}],
}


@pytest.fixture
def policies(tmp_path: Path) -> Path:
    (tmp_path / "policies" / "actions").mkdir(parents=True)
    (tmp_path / "policies" / "actions" / "mend_thing.rego").write_text(MODULE)
    return tmp_path / "policies"


def objects(overlay: str) -> Iterator[dict[str, Any]]:
    kubectl = programs.provide("kubectl")["kubectl"]
    done = subprocess.run(
        [kubectl, "kustomize", paths.DEPLOY / "overlays" / overlay], capture_output=True, text=True, check=True, timeout=60
    )
    yield from yaml.safe_load_all(done.stdout)


def by_name(overlay: str, kind: str) -> dict[str, dict[str, Any]]:
    return {found["metadata"]["name"]: found for found in objects(overlay) if found["kind"] == kind}


def test_the_catalogue_says_who_acts_and_what_that_takes(opa: Path, policies: Path) -> None:
    [rights] = permissions.read_catalogue(opa, policies)
    assert rights.model_dump(exclude_none=True) == RIGHTS


def test_an_action_without_its_constants_is_named(opa: Path, policies: Path) -> None:
    (policies / "actions" / "half.rego").write_text('package kubernaut.actions.half\n\nservice_account := "half-sa"\n')
    with pytest.raises(CatalogueError, match=r"kubernaut\.actions\.half needs the constants permissions and service_account"):
        permissions.read_catalogue(opa, policies)


def test_a_catalogue_that_does_not_compile_is_refused_with_the_place(opa: Path, policies: Path) -> None:
    (policies / "actions" / "broken.rego").write_text("package kubernaut.actions.broken\n\nx := [\n")
    with pytest.raises(CatalogueError, match=r"broken\.rego"):
        permissions.read_catalogue(opa, policies)


def test_a_missing_opa_is_named(policies: Path) -> None:
    with pytest.raises(CatalogueError, match="name it with --opa"):
        permissions.read_catalogue(Path("/nowhere/opa"), policies)


@pytest.mark.parametrize("field", ["apiGroups", "resources", "verbs"])
def test_a_wildcard_is_refused(field: str) -> None:
    wide = {**RIGHTS, "permissions": [{**RIGHTS["permissions"][0], field: ["*"]}]}  # type: ignore[dict-item]
    with pytest.raises(CatalogueError, match=rf"action mend_thing: permissions\.0\.{field}"):
        permissions.parse_rights([wide])


def test_an_action_gets_an_account_and_a_role_and_nothing_more() -> None:
    files = permissions.rendered(permissions.parse_rights([RIGHTS]))
    account, role = yaml.safe_load_all(files["base/actions/mend-thing.yaml"])
    assert account["metadata"] == {"name": "mend-thing-sa", "namespace": "kubernaut-system"}
    assert role["metadata"]["name"] == "mend-thing"
    assert role["rules"] == RIGHTS["permissions"]


def test_the_controller_impersonates_the_accounts_of_actions_only() -> None:
    files = permissions.rendered(permissions.parse_rights([RIGHTS]))
    role, _ = yaml.safe_load_all(files["base/actions/impersonation.yaml"])
    assert role["rules"] == [
        {"apiGroups": [""], "resources": ["serviceaccounts"], "verbs": ["impersonate"], "resourceNames": ["mend-thing-sa"]}
    ]


def test_without_any_action_the_controller_impersonates_nobody() -> None:
    role, _ = yaml.safe_load_all(permissions.rendered([])["base/actions/impersonation.yaml"])
    assert role["rules"] == []


def test_writing_removes_what_has_lost_its_action_and_then_there_is_no_drift(tmp_path: Path) -> None:
    wanted = permissions.rendered(permissions.parse_rights([RIGHTS]))
    stale = tmp_path / "base" / "actions" / "gone.yaml"
    stale.parent.mkdir(parents=True)
    stale.write_text("")
    assert "base/actions/gone.yaml" in permissions.files(tmp_path).write(wanted)
    assert not stale.exists()
    assert permissions.files(tmp_path).drifted(wanted) == []


def test_deploy_is_what_the_shipped_catalogue_says(opa: Path) -> None:
    wanted = permissions.rendered(permissions.read_catalogue(opa, paths.POLICIES))
    assert permissions.files().drifted(wanted) == []


def test_the_shipped_settings_are_the_defaults() -> None:
    data = yaml.safe_load((paths.DEPLOY / "base" / "settings.yaml").read_text())["data"]
    assert parse_settings(data, {}) == (Settings(), [])
    assert data.keys() == Settings().document().keys()


@pytest.mark.parametrize(("overlay", "replicas"), [("local", 0), ("dev", 1), ("production", 2)])
def test_an_overlay_says_how_many_controllers_there_are(overlay: str, replicas: int) -> None:
    assert by_name(overlay, "Deployment")["workflow-controller"]["spec"]["replicas"] == replicas


def test_actions_may_act_everywhere_only_outside_production() -> None:
    actions = {name.removesuffix("-sa") for name in by_name("local", "ServiceAccount")} - {"workflow-controller"}
    assert actions
    assert actions <= by_name("local", "ClusterRoleBinding").keys()
    assert by_name("production", "ClusterRoleBinding").keys() == {"workflowexecution-controller"}


def test_no_role_has_a_wildcard_and_none_of_the_controllers_reads_secrets() -> None:
    for found in objects("local"):
        for rule in found.get("rules") or []:
            words = [word for field in ("apiGroups", "resources", "verbs") for word in rule.get(field, [])]
            assert "*" not in words, found["metadata"]["name"]
            if found["metadata"]["name"].startswith("workflow"):
                assert "secrets" not in words, found["metadata"]["name"]


def test_the_controller_itself_changes_no_workload() -> None:
    reading = {"get", "list", "watch"}
    about_us = {("", "events"), ("authorization.k8s.io", "subjectaccessreviews"), ("authentication.k8s.io", "tokenreviews")}
    for rule in by_name("local", "ClusterRole")["workflowexecution-controller"]["rules"]:
        touched = {(group, resource) for group in rule["apiGroups"] for resource in rule["resources"]}
        of_others = {(group, resource) for group, resource in touched if not group.endswith(".kubernaut.ai")}
        assert set(rule["verbs"]) <= reading or of_others <= about_us, rule


def test_the_controller_has_no_right_to_what_it_does_not_do_yet() -> None:
    rules = [
        *by_name("local", "ClusterRole")["workflowexecution-controller"]["rules"],
        *by_name("local", "Role")["workflow-controller"]["rules"],
    ]
    rights = {(resource, verb) for rule in rules for resource in rule["resources"] for verb in rule["verbs"]}
    assert not {resource for resource, _ in rights} & {"aianalyses", "workflowapprovals/status", "remediationrequests/status"}
    writing = {(resource, verb) for resource, verb in rights if verb not in {"get", "list", "watch"}}
    assert writing == {
        ("workflowexecutions", "patch"),
        ("workflowexecutions", "delete"),
        ("workflowexecutions/status", "update"),
        ("workflowexecutions/finalizers", "update"),
        ("kubernetesexecutions", "create"),
        ("kubernetesexecutions", "patch"),
        ("kubernetesexecutions/status", "update"),
        ("events", "create"),
        ("events", "patch"),
        ("subjectaccessreviews", "create"),
        ("tokenreviews", "create"),
        ("configmaps", "create"),
        ("configmaps", "patch"),
        ("configmaps", "delete"),
        ("leases", "create"),
        ("leases", "update"),
    }


@pytest.mark.parametrize("role", ["workflow-author", "workflow-approver", "workflow-viewer", "policy-writer"])
def test_people_write_no_attempts_and_no_status(role: str) -> None:
    writing = {"create", "update", "patch", "delete", "deletecollection"}
    for rule in by_name("local", "ClusterRole")[role]["rules"]:
        if any(resource == "kubernetesexecutions" or "/" in resource for resource in rule["resources"]):
            assert not writing & set(rule["verbs"]), rule


def test_the_right_to_approve_comes_with_no_other_role() -> None:
    roles = by_name("local", "ClusterRole")
    holders = {name for name, role in roles.items() for rule in role.get("rules") or [] if "approve" in rule["verbs"]}
    assert holders == {"workflow-approver"}
    assert "labels" not in roles["workflow-approver"]["metadata"]


def test_containers_run_restricted() -> None:
    pod = by_name("production", "Deployment")["workflow-controller"]["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["automountServiceAccountToken"] is False
    for container in pod["containers"]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
