"""A database for each test: a file, and on a machine that has a PostgreSQL server, a schema of its own there too."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from support.audit import postgresql, postgresql_programs

from controller.audit.store import Store

_PROGRAMS = postgresql_programs()


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    assert _PROGRAMS is not None
    with postgresql(_PROGRAMS) as url:
        yield url


@pytest.fixture(params=["sqlite", *(["postgresql"] if _PROGRAMS else [])])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'audit.db'}"
    server: str = request.getfixturevalue("server")
    name = f"audit_{secrets.token_hex(4)}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"create database {name}")
    return server.rpartition("/")[0] + f"/{name}"


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    store = Store(url)
    store.prepare()
    yield store
    store.close()
