"""The client against a real API server, and against none."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import Any

import pytest
from support.planes import kubeconfig

from controller.cluster import errors
from controller.cluster.client import Cluster, connect
from controller.cluster.events import EventRecorder
from controller.cluster.kinds import CONFIG_MAP, EVENT, KINDS, WORKFLOW, kind_of
from controller.core.errors import PermanentError, RetryableError
from controller.local.plane import Plane

SECRET = KINDS["v1", "Secret"]


def config_map(name: str, **data: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


@pytest.fixture
async def present(as_admin: Cluster) -> dict[str, Any]:
    name = f"present-{asyncio.get_running_loop().time():.6f}"
    return await as_admin.create(CONFIG_MAP, "default", config_map(name, k="v"))


def test_paths_follow_scope_group_and_subresource() -> None:
    assert WORKFLOW.path("ns", "a", "status") == ("/apis/workflowexecution.kubernaut.ai/v1alpha1/namespaces/ns/workflowexecutions/a/status")
    assert KINDS["v1", "Node"].path("ignored", "n1") == "/api/v1/nodes/n1"
    assert CONFIG_MAP.path(None) == "/api/v1/configmaps"
    assert CONFIG_MAP.path("a/../b", "c?d") == "/api/v1/namespaces/a%2F..%2Fb/configmaps/c%3Fd"
    assert kind_of("rbac.authorization.k8s.io/v1", "ClusterRole") is None


async def test_an_object_is_created_patched_replaced_listed_and_deleted(as_admin: Cluster) -> None:
    made = await as_admin.create(CONFIG_MAP, "default", config_map("life", k="v"))
    patched = await as_admin.patch(CONFIG_MAP, "default", "life", [{"op": "replace", "path": "/data/k", "value": "w"}], patch_type="json")
    assert patched["data"] == {"k": "w"}
    replaced = await as_admin.replace(CONFIG_MAP, "default", "life", {**patched, "data": {"k": "x"}})
    assert replaced["metadata"]["managedFields"][0]["manager"] == "phasegate"
    page = await as_admin.list(CONFIG_MAP, "default", field_selector="metadata.name=life")
    assert [(item["kind"], item["data"]) for item in page.items] == [("ConfigMap", {"k": "x"})]
    await as_admin.delete(CONFIG_MAP, "default", "life", uid=made["metadata"]["uid"])
    with pytest.raises(errors.NotFoundError):
        await as_admin.get(CONFIG_MAP, "default", "life")


async def test_a_dry_run_changes_nothing(as_admin: Cluster, present: dict[str, Any]) -> None:
    name = present["metadata"]["name"]
    would = await as_admin.patch(CONFIG_MAP, "default", name, {"data": {"k": "w"}}, dry_run=True)
    assert would["data"] == {"k": "w"}
    assert (await as_admin.get(CONFIG_MAP, "default", name))["data"] == {"k": "v"}


async def test_a_list_comes_in_pages(as_admin: Cluster) -> None:
    for n in range(5):
        await as_admin.create(CONFIG_MAP, "kube-public", config_map(f"page-{n}"))
    first = await as_admin.list(CONFIG_MAP, "kube-public", limit=3)
    second = await as_admin.list(CONFIG_MAP, "kube-public", limit=3, more=first.more)
    names = [item["metadata"]["name"] for item in (*first.items, *second.items)]
    assert len(first.items) == 3
    assert first.more
    assert {f"page-{n}" for n in range(5)} <= set(names)


async def test_every_refusal_has_its_own_error_that_names_what_was_attempted(as_admin: Cluster, present: dict[str, Any]) -> None:
    name = present["metadata"]["name"]
    stranger = "system:serviceaccount:default:stranger"
    stale = {**present, "metadata": {**present["metadata"], "resourceVersion": "1"}}
    failing_test = [{"op": "test", "path": "/data/k", "value": "other"}]
    cases: list[tuple[Any, type[errors.ApiError], str]] = [
        (as_admin.get(CONFIG_MAP, "default", "none"), errors.NotFoundError, "get ConfigMap default/none: 404"),
        (as_admin.create(CONFIG_MAP, "default", config_map(name)), errors.AlreadyExistsError, f"create ConfigMap default/{name}: 409"),
        (as_admin.replace(CONFIG_MAP, "default", name, stale), errors.ConflictError, "the object has been modified"),
        (as_admin.delete(CONFIG_MAP, "default", name, uid="other"), errors.ConflictError, "the UID in the precondition"),
        (as_admin.get(CONFIG_MAP, "default", name, as_user=stranger), errors.ForbiddenError, f'as {stranger}: 403 Forbidden: configmaps "'),
        (as_admin.patch(CONFIG_MAP, "default", name, failing_test, patch_type="json"), errors.InvalidError, "422"),
        (as_admin.create(CONFIG_MAP, "default", {**config_map("x"), "dta": {}}, strict=True), errors.InvalidError, 'unknown field "dta"'),
    ]
    for request, error, said in cases:
        with pytest.raises(error) as caught:
            await request
        assert said in str(caught.value)


async def test_a_secret_value_appears_in_no_error(as_admin: Cluster) -> None:
    body = {"metadata": {"name": "canary"}, "data": {"x": "canary-value-not-base64"}}
    with pytest.raises(errors.InvalidError) as caught:
        await as_admin.create(SECRET, "default", body)
    assert "canary-value" not in str(caught.value)
    answer = b'{"message": "Secret is invalid: data: Invalid value: canary-value", "reason": "Invalid"}'
    for attempted in (errors.Attempted("patch", "Secret", "ns", "x"), errors.Attempted("patch", "Secret/status", "ns", "x")):
        assert "canary-value" not in str(errors.error_from_answer(attempted, 422, answer))


@pytest.mark.parametrize(
    ("status", "body", "error", "delay"),
    [
        (429, b'{"reason": "TooManyRequests", "details": {"retryAfterSeconds": 7}}', errors.ThrottledError, 7),
        (504, b'{"reason": "Timeout", "message": "etcd"}', errors.AmbiguousError, None),
        (500, b"x" * 9999, errors.AmbiguousError, None),
        (410, b'{"reason": "Expired"}', errors.GoneError, None),
        (302, b"[]", errors.ApiError, None),
    ],
)
def test_an_answer_means_one_error(status: int, body: bytes, error: type[errors.ApiError], delay: int | None) -> None:
    made = errors.error_from_answer(errors.Attempted("list", "Pod", None, None), status, body)
    assert type(made) is error
    assert made.retry_after == delay
    assert len(str(made)) < 600
    if isinstance(made, RetryableError):
        assert (made.delay.total_seconds() if made.delay else None) == delay


async def test_without_a_server_the_request_was_surely_not_sent(plane: Plane, tmp_path: Path) -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        unused = sock.getsockname()[1]
        async with await connect(kubeconfig(plane.kubeconfig, tmp_path / "unused.yaml", server=f"https://127.0.0.1:{unused}")) as nowhere:
            with pytest.raises(errors.UnreachableError):
                await nowhere.delete(CONFIG_MAP, "default", "x")
            assert not await nowhere.is_ready()


async def test_an_answer_that_never_comes_is_ambiguous_and_nothing_is_sent_twice(proxied: Cluster, proxy: Any) -> None:
    await proxied.create(CONFIG_MAP, "default", config_map("silence"))
    proxy.silent = True
    with pytest.raises(errors.AmbiguousError):
        await proxied.delete(CONFIG_MAP, "default", "silence", timeout=0.3)
    proxy.silent = False
    with pytest.raises(errors.NotFoundError):  # it had been carried out
        await proxied.get(CONFIG_MAP, "default", "silence")


async def test_a_connection_that_is_reset_after_sending_is_ambiguous_for_every_verb(proxied: Cluster, proxy: Any) -> None:
    made = await proxied.create(CONFIG_MAP, "default", config_map("reset"))
    before = proxy.connections
    for ask in (
        lambda: proxied.replace(CONFIG_MAP, "default", "reset", {**made, "data": {"k": "1"}}),
        lambda: proxied.patch(CONFIG_MAP, "default", "reset", {"data": {"k": "2"}}),
        lambda: proxied.delete(CONFIG_MAP, "default", "reset"),
    ):
        await proxied.get(CONFIG_MAP, "default", "reset")  # so that a connection is there
        proxy.silent = True
        sent = asyncio.create_task(ask())
        await asyncio.sleep(0.2)
        proxy.cut()
        proxy.silent = False
        with pytest.raises(errors.AmbiguousError):
            await sent
    # Had the transport repeated a PUT or a DELETE by itself, there would be more.
    assert proxy.connections == before + 2


async def test_requests_are_observed_with_their_code_and_throttling(plane: Plane) -> None:
    seen: list[tuple[str, str, int, float]] = []
    async with await connect(
        plane.kubeconfig, qps=50, burst=1, observer=lambda verb, kind, code, _, held: seen.append((verb, kind, code, held))
    ) as client:
        # Both at once: only one of them finds a token, however slow the machine is.
        _, missing = await asyncio.gather(client.list(CONFIG_MAP), client.get(CONFIG_MAP, "default", "none"), return_exceptions=True)
    assert isinstance(missing, errors.NotFoundError)
    assert sorted(entry[:3] for entry in seen) == [("get", "ConfigMap", 404), ("list", "ConfigMap", 200)]
    assert sum(entry[3] > 0 for entry in seen) == 1


async def test_a_wrong_token_and_a_missing_kubeconfig_say_so(plane: Plane, tmp_path: Path) -> None:
    async with await connect(kubeconfig(plane.kubeconfig, tmp_path / "wrong.yaml", token="wrong")) as client:
        with pytest.raises(errors.ForbiddenError) as caught:
            await client.list(CONFIG_MAP)
        assert caught.value.status == 401
    with pytest.raises(PermanentError, match="--kubeconfig"):
        await connect(tmp_path / "none")


async def test_a_watch_brings_bookmarks_before_it_ends(as_admin: Cluster) -> None:
    page = await as_admin.list(CONFIG_MAP, "default")
    watching = as_admin.watch(CONFIG_MAP, "default", page.resource_version, 5)
    told = asyncio.create_task(anext(aiter(watching)))
    await asyncio.sleep(0.5)
    await as_admin.create(CONFIG_MAP, "kube-public", config_map("elsewhere"))  # moves the version on, and is no event of ours
    bookmark = await told
    await watching.aclose()
    assert bookmark is not None
    assert bookmark["type"] == "BOOKMARK"
    assert int(bookmark["object"]["metadata"]["resourceVersion"]) > int(page.resource_version)


async def test_an_event_that_is_said_again_is_counted_not_repeated(as_admin: Cluster, present: dict[str, Any]) -> None:
    selector = f"involvedObject.uid={present['metadata']['uid']}"
    for _ in range(2):  # the second recorder is the next life of the process
        recorder = EventRecorder(as_admin, "workflow-controller")
        writing = asyncio.create_task(recorder.run())
        recorder.emit(present, "Normal", "StepStarted", "step 1 started")
        recorder.emit(present, "Normal", "StepStarted", "step 1 started")
        recorder.emit(present, "Warning", "GateDenied", "no")
        await recorder.drain(5)
        writing.cancel()
    page = await as_admin.list(EVENT, "default", field_selector=selector)
    assert {(event["reason"], event["type"], event["count"]) for event in page.items} == {
        ("StepStarted", "Normal", 4),
        ("GateDenied", "Warning", 2),
    }


async def test_an_event_that_cannot_be_written_or_queued_is_dropped_and_counted(plane: Plane, present: dict[str, Any]) -> None:
    async with await connect(plane.users["viewer"]) as viewer:
        recorder = EventRecorder(viewer, "test")
        for n in range(1001):
            recorder.emit(present, "Normal", "Flood", str(n))
        writing = asyncio.create_task(recorder.run())
        await recorder.drain(30)
        writing.cancel()
    assert recorder.dropped == 1001
