"""The story of docs/dashboard.md: a bad deployment fails thousands of jobs, and somebody sees and mends it. It ..."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect
from psycopg2.extensions import connection as Connection

from haulier.domain.job import NewJob
from haulier.postgres.connection import connect
from tests import queueing
from tests.browser.errors import BAD
from tests.browser.tab import Person, Tab, at, sign_in
from tests.conftest import PATIENCE, sql_on
from tests.web import ROOT, Server

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]

FAILURES = 20_000
# Of good jobs beside them, in a quarter of a second.
PER_QUARTER = 15


@pytest.fixture
def fixed(database: str, tmp_path: Path) -> Iterator[Path]:
    """Run a worker of the shop; give the file that says to it that the deployment was mended."""
    fixed = tmp_path / "fixed"
    given = {
        "DATABASE_URL": database,
        "HAULIER_KINDS": "tests.browser.shop",
        "SHOP_FIXED": str(fixed),
        "PYTHONPATH": str(ROOT),
        "WORKER_METRICS_PORT": "0",
        "PATH": os.environ["PATH"],
    }
    process = subprocess.Popen([sys.executable, "worker.py"], cwd=ROOT, env=given)
    yield fixed
    process.send_signal(signal.SIGTERM)
    process.wait(PATIENCE)


@contextmanager
def normal_load(dsn: str) -> Iterator[list[int]]:
    """Have good jobs come all the time. How many came, once it is over."""
    over, came = threading.Event(), [0]

    def run() -> None:
        with closing(connect(dsn)) as conn:
            while not over.wait(0.25):
                enqueue(conn, PER_QUARTER, is_new=False)
                came[0] += PER_QUARTER

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield came
    finally:
        over.set()
        thread.join()


def test_leads_from_a_bad_deployment_to_green(
    server: Server, tab: Tab, conn: Connection, database: str, fixed: Path, eventually: Callable[..., Any]
) -> None:
    page, person = tab.page, Person(tab.page)

    def ended() -> dict[str, int]:
        return dict(sql_on(conn)("SELECT status, count(*) FROM haulier.finished_job GROUP BY status"))

    with normal_load(database) as came:
        enqueue(conn, FAILURES, is_new=True)
        eventually(lambda: ended().get("failed_permanent") == FAILURES, 300)

        # Attention names it, as one incident with three errors.
        sign_in(page, server.url, conn)
        expect(page.locator(".notice", has_text="New error in")).to_have_count(1)
        expect(page.locator(".notice .lines li", has_text="New error in")).to_have_count(3)

        # Failures shows three groups.
        person.click(page.get_by_role("link", name="Failures").first)
        at(page, "/ui/failures")
        expect(page.locator("main tbody tr")).to_have_count(3)

        for kind in BAD:
            retry_group(person, kind, fixed)

        # Green.
        person.see_overview()
        expect(page.locator(".notice.good")).to_contain_text("Nothing needs attention.")
        assert came[0] > 0

    eventually(lambda: ended() == {"succeeded": FAILURES + came[0]})
    assert tab.said == []
    # At three seconds a click this is about a minute of two.
    assert person.clicks <= 24


def retry_group(person: Person, kind: str, fixed: Path) -> None:
    """From the overview, look at a group and at one of its jobs; mend what is wrong; have all of it tried again."""
    page = person.page
    person.see_overview()
    text = f"New error in {kind}"
    # The last one that is left may be a notice by itself.
    alone = page.locator(".notice:not(:has(.lines))", has_text=text)
    notice = page.locator(".notice .lines li", has_text=text).or_(alone)
    person.click(notice.get_by_role("link", name="Look"))
    expect(page.locator("h1")).to_have_text(f"{kind} fails")
    person.click(page.get_by_role("link", name="View job"))
    expect(page.locator("main")).to_contain_text("What happened")
    expect(page.locator("pre.json").first).to_contain_text('"is_new"')
    expect(page.locator("pre.error").first).to_contain_text(BAD[kind].partition(":")[0])

    fixed.touch()

    # The preview names the number, and so does what is pressed then.
    person.click(None)
    person.click(page.get_by_role("button", name=re.compile("^Retry [0-9,]+…")))
    expect(page.locator("main")).to_contain_text("by kind", ignore_case=True)
    person.click(page.get_by_role("button", name=re.compile("^Retry [0-9,]+$")))
    expect(page.get_by_role("button", name="Undo")).to_be_visible()
    expect(page.locator("progress")).to_be_visible()
    # It goes on by itself, and says how it ended.
    expect(page.locator("main")).to_contain_text("It has ended", timeout=120_000)
    expect(page.locator("main")).to_contain_text(re.compile("[0-9,]+ done"))


def enqueue(conn: Connection, jobs: int, *, is_new: bool) -> None:
    kinds = list(BAD)
    new = [
        NewJob(kinds[n % 3], {"order": n, "is_new": is_new}, max_attempts=1, queue=kinds[n % 3].partition("_")[0])
        for n in range(jobs)
    ]
    for place in range(0, jobs, 1000):
        queueing.enqueue(conn, new[place : place + 1000])
