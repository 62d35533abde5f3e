"""The local control plane, for real: brought up, broken in many ways, mended, taken down."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from http import HTTPStatus
from pathlib import Path

import pytest

from controller import paths
from controller.local import plane as local
from controller.local import processes
from controller.local.api import Api
from controller.local.errors import LocalError

Kubectl = Callable[..., str]

PEOPLE = {"admin", "author", "approver", "viewer"}
PROCESSES = {"etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kwok", "opa"}


def phasegate(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "controller", *arguments]


def run_phasegate(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        phasegate(*arguments), capture_output=True, text=True, timeout=120, check=False, cwd=paths.ROOT, stdin=subprocess.DEVNULL
    )


def api_of(plane: local.Plane) -> Api:
    folder = local.Folder(plane.state)
    record = folder.read()
    assert record is not None
    return Api(plane.server, record.tokens["admin"], folder.authority)


def create_config_map(plane: local.Plane, name: str) -> None:
    answer = api_of(plane).post("/api/v1/namespaces/default/configmaps", {"metadata": {"name": name}, "data": {"kept": "yes"}})
    assert answer.status == HTTPStatus.CREATED, answer.body


def has_config_map(plane: local.Plane, name: str) -> bool:
    return api_of(plane).get(f"/api/v1/namespaces/default/configmaps/{name}").status == HTTPStatus.OK


@pytest.fixture(scope="module")
def own_state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    state = tmp_path_factory.mktemp("own") / "state"
    yield state
    local.down(state, purge=True)


@pytest.fixture
def own(own_state: Path) -> local.Plane:
    """A control plane that the test may break; the next test mends it, by the very `up` that is tested here."""
    return local.up(own_state, controller=False)


def test_up_prints_where_everything_is(plane: local.Plane) -> None:
    done = run_phasegate("local", "up", "--state", str(plane.state), "--no-controller", "--output", "json")

    document = json.loads(done.stdout)
    assert set(document) == {"kubeconfig", "server", "opa", "bundle", "health", "metrics", "logs", "pids", "users"}
    assert set(document["users"]) == PEOPLE
    assert set(document["pids"]) == PROCESSES


def test_a_second_up_changes_nothing_and_prints_the_same(plane: local.Plane) -> None:
    arguments = ("local", "up", "--state", str(plane.state), "--no-controller", "--output", "json")

    first, second = run_phasegate(*arguments), run_phasegate(*arguments)

    assert (first.returncode, second.returncode) == (0, 0), second.stderr
    assert first.stdout == second.stdout
    running = local.status(plane.state).plane
    assert running is not None
    assert json.loads(second.stdout) == running.document()


def test_everything_it_applied_is_there_and_its_kinds_are_served(kubectl: Kubectl) -> None:
    assert "kubernaut-system" in kubectl("get", "namespaces", "-o", "name")
    assert "workflow-controller" in kubectl("get", "serviceaccounts", "-n", "kubernaut-system", "-o", "name")
    kubectl("get", "wfe,ke", "-A")


def test_the_four_users_may_do_what_their_roles_say(kubectl: Kubectl) -> None:
    workflows = "workflowexecutions.workflowexecution.kubernaut.ai"

    kubectl("auth", "can-i", "create", workflows, user="author")
    kubectl("auth", "can-i", "list", workflows, user="viewer")
    kubectl("auth", "can-i", "create", workflows, user="viewer", expect=1)
    kubectl("auth", "can-i", "create", "workflowapprovals.workflowexecution.kubernaut.ai", user="approver")
    kubectl("auth", "can-i", "delete", "nodes", user="approver", expect=1)
    assert "on-call" in kubectl("auth", "whoami", user="approver")


def test_the_controllers_kubeconfig_is_its_service_account(plane: local.Plane) -> None:
    done = subprocess.run(
        [local.programs.provide("kubectl")["kubectl"], f"--kubeconfig={plane.controller_kubeconfig}", "auth", "whoami", "-o", "json"],
        capture_output=True,
        check=True,
    )

    user = json.loads(done.stdout)["status"]["userInfo"]
    assert user["username"] == "system:serviceaccount:kubernaut-system:workflow-controller"
    assert "system:serviceaccounts:kubernaut-system" in user["groups"]


def test_killed_processes_are_reported_and_the_next_up_mends_them_with_all_data(own: local.Plane) -> None:
    create_config_map(own, "before-the-kill")
    own.stop("etcd")
    own.stop("kwok")
    status = run_phasegate("local", "status", "--state", str(own.state), "--output", "json")
    assert (status.returncode, json.loads(status.stdout)["missing"]) == (1, ["etcd", "kwok"])

    mended = local.up(own.state, controller=False)

    assert has_config_map(mended, "before-the-kill")
    assert mended.pids["kube-apiserver"] == own.pids["kube-apiserver"]
    assert mended.pids["etcd"] != own.pids["etcd"]
    assert (mended.server, mended.opa) == (own.server, own.opa)
    assert local.status(own.state).is_running


def test_after_down_the_next_up_has_the_same_addresses_and_objects(own: local.Plane) -> None:
    create_config_map(own, "before-down")

    assert set(local.down(own.state)) == PROCESSES
    assert processes.running(own.state) == {}
    again = local.up(own.state, controller=False)

    assert has_config_map(again, "before-down")
    assert (again.server, again.opa, again.bundle) == (own.server, own.opa, own.bundle)


def test_a_port_that_somebody_took_meanwhile_is_replaced(own: local.Plane) -> None:
    create_config_map(own, "before-the-theft")
    local.down(own.state)

    with socket.create_server(("127.0.0.1", int(own.server.rpartition(":")[2]))):
        again = local.up(own.state, controller=False)

    assert again.server != own.server
    assert has_config_map(again, "before-the-theft")


@pytest.mark.parametrize("seconds", [0.25, 0.6, 1.5, 3.0])
def test_up_killed_at_any_moment_is_mended_by_the_next_up(tmp_path: Path, seconds: float) -> None:
    state = tmp_path / "state"
    try:
        with subprocess.Popen(phasegate("local", "up", "--state", str(state), "--no-controller"), cwd=paths.ROOT) as killed:
            time.sleep(seconds)
            killed.send_signal(signal.SIGKILL)
        before = processes.running(state)

        plane = local.up(state, controller=False)

        assert set(plane.pids) == PROCESSES
        assert {name: process.pid for name, process in before.items()}.items() <= plane.pids.items(), "what ran was kept"
        assert local.status(state).is_running
    finally:
        local.down(state, purge=True)
    assert processes.running(state) == {}


def test_two_side_by_side_do_not_collide_and_down_ends_only_its_own(plane: local.Plane, own: local.Plane) -> None:
    addresses = [(one.server, one.opa, one.bundle, one.health, one.metrics) for one in (plane, own)]
    assert set(addresses[0]).isdisjoint(addresses[1])
    create_config_map(own, "only-here")
    assert not has_config_map(plane, "only-here")

    local.down(own.state, purge=True)

    assert not own.state.exists()
    assert local.status(plane.state).is_running
    running = local.status(plane.state).plane
    assert running is not None
    assert all(Path(f"/proc/{pid}").exists() for pid in running.pids.values())


def test_two_ups_of_one_folder_at_once_start_one_control_plane(tmp_path: Path) -> None:
    state = tmp_path / "state"
    command = phasegate("local", "up", "--state", str(state), "--no-controller", "--output", "json")
    try:
        with (
            subprocess.Popen(command, stdout=subprocess.PIPE, cwd=paths.ROOT) as first,
            subprocess.Popen(command, stdout=subprocess.PIPE, cwd=paths.ROOT) as second,
        ):
            printed = [json.loads(process.communicate(timeout=120)[0]) for process in (first, second)]
        assert printed[0] == printed[1]
    finally:
        local.down(state, purge=True)


def test_more_nodes_can_be_had_later(own: local.Plane) -> None:
    local.up(own.state, 3, controller=False)

    names = {node["metadata"]["name"] for node in api_of(own).get("/api/v1/nodes").document["items"]}
    assert names == {"node-0", "node-1", "node-2"}


def test_one_process_can_be_stopped_and_started_by_name(own: local.Plane) -> None:
    own.stop("opa")
    assert own.pid("opa") is None
    assert Api(own.opa).get("/health").status == 0

    own.start("opa")

    assert own.pid("opa") is not None
    assert Api(own.opa).get("/health").status == HTTPStatus.OK


def test_purge_leaves_a_folder_alone_that_is_none_of_ours(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")

    with pytest.raises(LocalError, match="holds no state"):
        local.down(tmp_path, purge=True)

    assert (tmp_path / "thesis.txt").exists()


def test_down_and_status_of_what_never_was_say_so(tmp_path: Path) -> None:
    down = run_phasegate("local", "down", "--state", str(tmp_path / "nowhere"))
    status = run_phasegate("local", "status", "--state", str(tmp_path / "nowhere"), "--output", "json")

    assert (down.returncode, down.stdout) == (0, "nothing was running\n")
    assert (status.returncode, json.loads(status.stdout)["running"]) == (1, False)
    assert not (tmp_path / "nowhere").exists()


def test_a_damaged_state_file_is_explained(tmp_path: Path) -> None:
    (tmp_path / "state.json").write_text("{half")

    done = run_phasegate("local", "status", "--state", str(tmp_path))

    assert done.returncode == 3
    assert "down --purge" in done.stderr


@pytest.mark.parametrize("count", ["-1", "x", "100000"])
def test_a_wrong_number_of_nodes_is_wrong_usage(tmp_path: Path, count: str) -> None:
    assert run_phasegate("local", "up", "--state", str(tmp_path), f"--nodes={count}").returncode == 2


def test_with_the_controller_up_waits_until_policies_are_active_in_opa(own: local.Plane) -> None:
    plane = local.up(own.state)

    assert set(plane.pids) == {*PROCESSES, "controller"}
    assert Api(f"http://{plane.health}").get("/readyz").status == HTTPStatus.OK
    assert Api(plane.opa).get("/health?bundles").status == HTTPStatus.OK
    assert local.up(own.state, controller=False) == plane, "a running controller is left alone"


@pytest.mark.parametrize("written", [None, "", "-----BEGIN CERTIFICATE-----\nMIID"], ids=["nothing", "empty", "half"])
def test_a_server_whose_certificate_is_not_written_yet_does_not_answer(tmp_path: Path, own: local.Plane, written: str | None) -> None:
    authority = tmp_path / "apiserver.crt"
    if written is not None:
        authority.write_text(written)
    assert Api(own.server, authority=authority).get("/readyz").status == 0


def test_a_killed_controller_is_mended_by_the_next_up(own: local.Plane) -> None:
    before = local.up(own.state)
    before.stop("controller")
    assert local.status(own.state).missing == ("controller",)

    after = local.up(own.state)

    assert after.pids["controller"] != before.pids["controller"]
    assert {**after.pids, "controller": 0} == {**before.pids, "controller": 0}
