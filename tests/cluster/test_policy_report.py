"""What becomes of a policy ConfigMap is said on it, in the real cluster."""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from support.patience import until

from controller import paths
from controller.cluster.client import Cluster
from controller.cluster.errors import AlreadyExistsError, NotFoundError
from controller.cluster.events import EventRecorder
from controller.cluster.informer import Informer
from controller.cluster.kinds import CONFIG_MAP, EVENT
from controller.policy import report as reporting
from controller.policy.check import Checker
from controller.policy.copies import LastGoodCopies, copy_name
from controller.policy.history import read_history
from controller.policy.loader import PolicyLoader
from controller.policy.report import PolicyReporter
from controller.policy.serve import BundleServer
from controller.policy.sources import read_shipped

SYSTEM = "kubernaut-system"


def config_map(name: str, limit: str) -> dict[str, Any]:
    text = f"package kubernaut.rules.dispatch.{name.replace('-', '_')}\n\nlimit contains {limit}\n"
    return {"metadata": {"name": name, "labels": {"kubernaut.ai/policy": "rego"}}, "data": {"limit.rego": text}}


@dataclass(frozen=True, slots=True)
class Told:
    """What a loader tells about the ConfigMaps of these names; the test is its OPA."""

    cluster: Cluster
    loader: PolicyLoader
    server: BundleServer
    recorder: EventRecorder
    reporter: PolicyReporter
    informer: Informer
    names: tuple[str, ...]

    def activate(self) -> None:
        assert self.server.observer is not None
        self.server.observer(self.loader.revision or "", [])

    async def until(self, name: str, state: str, *, other_than: str = "") -> dict[str, Any]:
        """Wait for a state, of another digest than this; answers the status."""
        async with asyncio.timeout(15):
            while True:
                annotations = (await self.cluster.get(CONFIG_MAP, SYSTEM, name))["metadata"].get("annotations", {})
                status: dict[str, Any] = json.loads(annotations.get("kubernaut.ai/policy-status", "{}"))
                if status.get("state") == state and status["digest"] != other_than:
                    return status
                await asyncio.sleep(0.02)

    async def kept(self, name: str) -> None:
        """Wait until there is a last good copy of a source."""
        async with asyncio.timeout(15):
            while True:
                with suppress(NotFoundError):
                    await self.cluster.get(CONFIG_MAP, SYSTEM, copy_name(name))
                    return
                await asyncio.sleep(0.02)

    async def messages(self, name: str) -> list[dict[str, Any]]:
        await self.recorder.drain(5)
        return (await self.cluster.list(EVENT, SYSTEM, field_selector=f"involvedObject.name={name}")).items

    async def troubled_by(self, *keys: str) -> None:
        """Wait until the history says that these files keep anything from being served."""
        async with asyncio.timeout(15):
            while True:
                with suppress(NotFoundError):
                    data = (await self.cluster.get(CONFIG_MAP, SYSTEM, "kubernaut-policy-set"))["data"]
                    if [problem["key"] for problem in json.loads(data["trouble.json"])] == list(keys):
                        return
                await asyncio.sleep(0.02)

    async def version(self, name: str) -> str:
        return str((await self.cluster.get(CONFIG_MAP, SYSTEM, name))["metadata"]["resourceVersion"])

    async def events(self, name: str) -> list[tuple[str, int]]:
        return sorted((event["reason"], event["count"]) for event in await self.messages(name))


@asynccontextmanager
async def telling(cluster: Cluster, opa: Path, *names: str, keep: bool = False) -> AsyncIterator[Told]:
    """A loader that works on ConfigMaps of these names, which all start out good; ``keep`` leaves all behind, for the next one."""
    informer = Informer(cluster, CONFIG_MAP, [SYSTEM])
    recorder = EventRecorder(cluster, "workflow-controller")
    server = BundleServer()
    copies = LastGoodCopies(cluster, informer)
    loader = PolicyLoader(read_shipped(paths.POLICIES), informer, Checker(opa), server, environ={}, memory=copies)
    reporter = PolicyReporter(cluster, informer, recorder, loader)
    for name in names:
        with suppress(AlreadyExistsError):
            await cluster.create(CONFIG_MAP, SYSTEM, config_map(name, "1"))
    tasks = [asyncio.create_task(work) for work in (informer.run(), recorder.run(), loader.run(), reporter.run())]
    try:
        yield Told(cluster, loader, server, recorder, reporter, informer, names)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for name in () if keep else names:
            with suppress(NotFoundError):
                await cluster.delete(CONFIG_MAP, SYSTEM, name)
        if not keep:
            for ours in (await cluster.list(CONFIG_MAP, SYSTEM, label_selector="kubernaut.ai/policy-last-good")).items:
                await cluster.delete(CONFIG_MAP, SYSTEM, ours["metadata"]["name"])


async def test_a_policy_is_annotated_accepted_then_active_then_rejected_and_told_by_events_once(as_admin: Cluster, opa: Path) -> None:
    async with telling(as_admin, opa, "team-a") as told:
        # Nobody is told "active" before OPA has said that it decides by it.
        await told.until("team-a", "accepted")
        told.activate()
        active = await told.until("team-a", "active")
        assert active["revision"] == told.loader.revision
        assert active["errors"] == []

        await as_admin.patch(CONFIG_MAP, SYSTEM, "team-a", config_map("team-a", "x"))
        rejected = await told.until("team-a", "rejected")
        assert rejected["errors"] == [
            {
                "file": "limit.rego",
                "line": 3,
                "column": 16,
                "message": "var x is unsafe",
                "remedy": "nothing gives this name a value: define a rule of that name, bind it with `some`, or mend its spelling",
            },
        ]
        assert told.loader.revision == active["revision"]

        before = await told.version("team-a")
        await told.loader.load()
        assert await told.reporter.tell()  # nothing new: nothing is written
        assert await told.version("team-a") == before
        assert await told.events("team-a") == [("PolicyActivated", 1), ("PolicyRejected", 1)]


async def test_while_opa_is_late_nothing_is_said_of_what_did_not_change(
    as_admin: Cluster, opa: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reporting, "_ACTIVATION_PATIENCE", 0.2)
    async with telling(as_admin, opa, "team-b", "team-c", "team-d") as told:
        await told.until("team-d", "accepted")
        told.activate()
        first = {name: await told.until(name, "active") for name in told.names}
        before = {name: await told.version(name) for name in told.names}

        await as_admin.patch(CONFIG_MAP, SYSTEM, "team-c", config_map("team-c", "2"))
        await told.until("team-c", "accepted")
        await asyncio.sleep(0.2)  # the report goes on to team-d
        told.activate()
        second = await told.until("team-c", "active", other_than=first["team-c"]["digest"])

        assert second["revision"] == told.loader.revision != first["team-c"]["revision"]
        unchanged = {name: version for name, version in before.items() if name != "team-c"}
        assert {name: await told.version(name) for name in unchanged} == unchanged
        assert [len(await told.events(name)) for name in told.names] == [1, 2, 1]


async def broken_while_away(cluster: Cluster, opa: Path, name: str) -> str:
    """A good policy, kept; then its ConfigMap is broken while no controller runs. Answers the last revision."""
    async with telling(cluster, opa, name, keep=True) as told:
        await told.until(name, "accepted")
        told.activate()
        await told.until(name, "active")
        await told.kept(name)
        revision = told.loader.revision
    await cluster.patch(CONFIG_MAP, SYSTEM, name, config_map(name, "x"))
    return str(revision)


async def test_a_restart_with_a_broken_source_keeps_deciding_by_its_last_good_version(as_admin: Cluster, opa: Path) -> None:
    revision = await broken_while_away(as_admin, opa, "team-e")
    async with telling(as_admin, opa, "team-e") as told:
        rejected = await told.until("team-e", "rejected")
        assert rejected["errors"][0]["message"] == "var x is unsafe"
        assert told.loader.revision == revision
        assert told.loader.acceptance.accepted["team-e"].modules[0].text.endswith("limit contains 1\n")

        await as_admin.delete(CONFIG_MAP, SYSTEM, "team-e")
        await until(lambda: told.loader.revision != revision)
        assert "team-e" not in told.loader.acceptance.accepted


async def test_a_damaged_copy_lets_nothing_decide_until_its_source_is_mended(as_admin: Cluster, opa: Path) -> None:
    await broken_while_away(as_admin, opa, "team-f")
    damaged = {"binaryData": {"source.json.gz": base64.b64encode(b"damaged").decode()}}
    await as_admin.patch(CONFIG_MAP, SYSTEM, copy_name("team-f"), damaged)
    async with telling(as_admin, opa, "team-f") as told:
        await told.until("team-f", "rejected")
        trouble = told.loader.trouble()
        assert told.loader.revision is None
        assert trouble is not None
        assert "kubernaut-last-good-team-f/source.json.gz: the last good copy cannot be read" in trouble.why
        assert "apply team-f anew, or delete ConfigMap kubernaut-last-good-team-f" in trouble.why

        await as_admin.patch(CONFIG_MAP, SYSTEM, "team-f", config_map("team-f", "3"))
        await told.until("team-f", "accepted")
        assert told.loader.revision is not None
        await told.troubled_by()


async def test_deleting_a_damaged_copy_is_the_leave_to_go_on_without_the_source(as_admin: Cluster, opa: Path) -> None:
    await broken_while_away(as_admin, opa, "team-j")
    damaged = {"binaryData": {"source.json.gz": base64.b64encode(gzip.compress(b"{}")[:-12] + b"x" * 12).decode()}}
    await as_admin.patch(CONFIG_MAP, SYSTEM, copy_name("team-j"), damaged)
    async with telling(as_admin, opa, "team-j") as told:
        await told.until("team-j", "rejected")
        assert told.loader.revision is None
        await told.troubled_by("source.json.gz")
        await as_admin.delete(CONFIG_MAP, SYSTEM, copy_name("team-j"))
        await until(lambda: told.loader.revision is not None)
        assert told.loader.acceptance.accepted.keys() & {"team-j"} == set()


async def test_a_deletion_that_others_need_undone_is_told_and_the_source_goes_on_deciding(as_admin: Cluster, opa: Path) -> None:
    user = config_map("team-h", "data.kubernaut.lib.team_g.most(1)")
    library = {
        "metadata": {"name": "team-g", "labels": {"kubernaut.ai/policy": "rego"}},
        "data": {"most.rego": "package kubernaut.lib.team_g\n\nmost(n) := n + 1\n"},
    }
    await as_admin.create(CONFIG_MAP, SYSTEM, library)
    await as_admin.create(CONFIG_MAP, SYSTEM, user)
    async with telling(as_admin, opa, "team-g", "team-h") as told:
        await told.until("team-h", "accepted")
        told.activate()
        await told.until("team-h", "active")
        await told.kept("team-g")
        revision = told.loader.revision

        await as_admin.delete(CONFIG_MAP, SYSTEM, "team-g")
        await until(lambda: "team-g" in told.loader.acceptance.rejected and told.reporter.kept)
        assert told.loader.revision == revision
        (why,) = [event["message"] for event in await told.messages(copy_name("team-g"))]
        assert why.startswith("ConfigMap team-g is gone, but its last version goes on deciding: without it the set fails")
        assert "team-h/limit.rego:3:16: undefined function data.kubernaut.lib.team_g.most" in why
        assert "whoever did has to keep it, or change its users first" in why


async def test_a_copy_that_cannot_be_written_keeps_nobody_untold_and_is_written_later(
    as_admin: Cluster, opa: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reporting, "_RETRY", 0.2)
    taken = {"metadata": {"name": copy_name("team-k")}, "immutable": True, "data": {"mine": "1"}}
    await as_admin.create(CONFIG_MAP, SYSTEM, taken)
    async with telling(as_admin, opa, "team-k", "team-l") as told:
        await told.until("team-k", "accepted")
        told.activate()
        await told.until("team-l", "active")
        await told.kept("team-l")
        assert not await told.reporter.tell()
        await as_admin.delete(CONFIG_MAP, SYSTEM, copy_name("team-k"))
        await told.kept("team-k")
        await until(lambda: set(LastGoodCopies(as_admin, told.informer).read().sources) >= {"team-k", "team-l"})


async def test_the_history_says_which_revision_changed_what(as_admin: Cluster, opa: Path) -> None:
    async with telling(as_admin, opa, "team-i") as told:
        await told.until("team-i", "accepted")
        told.activate()
        first = await told.until("team-i", "active")
        await as_admin.patch(CONFIG_MAP, SYSTEM, "team-i", config_map("team-i", "2"))
        await until(lambda: told.loader.revision != first["revision"])
        told.activate()
        second = await told.until("team-i", "active", other_than=first["digest"])
        await as_admin.delete(CONFIG_MAP, SYSTEM, "team-i")
        async with asyncio.timeout(15):
            while True:
                history = read_history((await as_admin.get(CONFIG_MAP, SYSTEM, "kubernaut-policy-set"))["data"])
                if len(history) == 3:
                    break
                await asyncio.sleep(0.05)
        assert [entry["changed"] for entry in history] == [{"team-i": None}, {"team-i": second["digest"]}, {"team-i": first["digest"]}]
        assert [entry["revision"] for entry in history[1:]] == [second["revision"], first["revision"]]
