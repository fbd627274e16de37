"""For tests that drive a real Chromium, with no network but this machine."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import pytest
from playwright.sync_api import Browser, Page, sync_playwright
from psycopg2.extensions import parse_dsn

from tests.browser.filled import fill
from tests.browser.site import Site, open_site
from tests.browser.tab import WIDE, Tab
from tests.browser.words import FRIENDLY, HOSTILE, Words
from tests.conftest import copied
from tests.web import Server, gunicorn

FLAGS = (
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # Whatever is not on this machine has no address.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)
JOBS = 100_000

MakeTab = Callable[..., Tab]
MakeSite = Callable[..., Any]


@pytest.fixture
def server(database: str, eventually: Callable[..., Any]) -> Iterator[Server]:
    """Give a gunicorn in the test's database."""
    with gunicorn(database, eventually) as server:
        yield server


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """Give Debian's Chromium. Each test has contexts of its own in it, which share nothing."""
    path = shutil.which("chromium")
    if not path:
        pytest.fail("needs chromium: `make test-browser` installs it on Debian")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def make_tab(chromium: Browser) -> Iterator[MakeTab]:
    """Give a function that opens a tab without any cookie; it takes the options of Playwright's contexts."""
    made: list[Tab] = []

    def make(**options: Any) -> Tab:
        made.append(Tab(chromium.new_context(viewport=options.pop("viewport", WIDE), **options)))
        return made[-1]

    yield make
    for tab in made:
        tab.context.close()


@pytest.fixture
def tab(make_tab: MakeTab) -> Tab:
    """Give such a tab."""
    return make_tab()


@pytest.fixture
def page(tab: Tab) -> Page:
    """Give the page in it."""
    return tab.page


@pytest.fixture(scope="session")
def _make_filled(
    postgres: str, pooled: Callable[[str], str], _make_migrated_database: Callable[[], str]
) -> Callable[[int, Words], tuple[str, Mapping[str, UUID]]]:
    templates: dict[tuple[int, str], tuple[str, Mapping[str, UUID]]] = {}

    def make(jobs: int, words: Words) -> tuple[str, Mapping[str, UUID]]:
        """Return the DSN of a database of so many jobs, and one in each state. It takes a minute once, then seconds."""
        if (jobs, words.name) not in templates:
            dsn = _make_migrated_database()
            templates[jobs, words.name] = dsn, fill(dsn, jobs, words) if jobs else {}
        template, ids = templates[jobs, words.name]
        if os.environ.get("DATABASE_URL"):  # where it would have to be dropped
            del templates[jobs, words.name]
            return template, ids
        return pooled(copied(postgres, parse_dsn(template)["dbname"])), ids

    return make


@pytest.fixture(scope="session")
def make_site(
    _make_filled: Callable[[int, Words], tuple[str, Mapping[str, UUID]]],
    _drop_database: Callable[[str], None],
    eventually: Callable[..., Any],
) -> MakeSite:
    """Give a context manager: a dashboard in a database of its own, which was filled so; it takes settings."""

    @contextmanager
    def make(jobs: int, words: Words = FRIENDLY, **settings: Any) -> Iterator[Site]:
        dsn, ids = _make_filled(jobs, words)
        with gunicorn(dsn, eventually, INSTALLATION_NAME="shop", **settings) as server:
            yield open_site(
                server, dsn, ids, words.name, [] if words is FRIENDLY else [text[:200] for text in words.texts]
            )
        _drop_database(dsn)

    return make


@pytest.fixture(scope="session")
def filled(make_site: MakeSite) -> Iterator[Site]:
    """Give a dashboard of many jobs in all states, for tests that change none."""
    with make_site(JOBS) as site:
        yield site


@pytest.fixture(scope="session")
def hostile(make_site: MakeSite) -> Iterator[Site]:
    """Give a dashboard of what others have written in order to break it."""
    with make_site(400, HOSTILE) as site:
        yield site


@pytest.fixture(scope="session")
def empty(make_site: MakeSite) -> Iterator[Site]:
    """Give a dashboard on which there is nothing yet."""
    with make_site(0) as site:
        yield site
