"""Checking and serving with the real OPA; ConfigMaps come from a cache that is filled by hand."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import time
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from support.patience import until

from controller.cluster.client import Cluster, Configuration
from controller.cluster.informer import Informer
from controller.cluster.kinds import CONFIG_MAP
from controller.observe.metrics import Metrics
from controller.policy import loader as loading
from controller.policy.bundle import build_bundle
from controller.policy.check import Checker, CheckLimits, CheckUnavailableError
from controller.policy.loader import PolicyLoader
from controller.policy.serve import BundleServer
from controller.policy.sources import Module, PolicySet, combine, read_shipped

TEAM = "package kubernaut.rules.dispatch.team_a\n\nlimit contains 1\n"


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def shipped_set(policies: Path) -> PolicySet:
    policy_set, problems = combine(read_shipped(policies), [], {"max-parallel-steps": 5})
    assert problems == []
    return policy_set


def with_team(policy_set: PolicySet, text: str) -> PolicySet:
    return PolicySet((*policy_set.modules, Module("team-a", "limit.rego", text)), {}, policy_set.settings)


async def test_a_good_set_has_no_problems(opa: Path, policies: Path) -> None:
    assert await Checker(opa).check(with_team(shipped_set(policies), TEAM)) == []


@pytest.mark.parametrize(
    ("text", "place", "said"),
    [
        ("limit contains n if {\n\tn := missing\n}", (4, 2), "var missing is unsafe"),
        ("limit contains 1 if input.x == }", (3, 32), "unexpected } token"),
        ('limit contains 1 if http.send({"method": "get", "url": "x"})', (3, 21), "undefined function http.send (policies read no clock"),
        ("limit contains time.now_ns()", (3, 16), "undefined function time.now_ns (policies read no clock"),
        ("limit contains 1 if opa.runtime().env", (3, 21), "undefined function opa.runtime"),
        ("limit contains 1 if net.lookup_ip_addr(input.x)", (3, 21), "undefined function net.lookup_ip_addr"),
        ("import data.kubernaut.lib.unused", (3, 1), "unused"),
    ],
)
async def test_a_mistake_is_named_with_line_and_column(opa: Path, policies: Path, text: str, place: tuple[int, int], said: str) -> None:
    problems = await Checker(opa).check(with_team(shipped_set(policies), f"package kubernaut.rules.dispatch.team_a\n\n{text}\n"))
    assert [(p.source, p.key, p.line, p.column) for p in problems] == [("team-a", "limit.rego", *place)]
    assert said in str(problems[0])


async def test_a_schema_finds_a_misspelt_field(opa: Path, policies: Path, tmp_path: Path) -> None:
    schemas = tmp_path / "schemas"
    schemas.mkdir()
    schema = {"type": "object", "additionalProperties": False, "properties": {"now": {"type": "string"}}}
    (schemas / "dispatch_input.json").write_text(json.dumps(schema))
    text = "# METADATA\n# schemas:\n#   - input: schema.dispatch_input\n" + TEAM + "\nlimit contains 2 if input.nwo\n"
    assert await Checker(opa).check(with_team(shipped_set(policies), text)) == []
    problems = await Checker(opa, schemas).check(with_team(shipped_set(policies), text))
    assert ["nwo" in p.message or "undefined ref" in p.message for p in problems] == [True]


async def test_a_check_that_cannot_be_done_is_no_verdict_about_the_policies(opa: Path, policies: Path, tmp_path: Path) -> None:
    for checker in (
        Checker(tmp_path / "no-opa"),
        Checker(opa, limits=CheckLimits(seconds=0.001)),
        Checker(opa, limits=CheckLimits(memory_bytes=1 << 20)),
    ):
        with pytest.raises(CheckUnavailableError):
            await checker.check(shipped_set(policies))


class Opa:
    """One OPA server that polls a bundle server."""

    def __init__(self, program: Path, folder: Path, bundle_port: int) -> None:
        self.port = free_port()
        self._program = program
        self._config = folder / f"opa-{self.port}.yaml"
        polling = {"min_delay_seconds": 0, "max_delay_seconds": 1, "long_polling_timeout_seconds": 10}
        config = {
            "services": {"phasegate": {"url": f"http://127.0.0.1:{bundle_port}"}},
            "bundles": {"kubernaut": {"service": "phasegate", "resource": "bundles/kubernaut.tar.gz", "polling": polling}},
            "status": {"service": "phasegate"},
        }
        self._config.write_text(json.dumps(config))
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        self._process = await asyncio.create_subprocess_exec(
            *(self._program, "run", "--server", "--addr", f"127.0.0.1:{self.port}", "-c", self._config, "--log-level", "error"),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )

    async def kill(self) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()

    async def verdict(self) -> tuple[str | None, Any]:
        """Revision and verdict of the gate `dispatch`; None while OPA has no set or is not there."""

        def ask() -> tuple[str | None, Any]:
            url = f"http://127.0.0.1:{self.port}/v1/data/kubernaut/gates/dispatch/verdict?provenance=true"
            try:
                with urllib.request.urlopen(url, b"{}", timeout=2) as answer:
                    document = json.load(answer)
            except OSError:
                return None, None
            bundle = document.get("provenance", {}).get("bundles", {}).get("kubernaut", {})
            return bundle.get("revision"), document.get("result")

        return await asyncio.to_thread(ask)

    async def reaches(self, revision: str | None, seconds: float = 15) -> Any:
        async with asyncio.timeout(seconds):
            while True:
                have, verdict = await self.verdict()
                if have == revision and verdict is not None:
                    return verdict
                await asyncio.sleep(0.01)


@asynccontextmanager
async def serving(opa: Path, folder: Path) -> AsyncIterator[tuple[BundleServer, Opa, list[tuple[str, list[str]]]]]:
    told: list[tuple[str, list[str]]] = []
    server = BundleServer(lambda revision, problems: told.append((revision, problems)))
    port = free_port()
    await server.start(f"127.0.0.1:{port}")
    sidecar = Opa(opa, folder, port)
    try:
        yield server, sidecar, told
    finally:
        await sidecar.kill()
        await server.stop()


async def test_a_new_bundle_is_active_by_long_poll_and_an_empty_opa_is_refilled(opa: Path, policies: Path, tmp_path: Path) -> None:
    async with serving(opa, tmp_path) as (server, sidecar, told):
        await sidecar.start()  # before there is any set
        await asyncio.sleep(0.3)
        assert (await sidecar.verdict())[1] is None
        first = build_bundle(shipped_set(policies))
        server.publish(first)
        assert (await sidecar.reaches(first.revision))["max_parallel"] == 5
        await until(lambda: (first.revision, []) in told)

        await asyncio.sleep(0.5)  # let it settle into its long poll
        second = build_bundle(with_team(shipped_set(policies), TEAM))
        server.publish(second)
        assert (await sidecar.reaches(second.revision, 3))["max_parallel"] == 1

        await sidecar.kill()
        await sidecar.start()
        assert (await sidecar.reaches(second.revision))["max_parallel"] == 1


async def test_what_opa_cannot_activate_is_heard_of(opa: Path, policies: Path, tmp_path: Path) -> None:
    async with serving(opa, tmp_path) as (server, sidecar, told):
        good = build_bundle(shipped_set(policies))
        server.publish(good)
        await sidecar.start()
        await sidecar.reaches(good.revision)
        server.publish(build_bundle(with_team(shipped_set(policies), "package kubernaut.rules.dispatch.team_a\n\nlimit contains x\n")))
        await until(lambda: any(problems for _, problems in told))
        assert (await sidecar.verdict())[0] == good.revision


async def test_what_opa_could_not_activate_is_kept_over_its_polls_until_it_has_what_is_served(
    opa: Path, policies: Path, tmp_path: Path
) -> None:
    async with serving(opa, tmp_path) as (server, sidecar, told):
        good = build_bundle(shipped_set(policies))
        server.publish(good)
        await sidecar.start()
        await sidecar.reaches(good.revision)
        server.publish(build_bundle(with_team(shipped_set(policies), TEAM.replace("contains 1", "contains x"))))
        await until(lambda: any(problems for _, problems in told))
        since = [bool(problems) for _, problems in told].index(True)
        await until(lambda: len(told) > since + 5)
        assert [problems for revision, problems in told[since:] if revision == good.revision and not problems] == []

        mended = build_bundle(with_team(shipped_set(policies), TEAM))
        server.publish(mended)
        await until(lambda: told[-1] == (mended.revision, []))


class Folder:
    """The ConfigMaps of kubernaut-system, in an informer's cache."""

    def __init__(self) -> None:
        self.informer = Informer(Cluster(Configuration(host="http://127.0.0.1:1")), CONFIG_MAP)
        self._version = 0

    def apply(self, name: str, *, policy: bool = True, **data: str) -> None:
        self._version += 1
        metadata = {"name": name, "namespace": "kubernaut-system", "uid": f"uid-{name}-{self._version}"}
        labels = {"kubernaut.ai/policy": "rego"} if policy else {}
        self.informer.put(
            {
                "metadata": {
                    **metadata,
                    "resourceVersion": str(self._version),
                    "creationTimestamp": "2026-01-01T00:00:00Z",
                    "labels": labels,
                },
                "data": {key.replace("__", ".").replace("0", "-"): text for key, text in data.items()},
            }
        )

    def delete(self, name: str) -> None:
        self._version += 1
        obj = self.informer.get("kubernaut-system", name)
        assert obj is not None
        self.informer._cache.remove({"metadata": {**obj["metadata"], "resourceVersion": str(self._version)}})


async def test_the_loader_takes_good_changes_keeps_off_bad_ones_and_follows_deletions(opa: Path, policies: Path, tmp_path: Path) -> None:
    folder, metrics = Folder(), Metrics()
    async with serving(opa, tmp_path) as (server, sidecar, _):
        loader = PolicyLoader(read_shipped(policies), folder.informer, Checker(opa), server, environ={}, metrics=metrics)
        revisions: list[str] = []
        loader.subscribe(lambda revision, _: revisions.append(revision))
        running = asyncio.create_task(loader.run())
        await asyncio.sleep(0.1)
        trouble = loader.trouble()
        assert trouble is not None  # nothing is served before the ConfigMaps are known
        assert "not read yet" in trouble.why
        folder.informer.synced.set()
        await sidecar.start()
        await until(lambda: loader.revision is not None)
        base = loader.revision
        assert (await sidecar.reaches(base))["max_parallel"] == 5
        await until(lambda: loader.trouble() is None)

        folder.apply("team-a", limit__rego=TEAM)
        await until(lambda: loader.revision != base)
        with_rule = loader.revision
        assert (await sidecar.reaches(with_rule))["max_parallel"] == 1

        folder.apply("team-a", limit__rego=TEAM.replace("contains 1", "contains x"))
        folder.apply("team-b", limit__rego="package kubernaut.rules.dispatch.team_b\n\nlimit contains 3\n")
        await until(lambda: loader.revision != with_rule)
        assert (await sidecar.reaches(loader.revision))["max_parallel"] == 1  # team-a's last good version still decides
        assert [p.line for p in loader.acceptance.rejected["team-a"]] == [3]

        folder.apply("kubernaut-workflowexecution-config", policy=False, max0parallel0steps="4")
        folder.delete("team-a")
        folder.delete("team-b")
        await until(lambda: loader.settings.max_parallel_steps == 4 and not loader.acceptance.accepted)
        assert (await sidecar.reaches(loader.revision))["max_parallel"] == 4

        folder.delete("kubernaut-workflowexecution-config")
        await until(lambda: loader.revision == base)
        running.cancel()
    assert revisions[0] == revisions[-1] == base
    assert b'kubernaut_policy_loads_total{result="rejected"} 1.0' in metrics.exposition()


async def test_a_shipped_set_that_does_not_compile_serves_nothing_and_says_why(opa: Path, policies: Path) -> None:
    (policies / "gates" / "dispatch.rego").write_text("package kubernaut.gates.dispatch\n\nverdict := x\n")
    folder = Folder()
    server = BundleServer()
    loader = PolicyLoader(read_shipped(policies), folder.informer, Checker(opa), server, environ={})
    await loader.load()
    trouble = loader.trouble()
    assert loader.revision is None
    assert trouble is not None
    assert "gates.dispatch.rego:3:12: var x is unsafe" in trouble.why


async def test_the_time_of_a_load_ends_when_the_set_is_served_however_late_opa_is(
    opa: Path, policies: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "_ACTIVATION_PATIENCE", 0.5)
    metrics = Metrics()
    loader = PolicyLoader(read_shipped(policies), Folder().informer, Checker(opa), BundleServer(), environ={}, metrics=metrics)
    began = time.monotonic()
    assert not (await loader.load()).active
    elapsed = time.monotonic() - began
    (measured,) = re.findall(rb"^kubernaut_policy_load_duration_seconds_sum (\S+)$", metrics.exposition(), re.MULTILINE)
    assert 0 < float(measured) < elapsed - 0.5 + 0.05


async def test_readiness_goes_by_what_opa_has_not_by_what_it_once_complained_of(opa: Path, policies: Path) -> None:
    server = BundleServer()
    loader = PolicyLoader(read_shipped(policies), Folder().informer, Checker(opa), server, environ={})
    loaded = asyncio.create_task(loader.load())
    await until(lambda: loader.revision is not None)
    assert loader.revision is not None
    assert server.observer is not None

    server.observer("an-older-one", ["rego_type_error: undefined function"])
    behind = loader.trouble()
    server.observer(loader.revision, ["dial tcp: connection refused"])  # a report of before this process began to serve

    assert behind is not None
    assert behind.why == f"OPA has an-older-one, served is {loader.revision}; it says: rego_type_error: undefined function"
    assert loader.trouble() is None
    assert (await loaded).active
