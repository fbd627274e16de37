"""What every migration step keeps to, the made-up ones and the real ones; and schema.sql by hand: it ..."""

from __future__ import annotations

import re
from contextlib import closing
from typing import Any

import pytest
from psycopg2 import errors
from psycopg2.extensions import connection as Connection

from haulier.postgres.connection import connect
from haulier.queue.upkeep.migrate import migrate
from haulier.queue.upkeep.steps import SCHEMA, Schema, Step
from tests.catalogue import shape
from tests.conftest import sql_on
from tests.queue.upkeep.made_up import build_version_1, take
from tests.queue.upkeep.made_up import version_1 as text_of_version_1

LOCKS = """
    SELECT relname, mode
    FROM pg_locks
    JOIN pg_class ON pg_class.oid = relation
    WHERE pid = pg_backend_pid() AND relnamespace = 'haulier'::regnamespace AND relkind IN ('r', 'p', 'v')
        AND NOT (mode = 'AccessShareLock' OR relname = 'schema_version' AND mode = 'RowExclusiveLock')
"""
WEAKEST_FIRST = ["ShareUpdateExclusiveLock", "ShareLock", "ShareRowExclusiveLock", "AccessExclusiveLock"]
READ = "SELECT relname, seq_scan FROM pg_stat_xact_user_tables WHERE schemaname = 'haulier' AND seq_scan > 0"
TIMES = {"read once": 1, "read twice": 2}
# Reading them in full takes long.
LARGE = {"job", "finished_job", "idempotency", "audit"}


@pytest.fixture(params=["made up", "real"])
def all_steps(request: pytest.FixtureRequest, schema: Schema) -> list[Step]:
    """Give the steps from version 1."""
    return (schema if request.param == "made up" else SCHEMA).steps_from(1)


@pytest.mark.direct("is about one session")
def test_a_step_locks_and_reads_what_its_head_says(fresh_database: str, all_steps: list[Step]) -> None:
    with closing(connect(fresh_database)) as conn:
        build_version_1(conn)
        for step in all_steps:
            names = "SELECT relname FROM pg_class WHERE relnamespace = 'haulier'::regnamespace"
            there = {name for (name,) in sql_on(conn)(names)}
            # A session of its own: what it has counted before would be among it.
            with closing(connect(fresh_database)) as taking:
                sql_on(taking)(f"BEGIN; {step.text}")
                locks, read = strongest(sql_on(taking)(LOCKS)), dict(sql_on(taking)(READ))
                sql_on(taking)("ROLLBACK")

            modes = {
                table: how.partition(",")[0].title().replace(" ", "") + "Lock"
                for table, how in step.locks.items()
                if table in step.tables
            }
            assert {table: mode for table, mode in locks.items() if table in there} == modes, step.name
            times = {
                table: next((count for words, count in TIMES.items() if words in how), 0)
                for table, how in step.locks.items()
            }
            assert {table: read.get(table, 0) for table in LARGE} == {table: times.get(table, 0) for table in LARGE}
            take(conn, [step])


def strongest(locks: list[tuple[Any, ...]]) -> dict[str, str]:
    return dict(sorted(locks, key=lambda lock: WEAKEST_FIRST.index(lock[1])))


def test_a_step_is_short_waits_briefly_and_locks_one_table_at_a_time(all_steps: list[Step]) -> None:
    for step in all_steps:
        assert "\nSET LOCAL search_path = pg_catalog, pg_temp;\nSET LOCAL lock_timeout = '5s';\n" in step.text
        assert len(step.text.splitlines()) <= 300, step.name
        # While it waits for a second one, or reads it, nobody could use the first.
        assert len(step.locks) <= 1, step.name
        assert re.fullmatch(r"[A-Z][^\n]{30,250}\.", step.does), step.name


# --- schema.sql by hand


def test_a_trigger_that_was_turned_off_stays_so_until_schema_sql_is_applied_by_hand(
    version_1: Connection, schema: Schema
) -> None:
    own, state = sql_on(version_1), "SELECT tgenabled FROM pg_trigger WHERE tgname = 'knock'"
    own("ALTER TABLE haulier.job DISABLE TRIGGER knock")

    migrate(version_1, retention_days=30, schema=schema)
    states = own(state)
    own(f"BEGIN; {schema.text}; COMMIT")
    states += own(state)

    assert states == [("D",), ("O",)]


@pytest.mark.parametrize(
    ("change", "message", "hint"),
    [
        (
            "UPDATE haulier.schema_version SET version = 2",
            "the database has schema version 2, and this file is version 3",
            "Run `haulier migrate`.",
        ),
        (
            "UPDATE haulier.schema_version SET version = 4",
            "the database has schema version 4, and this file is version 3",
            "A newer release made it.",
        ),
        (
            "ALTER TABLE haulier.schema_version DROP COLUMN fingerprint",
            "a development build from before version 1 made this schema",
            "Make it anew: DROP SCHEMA haulier CASCADE deletes all jobs.",
        ),
    ],
)
def test_schema_sql_changes_nothing_if_the_schema_is_another(
    fresh_database: str, schema: Schema, change: str, message: str, hint: str
) -> None:
    with closing(connect(fresh_database)) as conn:
        own = sql_on(conn)
        own(f"BEGIN; {text_of_version_1()}; COMMIT; {change}")
        before = shape(own)

        with pytest.raises(errors.RaiseException) as raised:
            own(f"BEGIN; {schema.text}; COMMIT")
        own("ROLLBACK")

        assert (raised.value.diag.message_primary, raised.value.diag.message_hint) == (message, hint)
        assert shape(own) == before
