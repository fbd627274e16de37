"""`python -m haulier recount`: it ..."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from haulier.queue.numbers import counts
from tests.queue.upkeep.histories import Made, begin, count_all, in_numbers, in_tables, store


def recount(url: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "haulier", "recount"],
        cwd=Path(__file__).parents[2],
        env={"PATH": os.environ["PATH"], "DATABASE_URL": url},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.strip()


@pytest.mark.direct("a command goes past the pool")
def test_counts_what_was_missed_and_says_how_much(database, conn, monkeypatch):
    monkeypatch.setattr(counts, "LATE_SECONDS", -20.0)
    assert recount(database) == "nothing has been counted yet: no worker with COUNTING=on has run"
    count_all(conn, begin(conn))
    store(conn, [Made("default", "mail", "queued", 2000), Made("bulk", "mail", "queued", 20_000)])

    assert recount(database) == "counted again: 2 arrivals and 0 ends had been missed"

    assert in_numbers(conn) == in_tables(conn)
    assert recount(database) == "counted again: 0 arrivals and 0 ends had been missed"
