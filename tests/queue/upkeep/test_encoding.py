"""A database whose encoding is not UTF8: text may not be stored in it, or not be read. It ..."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any
from uuid import uuid4

import psycopg2
import pytest

from haulier.domain.errors import SchemaMismatch
from haulier.postgres.connection import connect
from haulier.postgres.scratch import url_of
from haulier.queue.upkeep.migrate import check_schema, migrate


@pytest.fixture(params=["SQL_ASCII", "LATIN1"])
def other_database(request: pytest.FixtureRequest, postgres: str, direct: Any) -> Iterator[str]:
    """Give the DSN of an empty database with another encoding."""
    name = f"haulier_test_{uuid4().hex[:12]}"
    with closing(psycopg2.connect(direct(postgres))) as server, server.cursor() as cursor:
        server.autocommit = True
        # From 15 on the template may have another provider of locales, which knows no such encoding.
        libc = "LOCALE_PROVIDER libc" if server.server_version >= 150000 else ""
        cursor.execute(
            f"CREATE DATABASE {name} ENCODING '{request.param}' {libc} LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
        )
        try:
            yield url_of(direct(postgres), name)
        finally:
            cursor.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.mark.direct("it is about the database's own encoding")
def test_is_refused_by_migrate_and_by_every_process(other_database: str) -> None:
    with closing(connect(other_database)) as conn, conn.cursor() as cursor:
        for refused in (lambda: migrate(conn, retention_days=30), lambda: check_schema(conn)):
            with pytest.raises(SchemaMismatch, match="Haulier needs a database with encoding UTF8"):
                refused()

        cursor.execute("SELECT count(*) FROM pg_namespace WHERE nspname = 'haulier'")
        assert cursor.fetchone() == (0,)
