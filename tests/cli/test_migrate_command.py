"""`python -m haulier migrate`, with DATABASE_DIRECT_URL, and `recount`: it ..."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from haulier.postgres.connection import connect
from haulier.queue.numbers import counts
from haulier.queue.upkeep.steps import SCHEMA
from tests.conftest import sql_on
from tests.queue.upkeep.histories import Made, begin, count_all, in_numbers, in_tables, store

NOWHERE = "postgresql://u@127.0.0.1:1/x"


def run(command: str, *options: str, package: str = "haulier", **settings: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", package, command, *options],
        cwd=Path(__file__).parents[2],
        env={"PATH": os.environ["PATH"], **settings},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_goes_past_the_pool(fresh_database, direct):
    done = run("migrate", DATABASE_URL=NOWHERE, DATABASE_DIRECT_URL=direct(fresh_database))

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"applied schema version {SCHEMA.version};")
    # The name of the application works too.
    again = run("migrate", package="app", DATABASE_URL=direct(fresh_database))
    assert (again.returncode, again.stderr) == (0, "")


def test_says_what_it_would_do_does_it_and_has_nothing_to_do(fresh_database, direct):
    before = run("migrate", "--plan", DATABASE_URL=direct(fresh_database))
    again = run("migrate", "--plan", DATABASE_URL=direct(fresh_database))
    run("migrate", DATABASE_URL=direct(fresh_database))
    after = run("migrate", "--plan", DATABASE_URL=direct(fresh_database))

    assert [(each.returncode, each.stderr) for each in (before, again, after)] == [(0, "")] * 3
    assert before.stdout.startswith("found no Haulier schema\nwould run schema.sql: ")
    assert again.stdout == before.stdout
    assert after.stdout == (
        f"found schema version {SCHEMA.version}; this program has {SCHEMA.version}\nnothing to do\n"
    )


def test_refuses_the_database_of_a_development_build_in_a_line_and_changes_nothing(migrated_database, direct):
    with closing(connect(migrated_database)) as conn:
        sql_on(conn)("ALTER TABLE haulier.schema_version DROP COLUMN fingerprint")

        done = [run("migrate", *options, DATABASE_URL=direct(migrated_database)) for options in ((), ("--plan",))]

        assert [(each.returncode, each.stdout) for each in done] == [(1, "")] * 2
        assert {each.stderr for each in done} == {
            "haulier: the schema of the database was made by a development build before version 1. It cannot be"
            " migrated:"
            " drop it with `DROP SCHEMA haulier CASCADE`, which deletes all jobs, then run `python -m haulier"
            " migrate`\n"
        }


def test_names_the_setting_that_cannot_be_read_and_quotes_nothing():
    unreadable = "postgres://u:sword%fish@127.0.0.1/x"
    direct = run("migrate", DATABASE_URL=NOWHERE, DATABASE_DIRECT_URL=unreadable)
    pooled = run("migrate", DATABASE_URL=unreadable)

    assert (direct.returncode, pooled.returncode) == (1, 1)
    assert direct.stderr == "haulier: DATABASE_DIRECT_URL is not a valid connection string\n"
    assert pooled.stderr == "haulier: DATABASE_URL is not a valid connection string\n"


@pytest.mark.direct("a command goes past the pool")
def test_recount_counts_what_was_missed_and_says_how_much(database, conn, monkeypatch):
    def recount() -> str:
        done = run("recount", DATABASE_URL=database)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout.strip()

    monkeypatch.setattr(counts, "LATE_SECONDS", -20.0)
    assert recount() == "nothing has been counted yet: no worker with COUNTING=on has run"
    count_all(conn, begin(conn))
    store(conn, [Made("default", "mail", "queued", 2000), Made("bulk", "mail", "queued", 20_000)])

    assert recount() == "counted again: 2 missing arrivals and 0 missing ends were added"

    assert in_numbers(conn) == in_tables(conn)
    assert recount() == "counted again: 0 missing arrivals and 0 missing ends were added"
