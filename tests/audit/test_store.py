"""The database: what is stored twice, late, or not at all; on SQLite, and on PostgreSQL where there is one."""

from __future__ import annotations

import sqlite3
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateTable
from support.audit import attempt, decided, workflow

from controller.audit import store as stores
from controller.audit.records import Row, decision_line, policy_set_line, read_record, step_line, workflow_line
from controller.audit.store import AuditUrlError, Store, StoreAwayError

AT = datetime(2026, 11, 21, 11, tzinfo=UTC)


def records(*, at: datetime = AT, **status: Any) -> list[tuple[str, Row]]:
    it = workflow(**status)
    lines = [decision_line(decided()), workflow_line(it, at), step_line(it, attempt(), at), policy_set_line("r1", {"a": 1}, at)]
    return [read_record(line) for line in lines]


def rows(store: Store, table: str) -> list[dict[str, Any]]:
    with store._engine.connect() as connection:
        return [dict(row) for row in connection.exec_driver_sql(f"select * from {table}").mappings()]  # noqa: S608 - our own names


TABLES = ("decisions", "workflows", "steps", "policy_sets")


def test_what_is_stored_comes_back_as_it_was(store: Store) -> None:
    assert store.save(records()) == 0
    for table, row in records():
        assert rows(store, table) == [row]
    assert store.decision("d1") == records()[0][1]
    assert store.decision("d2") is None
    assert store.settings() == {"r1": '{"a":1}'}


def test_storing_twice_does_nothing_twice(store: Store) -> None:
    store.save(records())
    before = {table: rows(store, table) for table in TABLES}
    assert store.save([*records(), *records()]) == 0
    assert {table: rows(store, table) for table in TABLES} == before


def test_the_latest_record_of_a_workflow_wins_in_whatever_order_they_come(store: Store) -> None:
    later = records(at=AT + timedelta(hours=1), phase="rolled_back")
    store.save(records(phase="degraded"))
    store.save(later)
    store.save(records(phase="degraded"))
    assert [row["phase"] for row in rows(store, "workflows")] == ["rolled_back"]


def test_attempts_forward_and_back_are_told_apart(store: Store) -> None:
    lines = [step_line(workflow(), attempt(1, number, **spec), AT) for number in (0, 1) for spec in ({}, {"undoOf": "fix-step-1"})]
    store.save(map(read_record, lines))
    assert sorted((row["attempt"], row["mode"]) for row in rows(store, "steps")) == [(0, "do"), (0, "undo"), (1, "do"), (1, "undo")]


def test_a_record_that_no_database_takes_holds_up_no_other(store: Store) -> None:
    good, bad = records(), records()[2]
    bad[1]["step"] = 1 << 80
    nameless = ("workflows", {**records()[1][1], "uid": None})
    assert store.save([bad, *good, nameless]) == 2
    assert [len(rows(store, table)) for table in TABLES] == [1, 1, 1, 1]


def test_a_line_of_another_version_is_taken_as_far_as_it_goes(store: Store) -> None:
    row = {key: value for key, value in records()[1][1].items() if key != "outcome"} | {"new_in_a_later_version": 1}
    assert store.save([("workflows", row)]) == 0
    assert [row["outcome"] for row in rows(store, "workflows")] == [None]


def test_old_records_go_in_parts_and_settings_stay(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stores, "_CHUNK", 2)
    for day in range(5):
        at = AT - timedelta(days=day)
        now = at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        it = workflow(f"u{day}")
        lines = [decision_line(decided(f"d{day}", now=now)), workflow_line(it, at), step_line(it, attempt(), at)]
        store.save([*map(read_record, lines), read_record(policy_set_line(f"r{day}", {}, at))])
    # What is exactly as old as may be stays.
    deleted = [store.expire("2026-11-20T11:00:00.000Z") for _ in range(3)]
    assert deleted == [6, 3, 0]
    assert [len(rows(store, table)) for table in TABLES] == [2, 2, 2, 5]


def test_decisions_come_in_order_from_a_time_on(store: Store) -> None:
    times = {"d1": "2026-11-21T10:00:00.000Z", "d2": "2026-11-21T09:00:00.000Z", "d3": "2026-11-21T08:00:00.000Z"}
    store.save([read_record(decision_line(decided(name, now=time))) for name, time in times.items()])
    store.save([read_record(decision_line(decided("d4", gate="completion", now="2026-11-21T11:00:00.000Z")))])
    assert [row["decision_id"] for row in store.decisions("2026-11-21T09:00:00.000Z")] == ["d2", "d1", "d4"]
    assert list(store.decisions("2026-11-21T09:00:00.000Z", "dispatch")) == []


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("nonsense", "URL is none"),
        ("mysql://u:hunter2@host/db", "no audit store can be a mysql"),
        ("postgresql+asyncpg://u:hunter2@host/db", "no audit store can be a postgresql\\+asyncpg"),
        ("postgresql://u:hunter2@host:port/db", "URL is none"),
        ("postgresql://u:hunter2@host", "names no database"),
        ("sqlite://", "names no file"),
        ("sqlite:///:memory:", "names no file"),
        ("sqlite:///file:a.db?uri=true", "names no file"),
    ],
)
def test_a_url_that_names_no_store_is_refused_without_its_password(url: str, said: str) -> None:
    with pytest.raises(AuditUrlError, match=said) as refused:
        Store(url)
    assert "hunter2" not in str(refused.value)


def test_without_its_driver_postgresql_is_refused_with_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(AuditUrlError, match="pip install 'phasegate\\[postgresql\\]'"):
        Store("postgresql://audit@host/db")


def test_a_server_that_is_not_there_is_away_and_its_password_stays_hidden() -> None:
    store = Store("postgresql://audit:hunter2@127.0.0.1:1/db")
    for use in (store.prepare, store.expect, lambda: store.save(records()), lambda: list(store.decisions(""))):
        with pytest.raises(StoreAwayError, match=r"127\.0\.0\.1:1/db cannot be used: .*refused") as away:
            use()
        assert "hunter2" not in str(away.value)


def test_looking_makes_no_store(tmp_path: Path) -> None:
    with pytest.raises(StoreAwayError, match="there is no audit store at"):
        Store(f"sqlite:///{tmp_path}/a.db").expect()
    assert list(tmp_path.iterdir()) == []
    sqlite3.connect(tmp_path / "b.db").close()
    (tmp_path / "b.db").touch()
    with pytest.raises(StoreAwayError, match="it has no table"):
        Store(f"sqlite:///{tmp_path}/b.db").expect()


def test_the_file_is_for_our_eyes_only(tmp_path: Path) -> None:
    store = Store(f"sqlite:///{tmp_path}/folder/a.db")
    store.prepare()
    store.save(records())
    assert {oct(path.stat().st_mode)[-3:] for path in (tmp_path / "folder").iterdir()} == {"600"}
    store.close()


def test_every_statement_compiles_for_postgresql() -> None:
    """Wherever the tests run; where there is a server, all of the above runs on it."""
    dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
    for table in stores._SCHEMA.sorted_tables:
        assert "CREATE TABLE" in str(CreateTable(table).compile(dialect=dialect))
        conflict = "DO NOTHING" if table.name == "decisions" else "DO UPDATE SET"
        assert conflict in str(stores._upsert(table, "postgresql").compile(dialect=dialect))
    assert "(steps.workflow_uid, steps.step, steps.attempt, steps.mode) IN (SELECT" in str(
        stores._expiry(stores._steps, "2026").compile(dialect=dialect)
    )


def test_a_history_is_counted_from_an_index_alone(tmp_path: Path) -> None:
    store = Store(f"sqlite:///{tmp_path}/a.db")
    store.prepare()
    said: list[str] = []

    def explain(_: Any, cursor: Any, statement: str, parameters: Any, *__: Any) -> None:
        if statement.startswith("SELECT count"):
            said.extend(row[3] for row in cursor.connection.execute(f"explain query plan {statement}", parameters))

    stores.event.listen(store._engine, "before_cursor_execute", explain)
    store.former("scale_deployment", kind=None, namespace=None, name=None, latest=50)
    store.former("scale_deployment", kind="Deployment", namespace="shop", name="web", latest=50)
    assert ["COVERING INDEX steps_by_action" in said[0], "COVERING INDEX steps_by_target" in said[1]] == [True, True], said
    store.close()
