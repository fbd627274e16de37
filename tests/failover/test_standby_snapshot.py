"""What the check of the database says of a snapshot that a standby holds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace

import pytest
from psycopg2.extensions import connection as Connection

from haulier.domain.checks import Check, CheckState
from haulier.postgres.connection import connect
from haulier.queue.health.database_checks import THRESHOLDS, check_database
from haulier.queue.upkeep.migrate import migrate
from tests.conftest import eventually, sql_on
from tests.failover.pair import DATABASE, Pair

# So many transactions are soon made.
SOON = {"standbys": replace(THRESHOLDS["standbys"], warn=20, bad=50)}


@pytest.fixture
def primary(pair: Pair) -> Iterator[Connection]:
    """Give a connection to the primary of a standby that says what it still needs."""
    with closing(connect(pair.standby.dsn)) as conn:
        for change in ("hot_standby_feedback = on", "wal_receiver_status_interval = '1 s'"):
            sql_on(conn)(f"ALTER SYSTEM SET {change}")
        sql_on(conn)("SELECT pg_reload_conf()")
    with closing(connect(pair.dsn)) as conn:
        migrate(conn, retention_days=30)
        yield conn


def the_check(conn: Connection) -> Check:
    [found] = check_database(conn, retention_days=30, thresholds=SOON).checks
    return found


def test_names_a_standby_whose_query_holds_a_snapshot(pair, primary):
    before = the_check(primary)
    standby = pair.standby.dsn.replace("/postgres?", f"/{DATABASE}?")
    with closing(connect(standby)) as reader:
        sql_on(reader)("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM haulier.job")

        def is_bad() -> bool:
            for _ in range(20):
                sql_on(primary)("INSERT INTO haulier.job (kind, payload) VALUES ('mail', '{}')")
            return the_check(primary).state is CheckState.BAD

        eventually(is_bad)
        during = the_check(primary)

    assert before.state is CheckState.OK
    assert "holds a snapshot that is" in during.message
    assert during.fix is not None
    assert "hot_standby_feedback = off" in during.fix
    eventually(lambda: the_check(primary).state is CheckState.OK)
