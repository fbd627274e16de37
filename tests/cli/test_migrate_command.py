"""`python -m haulier migrate`, with DATABASE_DIRECT_URL: it ..."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from haulier.queue.upkeep.migrate import SCHEMA_VERSION

NOWHERE = "postgresql://u@127.0.0.1:1/x"


def run_migrate(package: str = "haulier", **settings: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", package, "migrate"],
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
    done = run_migrate("app", DATABASE_URL=direct(fresh_database))

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"applied schema version {SCHEMA_VERSION};")


def test_names_the_setting_that_cannot_be_read_and_quotes_nothing():
    unreadable = "postgres://u:sword%fish@127.0.0.1/x"
    direct = run_migrate(DATABASE_URL=NOWHERE, DATABASE_DIRECT_URL=unreadable)
    pooled = run_migrate(DATABASE_URL=unreadable)

    assert (direct.returncode, pooled.returncode) == (1, 1)
    assert direct.stderr == "haulier: DATABASE_DIRECT_URL cannot be read as a connection string\n"
    assert pooled.stderr == "haulier: DATABASE_URL cannot be read as a connection string\n"
