"""Commands that use the database: `migrate`, with DATABASE_DIRECT_URL, `recount`, `keys` and `audit`. It ..."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import Result

from haulier.cli.root import root
from haulier.domain.api_key import TOKEN, Scope
from haulier.postgres.connection import connect
from haulier.queue.access import api_keys, audit_log
from haulier.queue.numbers import counts
from haulier.queue.upkeep.steps import SCHEMA
from tests.click_runner import Runner
from tests.command_line.conftest import UNSET
from tests.conftest import sql_on
from tests.queue.upkeep.histories import Made, begin, count_all, in_numbers, in_tables, store

NOWHERE = "postgresql://u@127.0.0.1:1/x"


def program(command: str, *options: str, package: str = "haulier", **settings: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", package, command, *options],
        cwd=Path(__file__).parents[2],
        env={"PATH": os.environ["PATH"], **settings},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_goes_past_the_pool(fresh_database, direct):
    done = program("migrate", DATABASE_URL=NOWHERE, DATABASE_DIRECT_URL=direct(fresh_database))

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"applied schema version {SCHEMA.version};")
    # The name of the application works too.
    again = program("migrate", package="app", DATABASE_URL=direct(fresh_database))
    assert (again.returncode, again.stderr) == (0, "")


def test_says_what_it_would_do_does_it_and_has_nothing_to_do(fresh_database, direct):
    before = program("migrate", "--plan", DATABASE_URL=direct(fresh_database))
    again = program("migrate", "--plan", DATABASE_URL=direct(fresh_database))
    program("migrate", DATABASE_URL=direct(fresh_database))
    after = program("migrate", "--plan", DATABASE_URL=direct(fresh_database))

    assert [(each.returncode, each.stderr) for each in (before, again, after)] == [(0, "")] * 3
    assert before.stdout.startswith("found no Haulier schema\nwould run schema.sql: ")
    assert again.stdout == before.stdout
    assert after.stdout == (
        f"found schema version {SCHEMA.version}; this program has {SCHEMA.version}\nnothing to do\n"
    )


def test_refuses_the_database_of_a_development_build_in_a_line_and_changes_nothing(migrated_database, direct):
    with closing(connect(migrated_database)) as conn:
        sql_on(conn)("ALTER TABLE haulier.schema_version DROP COLUMN fingerprint")

        done = [program("migrate", *options, DATABASE_URL=direct(migrated_database)) for options in ((), ("--plan",))]

        assert [(each.returncode, each.stdout) for each in done] == [(1, "")] * 2
        assert {each.stderr for each in done} == {
            "haulier: the schema of the database was made by a development build before version 1. It cannot be"
            " migrated:"
            " drop it with `DROP SCHEMA haulier CASCADE`, which deletes all jobs, then run `python -m haulier"
            " migrate`\n"
        }


def test_names_the_setting_that_cannot_be_read_and_quotes_nothing():
    unreadable = "postgres://u:sword%fish@127.0.0.1/x"
    direct = program("migrate", DATABASE_URL=NOWHERE, DATABASE_DIRECT_URL=unreadable)
    pooled = program("migrate", DATABASE_URL=unreadable)

    assert (direct.returncode, pooled.returncode) == (1, 1)
    assert direct.stderr == "haulier: DATABASE_DIRECT_URL is not a valid connection string\n"
    assert pooled.stderr == "haulier: DATABASE_URL is not a valid connection string\n"


@pytest.mark.direct("a command goes past the pool")
def test_recount_counts_what_was_missed_and_says_how_much(database, conn, monkeypatch):
    def recount() -> str:
        done = program("recount", DATABASE_URL=database)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout.strip()

    monkeypatch.setattr(counts, "LATE_SECONDS", -20.0)
    assert recount() == "nothing has been counted yet: no worker with COUNTING=on has run"
    count_all(conn, begin(conn))
    store(conn, [Made("default", "mail", "queued", 2000), Made("bulk", "mail", "queued", 20_000)])

    assert recount() == "counted again: 2 missing arrivals and 0 missing ends were added"

    assert in_numbers(conn) == in_tables(conn)
    assert recount() == "counted again: 0 missing arrivals and 0 missing ends were added"


Run = Callable[..., Result]


@pytest.fixture
def run(database: str) -> Run:
    """Give a function that runs the command in this process, which is quick."""

    def run(*args: str, url: str = database, command: str = "keys") -> Result:
        environ = {**dict.fromkeys(UNSET), "DATABASE_URL": url}
        return Runner(environ).invoke(root, [command, *args], catch_exceptions=False)

    return run


def test_prints_a_new_key_once_and_by_itself(run, conn):
    made = run(
        "create", "--name", "shop", "--scopes", "enqueue,read", "--queues", "mail", "--rate", "50", "--days", "90"
    )

    assert made.exit_code == 0
    [key] = api_keys.list_keys(conn)
    assert TOKEN.fullmatch(made.stdout.removesuffix("\n"))
    assert key.is_opened_by(made.stdout.strip())
    assert made.stderr == f"created the API key {key.id}, which is shown only this once:\n"
    assert (key.name, key.scopes, key.queues) == ("shop", {Scope.ENQUEUE, Scope.READ}, {"mail"})
    assert (key.rate_limit, (key.expires_at - key.created_at).days) == (50, 90)
    assert [(each.actor, each.action) for each in audit_log.list_actions(conn, limit=5)] == [("cli", "create_key")]


def test_rotates_a_key_and_says_for_how_long_the_old_one_is_good(run, conn):
    first = run("create", "--name", "shop", "--scopes", "read").stdout.strip()
    [key] = api_keys.list_keys(conn)

    rotated = run("rotate", key.id, "--hours", "1.5")

    second = rotated.stdout.strip()
    found = api_keys.find(conn, key.id)
    assert [found.key.is_opened_by(token) for token in (first, second)] == [True, True]
    assert "stays valid for 1.5 h" in rotated.stderr
    assert 5390 < found.seconds <= 5400
    assert re.search(r"  good, its old secret until [-\d]+ [:\d]+$", run("list").stdout.splitlines()[1])
    with conn.cursor() as cursor:
        cursor.execute("UPDATE haulier.api_key SET previous_until = now() - interval '1 s'")
    assert run("list").stdout.splitlines()[1].endswith("  good")


def test_makes_no_key_with_invalid_options(run, conn):
    reasons = {
        (): "--name",
        ("--name", "shop"): "--scopes",
        ("--name", "shop", "--scopes", "root"): "must be one or more of enqueue, read, operate, admin",
        ("--name", "shop", "--scopes", ","): "must not be empty",
        ("--name", "", "--scopes", "read"): "1 to 100 characters",
        ("--name", "a\nb", "--scopes", "read"): "1 to 100 characters",
        ("--name", "shop", "--scopes", "read", "--queues", "Mail"): "names of queues",
        ("--name", "shop", "--scopes", "read", "--rate", "0"): "from 0.01 to 1e+06",
        ("--name", "shop", "--scopes", "read", "--rate", "nan"): "from 0.01 to 1e+06",
        ("--name", "shop", "--scopes", "read", "--days", "-1"): "--days",
    }

    refused = {args: run("create", *args) for args in reasons}

    assert [args for args, end in refused.items() if end.exit_code != 2 or reasons[args] not in end.stderr] == []
    assert api_keys.list_keys(conn) == []


def test_says_in_a_line_that_the_schema_is_missing(run, fresh_database):
    refused = run("list", url=fresh_database)

    assert refused.exit_code == 1
    assert refused.stderr == "haulier: the database has no Haulier schema: run `python -m haulier migrate`\n"
