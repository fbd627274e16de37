"""The limit of the statement before: it ..."""

from __future__ import annotations

import pytest
from psycopg2 import errors

from haulier.postgres.sql_files import SQL
from haulier.postgres.statements import rows


def test_does_not_end_the_statement_after_the_one_that_it_was_for(open_conn, monkeypatch):
    # If a statement ends just as its time is up, PostgreSQL has sent itself the signal, and heeds it afterwards.
    conn, size, ended = open_conn(), 8000.0, 0
    monkeypatch.setitem(SQL, "one", "SELECT 1 AS one")

    for _ in range(1000):
        monkeypatch.setitem(SQL, "counted", f"SELECT count(*) FROM generate_series(1, {size:.0f})")
        try:
            rows(conn, "counted", seconds=0.002)
            size *= 1.002
        except errors.QueryCanceled:
            size, ended = size * 0.998, ended + 1
        assert rows(conn, "one") == [{"one": 1}]

    # So it was at that edge.
    assert 0 < ended < 1000


@pytest.mark.parametrize("is_in_transaction", [False, True])
def test_ends_the_statement_that_it_was_for(open_conn, monkeypatch, is_in_transaction):
    monkeypatch.setitem(SQL, "nap", "SELECT pg_sleep(60)")
    conn = open_conn()
    conn.autocommit = not is_in_transaction
    with conn.cursor() as cursor:
        cursor.execute("SET statement_timeout = 200")

    with pytest.raises(errors.QueryCanceled):
        rows(conn, "nap", seconds=0.2)
