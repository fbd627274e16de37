"""What pages may cost in bytes, requests and statements; `make bench ONLY=dashboard` takes their times. It ..."""

from __future__ import annotations

import gzip
import html
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
from flask import Flask
from psycopg2.extensions import connection as Connection
from werkzeug.serving import make_server

from app.site import build
from app.web.kit.static_files import FOLDER
from haulier.config import Config
from haulier.postgres import statements
from haulier.postgres.sql_files import SQL
from haulier.queue.health.database_checks import THRESHOLDS
from lab.dashboard import HOME, Pages, crawl, sign_in, without_charts
from lab.servers import connect
from tests.browser.filled import fill
from tests.http.callers import SECRET
from tests.queue.schedules.schedules import plant
from tests.web import forms
from tests.web.browsing import Browser
from tests.web.jobs import counted, fail, in_all_states

PAGE_BYTES, FIRST_LOAD_BYTES = 60_000, 150_000
# Compressed: that is what rules and code cost, not how long their names are.
ZIPPED_BYTES = {".css": 8_000, ".js": 10_000}
JOBS = 400
# A hundred errors that have failed in every minute of the hour, and in every hour of a week.
FAIL = """
    INSERT INTO haulier.error_group (id, kind, text, example, example_job, example_queue, first_seen)
    SELECT n, 'deliver_hook', 'ConnectTimeout: ' || repeat('hooks.example.net did not answer; ', 4) || n, 'x',
        haulier.uuidv7(), 'hooks', now() - interval '8 days'
    FROM generate_series(1, 100) AS n;
    INSERT INTO haulier.error_count (error_id, minute, queue, source, failed, retried)
    SELECT n, date_trunc('minute', now()) - m * interval '1 minute', 'hooks', 0, 1 + mod(n * m, 7), mod(m, 3)
    FROM generate_series(1, 100) AS n, generate_series(0, 7 * 1440) AS m
    WHERE m < 60 OR mod(m, 60) = 0
"""


@dataclass
class Seen:
    """A dashboard that answers from this process, with all its pages."""

    app: Flask
    dsn: str
    url: str
    session: requests.Session
    pages: Pages

    def get(self, path: str) -> requests.Response:
        """Return the page, as the first gets it who looks."""
        self.app.extensions["haulier_shelf"].clear()
        return self.session.get(f"{self.url}{path}")


@pytest.fixture(scope="module")
def seen(_make_migrated_database: Callable[[], str]) -> Iterator[Seen]:
    dsn = _make_migrated_database()
    jobs = fill(dsn, JOBS)
    app = build(Config(database_url=dsn, host="0.0.0.0", haulier_api_key=SECRET))
    server = make_server("127.0.0.1", 0, app)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    url = f"http://127.0.0.1:{server.port}"
    with sign_in(url, SECRET) as session:
        yield Seen(app, dsn, url, session, crawl(url, session, [f"{HOME}/jobs/{job}" for job in jobs.values()]))
    server.shutdown()
    server.server_close()
    thread.join()
    app.extensions["haulier"].database.close()


def test_sends_no_page_that_is_larger_than_it_may_be(seen: Seen) -> None:
    plain = {path: len(without_charts(seen.get(path).text).encode()) for path in seen.pages.all}

    assert len(plain) > 20
    assert {path: byte_count for path, byte_count in plain.items() if byte_count > PAGE_BYTES} == {}


def test_has_a_style_for_all_that_charts_draw(seen: Seen) -> None:
    with closing(connect(seen.dsn)) as conn, conn.cursor() as cursor:
        cursor.execute("INSERT INTO haulier.deployment VALUES ('web', '0.9', now() - interval '1 hour')")
        cursor.execute("INSERT INTO haulier.deployment VALUES ('web', '1.0', now() - interval '10 minutes')")
    style = (FOLDER / "app.css").read_text()
    shapes = {
        name
        for path in seen.pages.all
        for found in re.findall(r'<(?:path|rect) class="([^"]+)"', seen.get(path).text)
        for name in found.split()
    }

    added = set(re.findall(r'className = "([a-z]+)"', (FOLDER / "app.js").read_text()))

    assert {"s-text", "s-running", "f-succeeded", "dash", "l", "now", "release"} <= shapes
    assert {"hair", "tip", "band", "picked"} <= added
    assert {name for name in shapes | added if not re.search(rf"\.{name}\b", style)} == set()


def test_needs_four_requests_for_a_first_page_and_little_for_each(seen: Seen) -> None:
    page = seen.get(HOME)
    files = re.findall(r'<(?:link rel="stylesheet" href|script src)="([^"]+)"', page.text)
    sizes, zipped = Counter[str](), Counter[str]()
    for file in files:
        answer = seen.session.get(f"{seen.url}{file}")
        assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"
        suffix = Path(file.partition("?")[0]).suffix
        sizes[suffix] += len(answer.content)
        zipped[suffix] += len(gzip.compress(answer.content))

    assert len(files) == 3
    assert {suffix: size for suffix, size in zipped.items() if size > ZIPPED_BYTES[suffix]} == {}
    assert sum(sizes.values()) + len(page.content) <= FIRST_LOAD_BYTES


def test_lists_a_hundred_errors_in_what_a_page_may_be_charts_and_all(seen: Seen) -> None:
    with closing(connect(seen.dsn)) as conn, conn.cursor() as cursor:
        cursor.execute(FAIL)

    path, sizes = f"{HOME}/failures?span=7d", list[int]()
    while path:
        page = seen.get(path)
        sizes.append(len(page.content))
        assert re.search(r"1\d\d groups", page.text)
        path = html.unescape(next(iter(re.findall(r'rel="next" href="([^"]+)"', page.text)), ""))

    assert 4 <= len(sizes) <= 5
    assert max(sizes) <= PAGE_BYTES


# Beside the one that finds the session.
MOST = 6
# The overview reads what changes slowly at most every 30 s; the checks of the database are one statement each or more,
# beside one of its tables.
MOST_OF_OVERVIEW, MOST_OF_CHECKS = 7, len(THRESHOLDS) + 4
BEGIN_AND_END = {"begin", "commit", "rollback"}
PAGES = [
    *(page.path for rule, page in forms.PAGES.items() if "{" not in page.path and rule not in ("/ui", "/ui/database")),
    "/ui/jobs?status=failed&limit=25",
    "/ui/jobs?queue=absent&kind=absent&status=queued",
    "/ui/jobs?status=running",
    "/ui/jobs?status=running&sort=started",
    "/ui/jobs?status=queued&status=retrying&queue=mail&sort=due",
    "/ui/queues/mail",
    "/ui/kinds?queue=mail",
    "/ui/kinds/send_email",
    "/ui/schedules/nightly",
]


class Sent(list[str]):
    """The names of the statements that were sent."""

    def of(self, browser: Browser, path: str) -> int:
        """Return how many the page sends beside the one that finds the session, with nothing kept of it."""
        shelf = browser.client.application.extensions["haulier_shelf"]
        for asked in [each for each in shelf._kept if each[0] not in ("longest running", "checks", *SLOW)]:
            del shelf._kept[asked]
        self.clear()
        browser.get(path)
        return len([each for each in self if each not in BEGIN_AND_END | {"find_session", "touch_key"}])


# As facts.py keeps them, the menu and the page of a queue.
SLOW = (
    *(
        "usual ends",
        "usual shares",
        "recently ended",
        "days",
        "overdue",
        "failing schedules",
        "skipping",
        "acknowledged",
    ),
    *("menu counts", "late queues", "producers", "kinds of queue", "deployments"),
)


@pytest.fixture
def sent(monkeypatch) -> Sent:
    names, found, execute = {text: name for name, text in SQL.items()}, Sent(), statements._execute

    def noted(conn: Any, statement: str, *args: Any, **kwargs: Any) -> Any:
        bare = statement.removeprefix(SQL["bounded"] + "\n").removeprefix(SQL["locks_bounded"] + "\n")
        found.append(names.get(bare, statement))
        return execute(conn, statement, *args, **kwargs)

    monkeypatch.setattr(statements, "_execute", noted)
    return found


def test_sends_few_statements_on_every_page(browser: Browser, conn: Connection, sql, sent: Sent) -> None:
    jobs = [f"/ui/jobs/{job}" for job in in_all_states(conn).values()]
    plant(sql, "nightly", every_seconds=3600)
    group = fail(conn, "Timeout: x", times=26)
    # Each would need somebody, if jobs of it are left.
    for word in ("Refused", "Broken", "Absent"):
        fail(conn, f"{word}: x", times=10)
    counted(conn)
    browser.page("/ui")
    browser.page("/ui/queues/mail")
    others = [*jobs, f"/ui/failures/{group}", f"/ui/keys/{browser.key.id}"]

    found = {path: (sent.of(browser, path), list(sent)) for path in [*PAGES, *others]}

    assert {path: names for path, (count, names) in found.items() if count > MOST} == {}
    assert sent.of(browser, "/ui") <= MOST_OF_OVERVIEW, list(sent)
    assert sent.of(browser, "/ui/database") <= MOST_OF_CHECKS, list(sent)
