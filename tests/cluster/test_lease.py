"""Leader election on a real API server: one leads, the others see when that is over, and nothing is believed but their own clock."""

from __future__ import annotations

import asyncio
import os
import secrets
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from support.patience import until

from controller.cluster.client import Cluster, connect
from controller.cluster.errors import NotFoundError
from controller.cluster.kinds import LEASE, Kind
from controller.cluster.lease import Candidate, Timing
from controller.cluster.process import is_gone, this_process
from controller.local.plane import Plane

from .conftest import Proxy

Document = dict[str, Any]

SYSTEM = "kubernaut-system"
ROLE = Kind("rbac.authorization.k8s.io/v1", "Role", "roles", namespaced=True)
BINDING = Kind("rbac.authorization.k8s.io/v1", "RoleBinding", "rolebindings", namespaced=True)
SHORT = Timing(2)
ENDLESS = Timing(3600)
"""Who takes such a Lease over has not waited for its end."""
HOLDER = "kubernaut.ai/holder-process"


@dataclass
class Diary:
    """Who began and who ceased to lead, in this order."""

    entries: list[tuple[str, bool]] = field(default_factory=list)

    def leading_together(self) -> int:
        """The most that ever thought at the same time that they lead."""
        now, most = set[str](), 0
        for who, leads in self.entries:
            (now.add if leads else now.discard)(who)
            most = max(most, len(now))
        return most


@dataclass
class Standing:
    """A candidate that runs."""

    candidate: Candidate
    task: asyncio.Task[None]

    async def crash(self) -> None:
        """End it without a word."""
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)

    async def leave(self) -> None:
        """End it well."""
        await self.crash()
        await self.candidate.release()


@asynccontextmanager
async def standing(cluster: Cluster, lease: str, who: str, diary: Diary | None = None, timing: Timing = SHORT) -> AsyncIterator[Standing]:
    seen: list[Candidate] = []

    def changed() -> None:
        if diary is not None:
            diary.entries.append((who, seen[0].leads))

    candidate = Candidate(cluster, lease, who, timing, changed)
    seen.append(candidate)
    one = Standing(candidate, asyncio.create_task(candidate.run()))
    try:
        yield one
    finally:
        await one.crash()


@pytest.fixture
async def admin(plane: Plane) -> AsyncIterator[Cluster]:
    async with await connect(plane.kubeconfig) as cluster:
        yield cluster


@pytest.fixture
def lease() -> str:
    return f"test-{secrets.token_hex(4)}"


@dataclass
class Looks:
    """Counts how often somebody looked at a Lease."""

    count: int = 0

    def observe(self, verb: str, *_: object) -> None:
        self.count += verb == "get"


@asynccontextmanager
async def counted(plane: Plane) -> AsyncIterator[tuple[Cluster, Looks]]:
    looks = Looks()
    async with await connect(plane.kubeconfig, observer=looks.observe) as cluster:
        yield cluster, looks


def held(lease: str, *, seconds: int, renewed: str, mark: str = "") -> Document:
    spec = {"holderIdentity": "somebody", "leaseDurationSeconds": seconds, "renewTime": renewed, "leaseTransitions": 6}
    return {"metadata": {"name": lease, **({"annotations": {HOLDER: mark}} if mark else {})}, "spec": spec}


async def holder(cluster: Cluster, lease: str) -> str:
    return str((await cluster.get(LEASE, SYSTEM, lease))["spec"]["holderIdentity"])


async def test_the_first_leads_the_second_follows_and_the_lease_says_who(admin: Cluster, lease: str) -> None:
    async with standing(admin, lease, "a") as a:
        await until(lambda: a.candidate.leads)
        async with standing(admin, lease, "b") as b:
            await until(lambda: b.candidate.holder == "a")
            assert not b.candidate.leads
            spec = (await admin.get(LEASE, SYSTEM, lease))["spec"]
            assert (spec["holderIdentity"], spec["leaseDurationSeconds"], spec["leaseTransitions"]) == ("a", 2, 0)
            assert spec["acquireTime"] <= spec["renewTime"]


async def test_a_renewal_changes_its_time_and_nothing_else(admin: Cluster, lease: str) -> None:
    async with standing(admin, lease, "a", timing=Timing(1)) as a:
        await until(lambda: a.candidate.leads)
        first = await admin.get(LEASE, SYSTEM, lease)
        later = first
        async with asyncio.timeout(10):
            while later["spec"]["renewTime"] == first["spec"]["renewTime"]:
                later = await admin.get(LEASE, SYSTEM, lease)
        assert {**later["spec"], "renewTime": 0} == {**first["spec"], "renewTime": 0}
        assert later["metadata"]["uid"] == first["metadata"]["uid"]


async def test_who_leaves_gives_the_lease_back_and_the_next_one_does_not_wait_for_its_end(admin: Cluster, lease: str) -> None:
    diary = Diary()
    async with standing(admin, lease, "a", diary, ENDLESS) as a:
        await until(lambda: a.candidate.leads)
        await a.leave()
        spec = (await admin.get(LEASE, SYSTEM, lease))["spec"]
        assert (spec["holderIdentity"], spec["leaseDurationSeconds"]) == ("", 1)
        async with standing(admin, lease, "b", diary) as b:
            await until(lambda: b.candidate.leads)
    assert diary.entries == [("a", True), ("a", False), ("b", True)]
    assert (await admin.get(LEASE, SYSTEM, lease))["spec"]["leaseTransitions"] == 1


async def test_who_does_not_lead_gives_nothing_back(admin: Cluster, lease: str) -> None:
    async with standing(admin, lease, "a") as a:
        await until(lambda: a.candidate.leads)
        async with standing(admin, lease, "b") as b:
            await until(lambda: b.candidate.holder == "a")
            await b.leave()
        assert a.candidate.leads
        assert await holder(admin, lease) == "a"


async def test_of_many_that_come_at_once_one_leads(admin: Cluster, lease: str) -> None:
    diary = Diary()
    async with AsyncExitStack() as stack:
        crowd = [(await stack.enter_async_context(standing(admin, lease, f"c{n}", diary))).candidate for n in range(12)]
        await until(lambda: all(one.leads or one.holder for one in crowd))
        assert sum(one.leads for one in crowd) == 1
        assert len(diary.entries) == 1


@pytest.mark.parametrize("renewed", ["1970-01-01T00:00:00.000000Z", "2999-01-01T00:00:00.000000Z"])
async def test_no_timestamp_of_another_is_believed(plane: Plane, admin: Cluster, lease: str, renewed: str) -> None:
    await admin.create(LEASE, SYSTEM, held(lease, seconds=3600, renewed=renewed))
    async with counted(plane) as (cluster, looks), standing(cluster, lease, "b", timing=Timing(1)) as b:
        await until(lambda: looks.count > 5)
        assert not b.candidate.leads
    await admin.patch(LEASE, SYSTEM, lease, {"spec": {"leaseDurationSeconds": 1}})
    async with standing(admin, lease, "c") as c:
        await until(lambda: c.candidate.leads)
    assert (await admin.get(LEASE, SYSTEM, lease))["spec"]["leaseTransitions"] == 7


async def test_a_lease_that_changes_is_not_over_however_old_it_looks(plane: Plane, admin: Cluster, lease: str) -> None:
    await admin.create(LEASE, SYSTEM, held(lease, seconds=1, renewed="1970-01-01T00:00:00.000000Z"))
    async with counted(plane) as (cluster, looks), standing(cluster, lease, "b", timing=Timing(1)) as b:
        began = time.monotonic()
        while time.monotonic() < began + 3:
            renewed = f"1970-01-01T00:00:{time.monotonic() - began:09.6f}Z"
            await admin.patch(LEASE, SYSTEM, lease, {"spec": {"renewTime": renewed}})
            seen = looks.count
            await until(lambda seen=seen: looks.count > seen)  # type: ignore[misc]  # bound now, on purpose
            assert not b.candidate.leads
        await until(lambda: b.candidate.leads, what="the end of a Lease that is renewed no longer")


async def test_a_lease_that_is_deleted_is_made_again_by_its_leader(admin: Cluster, lease: str) -> None:
    diary = Diary()
    async with standing(admin, lease, "a", diary) as a:
        await until(lambda: a.candidate.leads)
        await admin.delete(LEASE, SYSTEM, lease)
        async with asyncio.timeout(10):
            while True:
                try:
                    assert await holder(admin, lease) == "a"
                    break
                except NotFoundError:
                    assert a.candidate.leads
        assert diary.entries == [("a", True)]


async def test_a_leader_whose_lease_another_has_taken_leads_no_longer_and_stands_again(admin: Cluster, lease: str) -> None:
    diary = Diary()
    async with standing(admin, lease, "a", diary) as a:
        await until(lambda: a.candidate.leads)
        taken = {"spec": {"holderIdentity": "thief", "leaseDurationSeconds": 3600}}
        await admin.patch(LEASE, SYSTEM, lease, taken)
        await until(lambda: not a.candidate.leads)
        await until(lambda: a.candidate.holder == "thief")
        await admin.patch(LEASE, SYSTEM, lease, {"spec": {"holderIdentity": ""}})
        await until(lambda: a.candidate.leads)
    assert diary.entries == [("a", True), ("a", False), ("a", True)]


@pytest.mark.parametrize("how", ["gone", "silent"])
async def test_a_leader_that_cannot_renew_ceases_before_the_next_one_begins(
    admin: Cluster, proxied: Cluster, proxy: Proxy, lease: str, how: str
) -> None:
    diary = Diary()
    async with standing(proxied, lease, "a", diary) as a:
        await until(lambda: a.candidate.leads)
        async with standing(admin, lease, "b", diary) as b:
            await until(lambda: b.candidate.holder == "a")
            if how == "gone":
                await proxy.stop()
            else:
                proxy.silent = True
            await until(lambda: b.candidate.leads)
            assert not a.candidate.leads
            assert diary.entries == [("a", True), ("a", False), ("b", True)]
            proxy.silent = False
            proxy.cut()
            if how == "gone":
                await proxy.start()
            await until(lambda: a.candidate.holder == "b")
            await b.leave()
            await until(lambda: a.candidate.leads)
    assert diary.leading_together() == 1


async def test_a_leader_that_was_stopped_for_too_long_does_not_believe_that_it_leads(admin: Cluster, lease: str) -> None:
    diary = Diary()
    timing = Timing(1)
    async with standing(admin, lease, "a", diary, timing) as a:
        await until(lambda: a.candidate.leads)
        time.sleep(timing.renew_deadline * 1.1)  # noqa: ASYNC251 - nothing of this process runs, as if it were stopped
        assert not a.candidate.leads
        await until(lambda: a.candidate.leads)
    assert diary.entries == [("a", True), ("a", False), ("a", True)], "what was missed meanwhile is looked at only by who begins to lead"


@pytest.fixture
def another() -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """A process that said which it is, and does nothing more."""
    program = "import time; from controller.cluster.process import this_process as me; print(me(), flush=True); time.sleep(600)"
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        yield child, child.stdout.readline().decode().strip()
        child.kill()


async def test_a_holder_that_was_killed_on_this_machine_is_not_waited_for(
    plane: Plane, admin: Cluster, lease: str, another: tuple[subprocess.Popen[bytes], str]
) -> None:
    child, mark = another
    await admin.create(LEASE, SYSTEM, held(lease, seconds=3600, renewed="2999-01-01T00:00:00.000000Z", mark=mark))
    async with counted(plane) as (cluster, looks), standing(cluster, lease, "b", timing=Timing(1)) as b:
        await until(lambda: looks.count > 3)
        assert not b.candidate.leads, "it lives"
        child.kill()
        await until(lambda: b.candidate.leads)


async def test_without_the_right_it_says_so_once_and_leads_as_soon_as_it_may(
    plane: Plane, admin: Cluster, lease: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with await connect(plane.users["viewer"]) as viewer, standing(viewer, lease, "v") as v:
        await until(lambda: v.candidate.refusal)
        refusal = str(v.candidate.refusal)
        assert f"get Lease {SYSTEM}/{lease}: 403 Forbidden" in refusal
        rule = {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["get", "create", "update"]}
        reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": lease}
        subjects = [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "viewer"}]
        await admin.create(ROLE, SYSTEM, {"metadata": {"name": lease}, "rules": [rule]})
        await admin.create(BINDING, SYSTEM, {"metadata": {"name": lease}, "roleRef": reference, "subjects": subjects})
        await until(lambda: v.candidate.leads)
        assert v.candidate.refusal is None
    assert caplog.text.count("lease_not_to_be_had") == 1


# which processes of this machine have ended


def test_a_process_that_runs_is_not_gone(another: tuple[subprocess.Popen[bytes], str]) -> None:
    assert not is_gone(this_process())
    assert not is_gone(another[1])


def test_a_process_that_was_killed_is_gone_even_before_its_parent_has_noticed(another: tuple[subprocess.Popen[bytes], str]) -> None:
    child, mark = another
    child.kill()
    while not is_gone(mark):
        assert child.returncode is None
    child.wait()
    assert is_gone(mark)


def test_a_process_whose_id_another_has_now_is_gone() -> None:
    place, pid, started = this_process().split("/")
    assert is_gone(f"{place}/{pid}/{int(started) - 1}")


def test_of_other_machines_nothing_is_claimed() -> None:
    _, pid, started = this_process().split("/")
    assert not is_gone(f"0123456789abcdef/{pid}/{int(started) - 1}")


@pytest.mark.parametrize(
    "rest", ["", "/", "//", "/x/1", "/-1/1", "/0/1", "/99999999999999999999/1", f"/{os.getpid()}", f"/{os.getpid()}/x"]
)
def test_nonsense_is_never_gone(rest: str) -> None:
    assert not is_gone(this_process().partition("/")[0] + rest)
    assert not is_gone(rest)
