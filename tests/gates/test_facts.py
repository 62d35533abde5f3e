"""Reading facts from a real API server: what is unknown says why, what is secret stays secret, and nobody reads as somebody else."""

from __future__ import annotations

import asyncio
import json
from contextlib import closing
from typing import Any

import pytest
from support.workflows import NAMESPACE, known

from controller.cluster.client import Cluster, Configuration
from controller.cluster.kinds import CONFIG_MAP
from controller.core.names import service_account_user
from controller.core.verdict import FactRequest
from controller.gates.facts import FactGatherer

SCALE = service_account_user("scale-deployment-sa")
CONFIG = service_account_user("update-configmap-sa")
CANARY = "Y2FuYXJ5LXZhbHVl"
SECRET = known("v1", "Secret")


class Ledger:
    """No attempt has been made on anything."""

    def executions(self, target: Any) -> dict[str, Any]:
        return {"count": 0, "running": 0, "items": [], "asked": dict(target)}


async def ask(cluster: Cluster, identity: str | None, **request: Any) -> dict[str, Any]:
    facts = FactGatherer(cluster, Ledger(), deadline=5, observe=lambda *_: None)
    wanted = FactRequest.model_validate({"id": "it", **request})
    return (await facts.read([wanted], identity=identity, fresh=True))["it"]


async def test_an_object_is_answered_whole_but_for_its_bookkeeping(as_controller: Cluster, as_admin: Cluster) -> None:
    await as_admin.create(CONFIG_MAP, "default", {"metadata": {"generateName": "facts-", "name": "facts-whole"}, "data": {"key": "value"}})
    got = await ask(as_controller, CONFIG, verb="get", apiVersion="v1", kind="ConfigMap", namespace="default", name="facts-whole")
    assert (got["available"], got["found"], got["object"]["data"]) == (True, True, {"key": "value"})
    assert "managedFields" not in got["object"]["metadata"]


async def test_an_object_that_is_not_there_is_an_answer_without_object(as_controller: Cluster) -> None:
    got = await ask(as_controller, CONFIG, verb="get", apiVersion="v1", kind="ConfigMap", namespace="default", name="nowhere")
    assert (got["available"], got["found"]) == (True, False)
    assert "object" not in got


async def test_a_read_that_the_account_may_not_do_is_unknown_and_quotes_the_api_server(as_controller: Cluster) -> None:
    got = await ask(as_controller, SCALE, verb="get", apiVersion="v1", kind="ConfigMap", namespace="default", name="any")
    assert (got["available"], got["reason"]) == (False, "forbidden")
    assert "scale-deployment-sa" in got["message"]


async def test_an_action_without_an_account_reads_nothing(as_controller: Cluster) -> None:
    got = await ask(as_controller, "", verb="get", apiVersion="v1", kind="ConfigMap", namespace="default", name="any")
    assert (got["available"], got["reason"]) == (False, "no_service_account")


@pytest.mark.parametrize("kind", [("rbac.authorization.k8s.io/v1", "ClusterRole"), ("example.org/v1", "Anything")])
async def test_a_kind_that_is_not_listed_is_never_read(as_controller: Cluster, kind: tuple[str, str]) -> None:
    got = await ask(as_controller, None, verb="get", apiVersion=kind[0], kind=kind[1], name="any")
    assert (got["available"], got["reason"]) == (False, "invalid_request")
    assert "not among the kinds" in got["message"]


async def test_the_values_of_a_secret_are_replaced_by_digests(as_admin: Cluster) -> None:
    applied = {"kubectl.kubernetes.io/last-applied-configuration": json.dumps({"data": {"password": CANARY}}), "team": "shop"}
    metadata = {"name": "facts-secret", "annotations": applied}
    await as_admin.create(SECRET, "default", {"metadata": metadata, "data": {"password": CANARY}})
    got = await ask(as_admin, None, verb="get", apiVersion="v1", kind="Secret", namespace="default", name="facts-secret")
    assert got["object"]["data"]["password"].startswith("sha256:")
    assert got["object"]["metadata"]["annotations"] == {"team": "shop"}
    assert CANARY not in str(got)


@pytest.mark.parametrize(("verb", "allowed"), [("patch", True), ("delete", False)])
async def test_an_access_review_answers_for_the_account(as_controller: Cluster, verb: str, allowed: bool) -> None:
    review = {
        "serviceAccount": "scale-deployment-sa",
        "accessVerb": verb,
        "group": "apps",
        "resource": "deployments",
        "namespace": "default",
    }
    got = await ask(as_controller, None, verb="access", **review)
    assert (got["available"], got["allowed"]) == (True, allowed)


@pytest.mark.parametrize("name", ["", ".", ".."])
async def test_a_name_that_would_mean_a_whole_collection_is_never_read(as_admin: Cluster, name: str) -> None:
    secret = {"metadata": {"name": f"canary-{len(name)}"}, "data": {"key": CANARY}}
    await as_admin.create(SECRET, "default", secret)
    got = await ask(as_admin, None, verb="get", apiVersion="v1", kind="Secret", namespace="default", name=name)
    assert (got["available"], got["reason"]) == (False, "invalid_request")
    assert CANARY not in json.dumps(got)


async def test_only_an_attempt_may_preview(as_controller: Cluster) -> None:
    got = await ask(as_controller, None, verb="preview", request={"verb": "delete", "apiVersion": "v1", "kind": "Pod", "name": "p"})
    assert (got["available"], got["reason"]) == (False, "invalid_request")


@pytest.mark.parametrize(
    ("verb", "reason", "message"),
    [("alerts", "not_configured", "there is no Alertmanager"), ("history", "not_configured", "there is no audit store")],
)
async def test_a_source_that_is_not_there_says_so(as_controller: Cluster, verb: str, reason: str, message: str) -> None:
    got = await ask(as_controller, None, verb=verb)
    assert (got["available"], got["reason"], got["message"]) == (False, reason, message)


async def test_a_history_is_answered_by_the_source_that_was_given(as_controller: Cluster) -> None:
    class Past:
        """Knows of one attempt."""

        async def history(self, request: FactRequest) -> dict[str, Any]:
            return {"available": True, "found": True, "items": [{"action": request.action}]}

    facts = FactGatherer(as_controller, Ledger(), deadline=5, observe=lambda *_: None, history=Past())
    wanted = FactRequest(id="it", verb="history", action="scale_deployment")
    got = (await facts.read([wanted], identity=None, fresh=False))["it"]
    assert got["items"] == [{"action": "scale_deployment"}]


async def test_a_server_that_never_answers_is_unknown_after_the_deadline() -> None:
    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with closing(writer):
            await reader.read()

    silent = await asyncio.start_server(listen, "127.0.0.1", 0)
    port = silent.sockets[0].getsockname()[1]
    wanted = FactRequest.model_validate({"id": "it", "verb": "get", "apiVersion": "v1", "kind": "Pod", "namespace": "n", "name": "p"})
    async with silent, Cluster(Configuration(host=f"http://127.0.0.1:{port}")) as cluster, asyncio.timeout(5):
        facts = FactGatherer(cluster, Ledger(), deadline=0.2, observe=lambda *_: None)
        got = (await facts.read([wanted], identity=None, fresh=True))["it"]
    assert (got["available"], got["reason"], got["message"]) == (False, "timeout", "not read within 0.2 s")


async def test_a_kind_that_is_kept_for_a_while_is_read_anew_when_it_has_to_be_fresh(as_admin: Cluster, namespace: str) -> None:
    facts = FactGatherer(as_admin, Ledger(), deadline=5, observe=lambda *_: None)
    wanted = FactRequest.model_validate({"id": "it", "verb": "get", "apiVersion": "v1", "kind": "Namespace", "name": namespace})

    async def team(*, fresh: bool) -> str:
        found = (await facts.read([wanted], identity=None, fresh=fresh))["it"]
        return str(found["object"]["metadata"]["labels"].get("team"))

    assert await team(fresh=False) == "None"
    await as_admin.patch(NAMESPACE, None, namespace, {"metadata": {"labels": {"team": "shop"}}})
    assert [await team(fresh=fresh) for fresh in (False, True, False)] == ["None", "shop", "shop"]
