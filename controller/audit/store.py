"""The audit database: its tables, and every statement. The only importer of SQLAlchemy; blocking, so it is called from threads.

A file (SQLite) or a PostgreSQL server. Rows are written by their natural keys and the latest record of a thing wins, so that storing
something twice, or late, changes nothing. Times are text, RFC 3339 in UTC to the millisecond as controller.core.times writes them:
they sort as they are, and read well wherever they are looked at.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import (
    Boolean,
    Column,
    Float,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    case,
    create_engine,
    delete,
    event,
    func,
    inspect,
    select,
    tuple_,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import URL, Connection, Engine, make_url
from sqlalchemy.exc import ArgumentError, DataError, DBAPIError, IntegrityError, NoSuchModuleError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from controller.audit.records import DECISIONS, DO, POLICY_SETS, STEPS, WORKFLOWS
from controller.core.errors import PermanentError, RetryableError

Row = Mapping[str, Any]

_SCHEMA = MetaData()
_decisions = Table(
    DECISIONS,
    _SCHEMA,
    Column("decision_id", Text, primary_key=True),
    Column("time", Text, nullable=False),
    Column("gate", Text, nullable=False),
    Column("namespace", Text),
    Column("workflow", Text),
    Column("workflow_uid", Text),
    Column("step", Integer),
    Column("attempt", Text),
    Column("decision", Text, nullable=False),
    Column("reasons", Text, nullable=False),
    Column("revision", Text, nullable=False),
    Column("input_digest", Text, nullable=False),
    Column("input", Text),
    Column("truncated", Boolean, nullable=False),
    Column("masked", Boolean, nullable=False),
    Column("verdict", Text),
    Index("decisions_by_time", "time"),
    Index("decisions_by_workflow", "workflow_uid", "time"),
)
_workflows = Table(
    WORKFLOWS,
    _SCHEMA,
    Column("uid", Text, primary_key=True),
    Column("namespace", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("phase", Text, nullable=False),
    Column("outcome", Text),
    Column("effectiveness_score", Float),
    Column("failure_reason", Text),
    Column("failed_step", Integer),
    Column("failed_action", Text),
    Column("plan_hash", Text),
    Column("revision", Text),
    Column("steps", Integer),
    Column("completed_steps", Integer),
    Column("started_at", Text),
    Column("ended_at", Text),
    Column("duration_seconds", Float),
    Column("deleted_at", Text),
    Column("recorded_at", Text, nullable=False),
    Index("workflows_by_time", "recorded_at"),
)
_steps = Table(
    STEPS,
    _SCHEMA,
    Column("workflow_uid", Text, primary_key=True),
    Column("step", Integer, primary_key=True),
    Column("attempt", Integer, primary_key=True),
    Column("mode", Text, primary_key=True),
    Column("namespace", Text, nullable=False),
    Column("workflow", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("target_kind", Text),
    Column("target_namespace", Text),
    Column("target_name", Text),
    Column("service_account", Text),
    Column("phase", Text, nullable=False),
    Column("success", Boolean, nullable=False),
    Column("error_type", Text),
    Column("failure_reason", Text),
    Column("message", Text),
    Column("operations_sent", Integer, nullable=False),
    Column("started_at", Text),
    Column("ended_at", Text),
    Column("duration_seconds", Float),
    Column("recorded_at", Text, nullable=False),
    Index("steps_by_time", "recorded_at"),
    # Both hold all that is counted, so that no row is touched for it.
    Index("steps_by_action", "action", "mode", "ended_at", "success"),
    Index("steps_by_target", "target_kind", "target_namespace", "target_name", "action", "mode", "ended_at", "success"),
)
_policy_sets = Table(
    POLICY_SETS,
    _SCHEMA,
    Column("revision", Text, primary_key=True),
    Column("settings", Text, nullable=False),
    Column("recorded_at", Text, nullable=False),
)
_EXPIRES = {_decisions: _decisions.c.time, _workflows: _workflows.c.recorded_at, _steps: _steps.c.recorded_at}

_CHUNK = 1000
_LARGEST_FILE = 700 << 20
_POSTGRESQL = "postgresql+psycopg"
_SQLITE_PATIENCE = {"timeout": 5}
# Every wait for a server that does not answer has an end, the network's included (milliseconds).
_POSTGRESQL_PATIENCE = {"connect_timeout": "5", "options": "-c statement_timeout=10000", "tcp_user_timeout": "10000"}


class AuditUrlError(PermanentError):
    """The URL names no store that this program can use."""


class StoreAwayError(RetryableError):
    """The store cannot be used now; what is to be written waits in the spool."""


@dataclass(frozen=True, slots=True)
class Former:
    """How the attempts at an action went: all of them in figures, and the latest ones row by row, latest first."""

    count: int
    successes: int
    latest: Sequence[Row]


class Store:
    """One audit database.

    Args:
        url: `sqlite:///relative/file`, `sqlite:////absolute/file` or `postgresql://user:password@host/database`.

    Raises:
        AuditUrlError: see there; the message never shows a password.
    """

    def __init__(self, url: str) -> None:
        parsed = _parsed(url)
        self._file = Path(parsed.database or "") if parsed.get_backend_name() == "sqlite" else None
        self.largest = _LARGEST_FILE
        self.name = parsed.render_as_string(hide_password=True)
        self._engine = _engine(parsed)

    def prepare(self) -> None:
        """Make what is missing: the file, for our eyes only, and the tables.

        Raises:
            StoreAwayError: it cannot be used now.
        """
        with self._reached():
            if self._file is not None:
                self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                os.close(os.open(self._file, os.O_RDWR | os.O_CREAT, 0o600))
            with self._engine.begin() as connection:
                if self._file is not None:
                    # Readers and the writer do not wait for each other.
                    connection.exec_driver_sql("PRAGMA journal_mode=WAL")
                _SCHEMA.create_all(connection)

    def expect(self) -> None:
        """See that there is a store, without making one.

        Raises:
            StoreAwayError: there is none, or it cannot be used now.
        """
        if self._file is not None and not self._file.is_file():
            raise StoreAwayError(f"there is no audit store at {self.name}")
        with self._reached():
            missing = [table.name for table in _SCHEMA.sorted_tables if not inspect(self._engine).has_table(table.name)]
        if missing:
            raise StoreAwayError(f"there is no audit store at {self.name}: it has no table {missing[0]}")

    def save(self, records: Iterable[tuple[str, Row]]) -> int:
        """Write these (table, row) all at once; answers how many of them no database would take, which are left out.

        Raises:
            StoreAwayError: it cannot be used now; all of them are to be written once more.
        """
        kept = list(records)
        with self._reached():
            try:
                with self._engine.begin() as connection:
                    self._upsert(connection, kept)
            except _REFUSED:
                # One by one, so that one bad record holds up no other.
                return sum(not self._saved(record) for record in kept)
        return 0

    def expire(self, before: str) -> int:
        """Delete what was recorded before this time, some of it; answers how many rows, 0 if nothing is left.

        A file that has grown too large is emptied of its oldest decisions, too: it shares its disk with others.

        Raises:
            StoreAwayError: it cannot be used now.
        """
        with self._reached(), self._engine.begin() as connection:
            deleted = sum(connection.execute(_expiry(table, before)).rowcount for table in _EXPIRES)
            if not deleted and self._file is not None and _used(connection) > self.largest:
                deleted = connection.execute(_oldest_decisions()).rowcount
            return deleted

    def former(self, action: str, *, kind: str | None, namespace: str | None, name: str | None, latest: int) -> Former:
        """How attempts at an action ended that were meant to do something, on a target where one is named.

        Raises:
            StoreAwayError: it cannot be used now.
        """
        target = {_steps.c.target_kind: kind, _steps.c.target_namespace: namespace, _steps.c.target_name: name}
        where = [_steps.c.action == action, _steps.c.mode == DO, _steps.c.ended_at.is_not(None)]
        where += [column == value for column, value in target.items() if value is not None]
        figures = select(func.count(), func.sum(case((_steps.c.success, 1), else_=0))).where(*where)
        rows = select(_steps).where(*where).order_by(_steps.c.ended_at.desc()).limit(latest)
        with self._reached(), self._engine.connect() as connection:
            count, successes = connection.execute(figures).one()
            return Former(count, successes or 0, [dict(row) for row in connection.execute(rows).mappings()])

    def decisions(self, since: str, gate: str | None = None) -> Generator[Row]:
        """The decisions from this time on, oldest first, read as they are taken; to be closed by who does not take them all.

        Raises:
            StoreAwayError: it cannot be used now.
        """
        where = [_decisions.c.time >= since, *([_decisions.c.gate == gate] if gate else [])]
        query = select(_decisions).where(*where).order_by(_decisions.c.time, _decisions.c.decision_id)
        with self._reached(), self._engine.connect() as connection:
            for row in connection.execution_options(yield_per=_CHUNK).execute(query).mappings():
                yield dict(row)

    def decision(self, decision_id: str) -> Row | None:
        """One decision.

        Raises:
            StoreAwayError: it cannot be used now.
        """
        with self._reached(), self._engine.connect() as connection:
            row = connection.execute(select(_decisions).where(_decisions.c.decision_id == decision_id)).mappings().one_or_none()
            return dict(row) if row is not None else None

    def settings(self) -> dict[str, str]:
        """Revision of a policy set → the settings that it decided with, as JSON.

        Raises:
            StoreAwayError: it cannot be used now.
        """
        with self._reached(), self._engine.connect() as connection:
            return {row.revision: row.settings for row in connection.execute(select(_policy_sets))}

    def close(self) -> None:
        """Close the connections."""
        self._engine.dispose()

    def _saved(self, record: tuple[str, Row]) -> bool:
        try:
            with self._engine.begin() as connection:
                self._upsert(connection, [record])
        except _REFUSED:
            return False
        return True

    def _upsert(self, connection: Connection, records: Sequence[tuple[str, Row]]) -> None:
        for table in _SCHEMA.sorted_tables:
            # A line of another version may lack a column, or have one more.
            if rows := [{column.name: row.get(column.name) for column in table.c} for name, row in records if name == table.name]:
                connection.execute(_upsert(table, self._engine.dialect.name), rows)

    @contextmanager
    def _reached(self) -> Iterator[None]:
        """Whatever goes wrong with the database is one error, in one line."""
        try:
            yield
        except (SQLAlchemyError, OSError) as exc:
            cause = exc.orig if isinstance(exc, DBAPIError) and exc.orig is not None else exc
            raise StoreAwayError(f"the audit store {self.name} cannot be used: {' '.join(str(cause).split())}") from exc


# What the row is to blame for, not the database: a value that does not fit, or none where there has to be one.
_REFUSED = (DataError, IntegrityError, UnicodeError, OverflowError)


def _parsed(url: str) -> URL:
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError) as exc:
        # Not quoted: it may hold a password.
        raise AuditUrlError("the audit store's URL is none; one would be sqlite:////var/lib/phasegate/audit.db") from exc
    if parsed.drivername in {"postgresql", "postgres"}:
        parsed = parsed.set(drivername=_POSTGRESQL)
    if parsed.drivername not in {"sqlite", _POSTGRESQL}:
        raise AuditUrlError(f"no audit store can be a {parsed.drivername}; there are sqlite:////file and postgresql://host/database")
    if not parsed.database or (parsed.drivername == "sqlite" and parsed.database.startswith((":", "file:"))):
        what = "file" if parsed.drivername == "sqlite" else "database"
        raise AuditUrlError(f"the audit store {parsed.render_as_string(hide_password=True)} names no {what}")
    return parsed


def _engine(url: URL) -> Engine:
    patience: Mapping[str, Any] = _SQLITE_PATIENCE if url.drivername == "sqlite" else _POSTGRESQL_PATIENCE
    try:
        engine = create_engine(
            url,
            connect_args={name: value for name, value in patience.items() if name not in url.query},
            # Errors are logged, and rows hold what clusters are made of.
            hide_parameters=True,
            # A connection that is kept would go on with a file that somebody has removed.
            **({"poolclass": NullPool} if url.drivername == "sqlite" else {"pool_pre_ping": True}),
        )
    except (ModuleNotFoundError, NoSuchModuleError) as exc:
        raise AuditUrlError("an audit store on PostgreSQL needs psycopg: pip install 'phasegate[postgresql]'") from exc
    if url.drivername == "sqlite":
        # With the write-ahead log, a crash of this process loses nothing either way.
        event.listen(engine, "connect", lambda connection, _: connection.execute("PRAGMA synchronous=NORMAL").close())
    return engine


def _upsert(table: Table, dialect: str) -> Any:  # noqa: ANN401 - an insert of either dialect
    """A row replaces what was recorded of the same thing before; a decision is what it is."""
    statement = (postgresql if dialect == "postgresql" else sqlite).insert(table)
    keys = [column.name for column in table.primary_key]
    if table is _decisions:
        return statement.on_conflict_do_nothing(index_elements=keys)
    others = {column.name: statement.excluded[column.name] for column in table.c if column.name not in keys}
    return statement.on_conflict_do_update(index_elements=keys, set_=others, where=table.c.recorded_at <= statement.excluded["recorded_at"])


def _used(connection: Connection) -> int:
    """Bytes of a SQLite file that hold something."""
    asked = ("page_count", "freelist_count", "page_size")
    pages, free, size = (int(connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()) for name in asked)
    return (pages - free) * size


def _oldest_decisions() -> Any:  # noqa: ANN401 - a delete
    oldest = select(_decisions.c.decision_id).order_by(_decisions.c.time).limit(_CHUNK)
    return delete(_decisions).where(_decisions.c.decision_id.in_(oldest))


def _expiry(table: Table, before: str) -> Any:  # noqa: ANN401 - a delete
    keys = list(table.primary_key)
    old = select(*keys).where(_EXPIRES[table] < before).limit(_CHUNK)
    return delete(table).where((tuple_(*keys) if keys[1:] else keys[0]).in_(old))
