"""The whole of it: told, killed, locked out, filled up, and in the end everything is in the database once."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from support.audit import attempt, decided, postgresql_programs, workflow
from support.patience import until

from controller import paths
from controller.audit import store as stores
from controller.audit import writer as writers
from controller.audit.audit import Audit
from controller.audit.journal import Journal
from controller.audit.store import Store
from controller.cli.replay import _serving
from controller.core.verdict import FactRequest, PlanningVerdict
from controller.gates.client import GateClient
from controller.policy.bundle import build_bundle
from controller.policy.sources import combine, read_shipped
from controller.settings import Settings

HISTORY = FactRequest(id="past", verb="history", action="scale_deployment")


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """What takes seconds in a cluster takes less here."""
    monkeypatch.setattr(writers, "_GATHER_SECONDS", 0.01)
    monkeypatch.setattr(writers, "_SHORTEST_PAUSE", 0.02)
    monkeypatch.setattr(writers, "_LONGEST_PAUSE", 0.1)
    monkeypatch.setitem(stores._SQLITE_PATIENCE, "timeout", 0)


@asynccontextmanager
async def running(audit: Audit) -> AsyncIterator[Audit]:
    task = asyncio.create_task(audit.run())
    try:
        yield audit
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        audit.close()


def kept(url: str) -> list[str]:
    store = Store(url)
    try:
        return [row["decision_id"] for row in store.decisions("")]
    finally:
        store.close()


async def test_what_is_told_arrives_by_itself_and_answers_questions(url: str, tmp_path: Path) -> None:
    async with running(Audit(url, tmp_path / "spool")) as audit:
        assert audit.decided(decided())
        assert audit.served("r1", {"max-parallel-steps": 5})
        assert audit.ended(workflow(), [attempt(1), attempt(2, phase="failed")])
        assert audit.deleted(workflow(), [attempt(1)])
        await until(lambda: audit.stored == 7)
        fact = await audit.history(HISTORY)
        assert (fact["available"], fact["count"], fact["successes"]) == (True, 2, 1)
        await until(lambda: audit.lag == 0)
        assert (audit.recorded, audit.dropped, audit.trouble) == (7, 0, "")
        assert list((tmp_path / "spool").iterdir()) == []
    assert kept(url) == ["d1"]


class _NoFacts:
    async def read(self, requests: list[FactRequest], **_: Any) -> dict[str, dict[str, Any]]:
        return {request.id: {"available": False, "reason": "forbidden"} for request in requests}


async def test_a_decision_is_recorded_before_whoever_asked_knows_it(opa: Path, tmp_path: Path) -> None:
    policy_set, _ = combine(read_shipped(paths.POLICIES), [], Settings().document())
    audit = Audit(f"sqlite:///{tmp_path}/a.db", tmp_path / "spool")
    async with (
        _serving(opa, build_bundle(policy_set).content) as served,
        GateClient(served, token=None, deadline=timedelta(seconds=30), observe=lambda *_: None) as gates,
    ):
        gates.follow(audit.decided)
        session = gates.session(_NoFacts(), datetime(2026, 11, 21, tzinfo=UTC))
        answer = await session.ask("planning", PlanningVerdict, {"workflow": {"metadata": {"uid": "u1", "name": "fix"}}})
        assert audit.recorded == 1
    assert await audit.flush(30)
    row = audit._store.decision(answer.decision_id)
    assert row is not None
    assert (row["decision"], row["revision"], row["input_digest"]) == ("deny", answer.revision, answer.input_digest)
    assert hashlib.sha256(row["input"].encode()).hexdigest().startswith(answer.input_digest)
    assert [reason["code"] for reason in json.loads(row["reasons"])] == [reason.code for reason in answer.verdict.reasons]
    audit.close()


async def test_a_document_of_any_form_raises_nothing(tmp_path: Path) -> None:
    audit = Audit(f"sqlite:///{tmp_path}/a.db", tmp_path / "spool")
    assert not audit.ended({}, [])
    assert not audit.deleted({"metadata": {"uid": "u"}, "status": []})
    assert not audit.ended(workflow(), [{"spec": {"stepNumber": 1}}])
    assert audit.dropped == 3
    audit.close()


async def test_flush_moves_everything_at_once(url: str, tmp_path: Path) -> None:
    audit = Audit(url, tmp_path / "spool")
    for number in range(300):
        audit.decided(decided(f"d{number}"))
    assert await audit.flush(30)
    assert (audit.stored, audit.lag, len(kept(url))) == (300, 0.0, 300)
    audit.close()


async def test_flush_gives_up_in_time_and_loses_nothing(tmp_path: Path) -> None:
    """A database that hangs: a server that takes the connection and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as hangs:
        audit = Audit(f"postgresql://audit@127.0.0.1:{hangs.getsockname()[1]}/audit?connect_timeout=2", tmp_path / "spool")
        audit.decided(decided())
        assert not await audit.flush(0.2)
        assert audit.lag > 0
        audit.close()
    there = Audit(f"sqlite:///{tmp_path}/a.db", tmp_path / "spool")
    assert await there.flush(30)
    assert kept(f"sqlite:///{tmp_path}/a.db") == ["d1"]
    there.close()


def _corrupt(file: Path) -> Callable[[], None]:
    file.write_bytes(b"this is no database, and never was one" * 100)
    return file.unlink


def _locked(file: Path) -> Callable[[], None]:
    holder = sqlite3.connect(file, isolation_level=None)
    holder.execute("begin exclusive")
    return holder.close


def _a_folder(file: Path) -> Callable[[], None]:
    file.mkdir()
    return file.rmdir


def _no_parent(file: Path) -> Callable[[], None]:
    file.parent.rmdir()
    file.parent.touch()
    return file.parent.unlink


@pytest.mark.parametrize("trouble", [_corrupt, _locked, _a_folder, _no_parent])
async def test_a_file_that_cannot_be_used_is_said_and_waited_for(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, trouble: Callable[[Path], Callable[[], None]]
) -> None:
    caplog.set_level("INFO")
    file = tmp_path / "data" / "a.db"
    file.parent.mkdir()
    mend = trouble(file)
    async with running(Audit(f"sqlite:///{file}", tmp_path / "spool")) as audit:
        assert audit.decided(decided("before"))
        await until(lambda: audit.trouble)
        assert audit.decided(decided("meanwhile"))
        fact = await audit.history(HISTORY)
        assert (fact["available"], fact["reason"]) == (False, "unreachable")
        assert audit.lag > 0
        mend()
        await until(lambda: not audit.trouble)
        assert (audit.stored, audit.dropped) == (2, 0)
    assert sorted(kept(f"sqlite:///{file}")) == ["before", "meanwhile"]
    assert [record.message for record in caplog.records] == ["audit_store_away", "audit_store_back"]


async def test_a_read_only_database_loses_nothing(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/a.db"
    ready = Audit(url, tmp_path / "spool")
    assert await ready.flush(30)
    ready.close()
    audit = Audit(url, tmp_path / "spool")
    # As root, the mode of a file is no obstacle; that the connection may only read is one.
    stores.event.listen(audit._store._engine, "connect", lambda connection, _: connection.execute("PRAGMA query_only=ON").close())
    audit.decided(decided())
    assert not await audit.flush(30)
    assert "readonly database" in audit.trouble
    audit.close()
    again = Audit(url, tmp_path / "spool")
    assert await again.flush(30)
    assert kept(url) == ["d1"]
    again.close()


def _spoil(folder: Path) -> None:
    for file in folder.glob("a.db*"):
        file.write_bytes(b"\xff" * file.stat().st_size)


async def test_a_database_that_becomes_corrupt_while_it_is_used_is_told(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/a.db"
    audit = Audit(url, tmp_path / "spool")
    for number in range(50):
        audit.decided(decided(f"d{number}"))
    assert await audit.flush(30)
    _spoil(tmp_path)
    audit.decided(decided("after"))
    assert not await audit.flush(30)
    assert audit.trouble
    assert (await audit.history(HISTORY))["available"] is False
    audit.close()


async def test_a_full_spool_drops_what_comes_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Journal.__init__, "__kwdefaults__", {"most_bytes": 2000, "segment_bytes": 500})
    mend = _locked(tmp_path / "a.db")
    async with running(Audit(f"sqlite:///{tmp_path}/a.db", tmp_path / "spool")) as audit:
        told = [audit.decided(decided(f"d{number}")) for number in range(20)]
        assert (told[0], told[-1], audit.dropped) == (True, False, told.count(False))
        await until(lambda: audit.trouble)
        mend()
        await until(lambda: audit.lag == 0)
        assert audit.stored == told.count(True)
        assert audit.decided(decided("again"))
        await until(lambda: audit.stored == told.count(True) + 1)
    assert len(kept(f"sqlite:///{tmp_path}/a.db")) == told.count(True) + 1


async def test_what_is_too_old_is_forgotten(url: str, tmp_path: Path) -> None:
    clock = {"now": datetime(2026, 11, 21, tzinfo=UTC)}
    audit = Audit(url, tmp_path / "spool", 30, clock=lambda: clock["now"])
    audit.decided(decided("old", now="2026-11-20T00:00:00.000Z"))
    await audit.flush(30)
    clock["now"] += timedelta(days=29, hours=1)
    audit.decided(decided("new", now="2026-12-20T00:00:00.000Z"))
    await audit.flush(30)
    assert kept(url) == ["new"]
    audit.close()


async def test_a_file_that_grows_too_large_forgets_its_oldest_decisions(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/a.db"
    audit = Audit(url, tmp_path / "spool")
    for number in range(1500):
        audit.decided(decided(f"d{number:04}", now=f"2026-11-21T00:{number // 60:02}:{number % 60:02}.000Z"))
    await audit.flush(60)
    audit.close()
    store = Store(url)
    before = len(kept(url))
    store.largest = 64 << 10
    assert store.expire("2026-01-01T00:00:00.000Z") == 1000
    assert (before, len(kept(url)), min(kept(url))) == (1500, 500, "d1000")
    store.close()


async def test_a_file_that_is_removed_while_it_is_used_is_made_anew(tmp_path: Path) -> None:
    async with running(Audit(f"sqlite:///{tmp_path}/a.db", tmp_path / "spool")) as audit:
        audit.decided(decided("before"))
        await until(lambda: audit.stored == 1)
        (tmp_path / "a.db").unlink()
        audit.decided(decided("afterwards"))
        await until(lambda: audit.stored == 2)
    assert kept(f"sqlite:///{tmp_path}/a.db") == ["afterwards"]


if postgresql_programs() is not None:

    async def test_a_server_that_goes_away_and_comes_back_loses_nothing(server: str, tmp_path: Path) -> None:
        async with running(Audit(server, tmp_path / "spool")) as audit:
            audit.decided(decided("before"))
            await until(lambda: audit.stored == 1)
            _throw_out(server, "alter database postgres set default_transaction_read_only = on")
            audit.decided(decided("meanwhile"))
            await until(lambda: "read-only" in audit.trouble)
            _throw_out(server, "alter database postgres reset default_transaction_read_only")
            await until(lambda: audit.stored == 2)
            assert audit.dropped == 0
        assert sorted(kept(server)) == ["before", "meanwhile"]


def _throw_out(server: str, alteration: str) -> None:
    """Whoever is connected is thrown out, and meets a database that is another."""
    with psycopg.connect(server, autocommit=True, options="-c default_transaction_read_only=off") as connection:
        connection.execute(alteration)
        connection.execute("select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid() and datname = 'postgres'")


_TELLS = """
    import asyncio, sys
    from pathlib import Path
    sys.path.insert(0, sys.argv[3])
    from controller.audit import writer
    from controller.audit.audit import Audit
    from controller.audit.journal import Journal
    from support.audit import attempt, decided, workflow

    writer._GATHER_SECONDS = 0.0
    Journal.__init__.__kwdefaults__["segment_bytes"] = 4000

    async def main():
        audit = Audit(sys.argv[1], Path(sys.argv[2]))
        task = asyncio.create_task(audit.run())
        number = 0
        while True:
            name = f"{sys.argv[4]}-{number}"
            assert audit.decided(decided(name)) and audit.ended(workflow(name), [attempt(1), attempt(2)])
            print(name, flush=True)
            number += 1
            await asyncio.sleep(0)

    asyncio.run(main())
"""


def test_kill_in_the_middle_of_a_batch_loses_nothing_and_doubles_nothing(url: str, tmp_path: Path) -> None:
    told: list[str] = []
    batches = []
    for life, lines in enumerate((1, 30, 100)):
        command = [sys.executable, "-c", textwrap.dedent(_TELLS), url, tmp_path / "spool", Path(__file__).parents[1], f"life{life}"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            told += [process.stdout.readline().strip() for _ in range(lines)]
            os.kill(process.pid, signal.SIGKILL)
            told += [line.strip() for line in process.stdout if line.endswith("\n")]
        batches.append(sorted((tmp_path / "spool").glob("*.jsonl")))
    assert any(batches), "nothing was left in the spool by any kill"
    audit = Audit(url, tmp_path / "spool")
    assert asyncio.run(audit.flush(60))
    assert list((tmp_path / "spool").glob("*.jsonl")) == []
    # A line that a kill cut short is no record; nobody was told that it was.
    assert audit.dropped <= len(batches)
    audit.close()
    found = kept(url)
    assert len(found) == len(set(found))
    assert set(told) <= set(found)
    # Of each life, at most the decision during which it was killed was recorded without being told of.
    assert len(found) <= len(told) + len(batches)
    store = Store(url)
    former = store.former("scale_deployment", kind=None, namespace=None, name=None, latest=1)
    assert 2 * len(told) <= former.count <= 2 * len(found)
    store.close()
