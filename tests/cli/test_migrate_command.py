"""`python -m haulier migrate`, with DATABASE_DIRECT_URL: it ..."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from contextlib import closing
from pathlib import Path

from haulier.postgres.connection import connect
from haulier.queue.upkeep.steps import SCHEMA_VERSION, steps_from
from tests.conftest import sql_on
from tests.queue.upkeep.published import publish

NOWHERE = "postgresql://u@127.0.0.1:1/x"


def run_migrate(*options: str, package: str = "haulier", **settings: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", package, "migrate", *options],
        cwd=Path(__file__).parents[2],
        env={"PATH": os.environ["PATH"], **settings},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_goes_past_the_pool(fresh_database, direct):
    done = run_migrate(DATABASE_URL=NOWHERE, DATABASE_DIRECT_URL=direct(fresh_database))

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"applied schema version {SCHEMA_VERSION};")


def test_is_there_under_the_name_of_the_application_too(fresh_database, direct):
    done = run_migrate(package="app", DATABASE_URL=direct(fresh_database))

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"applied schema version {SCHEMA_VERSION};")


def test_says_what_it_would_do_does_it_and_has_nothing_to_do(fresh_database, direct):
    before = run_migrate("--plan", DATABASE_URL=direct(fresh_database))
    again = run_migrate("--plan", DATABASE_URL=direct(fresh_database))
    run_migrate(DATABASE_URL=direct(fresh_database))
    after = run_migrate("--plan", DATABASE_URL=direct(fresh_database))

    assert [(each.returncode, each.stderr) for each in (before, again, after)] == [(0, "")] * 3
    assert before.stdout.startswith("found no Haulier schema\nwould run schema.sql: ")
    assert again.stdout == before.stdout
    assert after.stdout == (
        f"found schema version {SCHEMA_VERSION}; this program has {SCHEMA_VERSION}\nnothing to do\n"
    )


def test_names_each_step_from_an_old_version_and_what_it_locks(fresh_database, direct):
    with closing(connect(fresh_database)) as conn:
        publish(conn, 2)

    done = run_migrate("--plan", DATABASE_URL=direct(fresh_database))

    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0] == f"found schema version 2; this program has {SCHEMA_VERSION}"
    steps = [re.match(r"would run (\S+): ", line) for line in lines]
    assert [found[1] for found in steps if found] == [step.name for step in steps_from(2)]
    assert "    locks job: SHARE UPDATE EXCLUSIVE, while it is read once: everything goes on" in lines
    assert len([line for line in lines if line.startswith("would make the history partition finished_job_")]) == 8


def test_says_who_is_in_the_way_in_a_line(fresh_database, direct):
    with closing(connect(direct(fresh_database))) as conn, closing(connect(direct(fresh_database))) as reader:
        publish(conn, 6)
        sql_on(reader)("BEGIN; SELECT FROM haulier.worker")
        pid = reader.info.backend_pid

        done = run_migrate(DATABASE_URL=direct(fresh_database))

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"haulier: 007_functions_of_the_owner.sql did not get a lock in time: process {pid} has used haulier.worker"
        " for longest. What came before it stays done: run `python -m haulier migrate` again\n"
    )


def test_names_the_setting_that_cannot_be_read_and_quotes_nothing():
    unreadable = "postgres://u:sword%fish@127.0.0.1/x"
    direct = run_migrate(DATABASE_URL=NOWHERE, DATABASE_DIRECT_URL=unreadable)
    pooled = run_migrate(DATABASE_URL=unreadable)

    assert (direct.returncode, pooled.returncode) == (1, 1)
    assert direct.stderr == "haulier: DATABASE_DIRECT_URL cannot be read as a connection string\n"
    assert pooled.stderr == "haulier: DATABASE_URL cannot be read as a connection string\n"
