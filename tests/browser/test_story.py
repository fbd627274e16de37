"""The story of docs/dashboard.md: a bad deployment fails thousands of jobs, and somebody sees and mends it. It ..."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect
from psycopg2.extensions import connection as Connection

from haulier.domain.job import NewJob
from haulier.queue import produce
from tests.browser.errors import BAD
from tests.browser.hand import at, sign_in
from tests.browser.tab import Tab
from tests.conftest import sql_on
from tests.web import ROOT, Server

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]

FAILURES = 20_000


@pytest.fixture
def fixed(tmp_path: Path) -> Path:
    """Give the file that says that the deployment was mended."""
    return tmp_path / "fixed"


@pytest.fixture
def worker(database: str, fixed: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Give a worker of the shop."""
    given = {
        "DATABASE_URL": database,
        "HAULIER_KINDS": "tests.browser.shop",
        "SHOP_FIXED": str(fixed),
        "PYTHONPATH": str(ROOT),
        "WORKER_METRICS_PORT": "0",
        "PATH": os.environ["PATH"],
    }
    process = subprocess.Popen([sys.executable, "worker.py"], cwd=ROOT, env=given)
    yield process
    process.send_signal(signal.SIGTERM)
    process.wait(60)


def test_leads_from_a_bad_deployment_to_green(
    server: Server,
    tab: Tab,
    conn: Connection,
    worker: subprocess.Popen[bytes],
    fixed: Path,
    eventually: Callable[..., Any],
) -> None:
    page = tab.page
    enqueue(conn, FAILURES, is_new=False)
    enqueue(conn, FAILURES, is_new=True)
    eventually(lambda: not is_any_left(conn), 300)
    assert ended(conn) == [("failed_permanent", FAILURES), ("succeeded", FAILURES)]

    # Attention names it.
    sign_in(page, server.url, conn)
    notices = page.locator(".notice", has_text="fails with a new error")
    expect(notices).to_have_count(3)

    # Failures shows three groups.
    page.get_by_role("link", name="Failures").first.click()
    at(page, "/ui/failures")
    groups = page.locator("main tbody tr")
    expect(groups).to_have_count(3)

    for kind in BAD:
        retry_group(page, server, kind, fixed)

    # Green.
    eventually(lambda: not is_any_left(conn), 300)
    page.goto(f"{server.url}/ui")
    expect(page.locator(".notice.good")).to_contain_text("Nothing needs you.")
    assert tab.said == []
    assert ended(conn) == [("succeeded", 2 * FAILURES)]


def retry_group(page: Page, server: Server, kind: str, fixed: Path) -> None:
    """Look at a group and at one of its jobs; mend what is wrong; have all of the group tried again."""
    page.goto(f"{server.url}/ui/failures?span=1h&kind={kind}")
    page.locator("main tbody tr a.mono").click()
    expect(page.locator("h1")).to_have_text(f"{kind} fails")
    group = page.url
    page.get_by_role("link", name="Its job").click()
    expect(page.locator("main")).to_contain_text("What happened")
    expect(page.locator("pre.json").first).to_contain_text('"is_new"')
    expect(page.locator("pre.error").first).to_contain_text(BAD[kind].partition(":")[0])

    fixed.touch()

    # The preview names the number, and so does what is pressed then.
    page.goto(group)
    page.get_by_role("button", name=re.compile("^Retry [0-9,]+…")).click()
    expect(page.locator("main")).to_contain_text("by kind", ignore_case=True)
    page.get_by_role("button", name=re.compile("^Retry [0-9,]+$")).click()
    expect(page.get_by_role("button", name="Don’t")).to_be_visible()
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
        produce.enqueue(conn, new[place : place + 1000])


def is_any_left(conn: Connection) -> bool:
    """Tell whether a job has yet to end."""
    [[found]] = sql_on(conn)("SELECT EXISTS (SELECT FROM haulier.job)")
    return bool(found)


def ended(conn: Connection) -> list[tuple[str, int]]:
    """Return how many jobs have ended, and how."""
    return [*sql_on(conn)("SELECT status, count(*) FROM haulier.finished_job GROUP BY status ORDER BY status")]
