"""What pages may cost: bytes, requests, statements, and beside many jobs the time that they take. It ...

BUDGET_SCALE=1 takes the times beside 1 M live and 10 M finished jobs, which take minutes to make; by default it is a
hundredth of them.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
from flask import Flask
from werkzeug.serving import make_server

from app.site import build
from haulier.config import Config
from haulier.postgres import statements
from haulier.postgres.sql_files import SQL
from lab.bench.harness import Bench
from lab.bench.measures.dashboard import LIVE, Visitor, visiting
from lab.dashboard import HOME, Pages, crawl, sign_in
from lab.servers import Postgres
from tests.browser.filled import fill
from tests.http.callers import SECRET

SCALE = float(os.environ.get("BUDGET_SCALE", "0.01"))
READS = 20
PAGE_MILLISECONDS, POLL_MILLISECONDS = 150.0, 5.0
# Nothing of a job's page is kept for the next who looks: why it waits is to be true now.
ANEW_MILLISECONDS = {"ui.job.show": 15.0}
PAGE_BYTES, STYLE_BYTES, SCRIPT_BYTES, FIRST_LOAD_BYTES = 60_000, 24_000, 24_000, 150_000
# Beside the one of the session. What an overview is made of has its own time each, and of at most five new errors it is
# asked whether jobs are left; the checks of the database are made one by one, at most every 30 s.
STATEMENTS, MORE_STATEMENTS = 6, {"ui.overview.show": 15, "ui.database.show": 18}
JOBS = 400


@dataclass
class Seen:
    """A dashboard that answers from this process, with all its pages."""

    app: Flask
    url: str
    session: requests.Session
    pages: Pages

    def get(self, path: str) -> requests.Response:
        """Return the page, as the first gets it who looks."""
        self.app.extensions["haulier_shelf"].clear()
        return self.session.get(f"{self.url}{path}")


@pytest.fixture(scope="module")
def seen(_make_migrated_database: Callable[[], str]) -> Iterator[Seen]:
    """Give such a dashboard, with jobs in all states."""
    dsn = _make_migrated_database()
    jobs = fill(dsn, JOBS)
    app = build(Config(database_url=dsn, host="0.0.0.0", haulier_api_key=SECRET))
    server = make_server("127.0.0.1", 0, app)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    url = f"http://127.0.0.1:{server.port}"
    with sign_in(url, SECRET) as session:
        yield Seen(app, url, session, crawl(url, session, [f"{HOME}/jobs/{job}" for job in jobs.values()]))
    server.shutdown()
    server.server_close()
    thread.join()
    app.extensions["haulier"].database.close()


def test_sends_no_page_that_is_larger_than_it_may_be(seen: Seen) -> None:
    # Charts and their tables are counted apart.
    plain = {
        path: len(re.sub(r"(?s)<svg.*?</svg>|<details class=\"data\".*?</details>", "", seen.get(path).text).encode())
        for path in seen.pages.all
    }

    assert len(plain) > 20
    assert {path: byte_count for path, byte_count in plain.items() if byte_count > PAGE_BYTES} == {}


def test_reads_a_page_by_few_statements(seen: Seen, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[str] = []
    names = {text: name for name, text in SQL.items()}
    execute = statements._execute

    def noted(conn: Any, statement: Any, *given: Any, **options: Any) -> Any:
        sent.append(names.get(f"{statement}".removeprefix(f"{SQL['bounded']}\n"), f"{statement}"))
        return execute(conn, statement, *given, **options)

    monkeypatch.setattr(statements, "_execute", noted)
    many: dict[str, list[str]] = {}
    for endpoint, path in seen.pages.each:
        sent.clear()
        seen.get(path)
        read = [name for name in sent if name not in ("begin", "commit", "rollback", "find_session")]
        if len(read) > MORE_STATEMENTS.get(endpoint, STATEMENTS):
            many[path] = read

    assert sent
    assert many == {}


def test_needs_four_requests_for_a_first_page_and_little_for_each(seen: Seen) -> None:
    page = seen.get(HOME)
    files = re.findall(r'<(?:link rel="stylesheet" href|script src)="([^"]+)"', page.text)
    sizes = {Path(file.partition("?")[0]).suffix: 0 for file in files}
    for file in files:
        answer = seen.session.get(f"{seen.url}{file}")
        assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"
        sizes[Path(file.partition("?")[0]).suffix] += len(answer.content)

    assert len(files) == 3
    assert sizes[".css"] <= STYLE_BYTES
    assert sizes[".js"] <= SCRIPT_BYTES
    assert sum(sizes.values()) + len(page.content) <= FIRST_LOAD_BYTES


@pytest.fixture(scope="module")
def looked(postgres: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Visitor, Pages]]:
    """Give somebody at the dashboard of many jobs, and its pages."""
    with visiting(Bench(Postgres(postgres, None), tmp_path_factory.mktemp("bench"), SCALE)) as found:
        yield found


def high(taken: list[float]) -> float:
    """Return the 95th percentile; at a small scale the quickest quarter tells, on a machine that does much else."""
    return sorted(taken)[int(len(taken) * (0.95 if SCALE >= 1 else 0.25))]


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_makes_each_page_in_its_time_for_the_first_who_looks(looked: tuple[Visitor, Pages]) -> None:
    visitor, pages = looked
    slow = {}
    for path in pages.all:
        taken = []
        for _ in range(READS):
            visitor.forget()
            taken.append(visitor.get(path)[1])
        if high(taken) > PAGE_MILLISECONDS:
            slow[path] = high(taken)

    assert slow == {}
    # Whoever needs no key has none to look at.
    assert pages.unreached == [f"{HOME}/keys/<key_id>"]


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_answers_a_poll_with_nothing_new_at_once_and_without_a_body(looked: tuple[Visitor, Pages]) -> None:
    visitor, pages = looked
    slow, live = {}, 0
    for endpoint, path in pages.each:
        text = visitor.get(path)[0].text
        if "data-live-every" not in text:
            continue
        live += 1
        [seen] = re.findall(r'data-seen="(\w+)"', text)
        polls = [visitor.get(path, Haulier_Live=seen) for _ in range(READS)]
        same = [took for answer, took in polls if answer.status_code == 204]
        assert same, path
        if high(same) > ANEW_MILLISECONDS.get(endpoint, POLL_MILLISECONDS):
            slow[path] = high(same)

    assert slow == {}
    assert live > 3
    assert LIVE == "Haulier-Live"
