"""For tests that drive a real Chromium, with no network but this machine."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

import pytest
from playwright.sync_api import Browser, Page, sync_playwright
from psycopg2.extensions import parse_dsn

from haulier.domain.api_key import Scope
from haulier.postgres.connection import connect
from haulier.queue.access import api_keys
from haulier.queue.access.api_keys import NewKey
from lab.dashboard import HOME, Pages, crawl, sign_in
from tests.browser.filled import FRIENDLY, HOSTILE, Words, fill
from tests.browser.tab import WIDE, Tab
from tests.conftest import copied, sql_on
from tests.mounted import shop
from tests.web import Server, gunicorn
from tests.web.browsing import faults, read
from tests.web.forms import CELLS

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
    return make_tab()


@pytest.fixture
def page(tab: Tab) -> Page:
    return tab.page


@pytest.fixture(scope="session")
def make_site(
    postgres: str,
    pooled: Callable[[str], str],
    _make_migrated_database: Callable[[], str],
    _drop_database: Callable[[str], None],
    tmp_path_factory: pytest.TempPathFactory,
    eventually: Callable[..., Any],
) -> MakeSite:
    """Give a context manager: a dashboard in a database of its own, with so many jobs; it takes settings.

    With a framework, it is mounted in a shop. To fill one takes a minute once, and then seconds.
    """
    templates: dict[tuple[int, str], tuple[str, Mapping[str, UUID]]] = {}

    @contextmanager
    def make(jobs: int, words: Words = FRIENDLY, *, framework: str = "", **settings: Any) -> Iterator[Site]:
        if (jobs, words.name) not in templates:
            dsn = _make_migrated_database()
            templates[jobs, words.name] = dsn, fill(dsn, jobs, words) if jobs else {}
        dsn, ids = templates[jobs, words.name]
        if os.environ.get("DATABASE_URL"):  # where it would have to be dropped
            del templates[jobs, words.name]
        else:
            dsn = pooled(copied(postgres, parse_dsn(dsn)["dbname"]))
        typed = [] if words is FRIENDLY else [text[:200] for text in words.texts]
        folder = tmp_path_factory.mktemp(framework or "none")
        serve = partial(shop, framework, folder) if framework else gunicorn
        with serve(dsn, eventually, INSTALLATION_NAME="shop", CELLS_FILE=CELLS, **settings) as server:
            yield open_site(server, dsn, ids, words.name, typed)
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


@dataclass(frozen=True)
class Site:
    """A dashboard, with the cookies of a session that may do everything.

    `invalid` are faults of its HTML; states are the pages of a job in each state, and of an operation in each.
    """

    server: Server
    dsn: str
    cookies: Mapping[str, str]
    jobs: Mapping[str, UUID]
    found: Pages
    invalid: list[tuple[str, object]] = field(default_factory=list)
    states: Sequence[str] = ()

    @property
    def url(self) -> str:
        return self.server.url

    @property
    def pages(self) -> list[str]:
        return self.found.all

    @property
    def firsts(self) -> list[str]:
        """Return one path of each page, of a job in each state, and of an operation in each."""
        return list(dict.fromkeys([*self.found.firsts, *self.states]))


def open_site(server: Server, dsn: str, jobs: Mapping[str, UUID], name: str, asked: Sequence[str] = ()) -> Site:
    """Return the site with all its pages, by a new key of this name. `asked` is what people look for."""
    with closing(connect(dsn)) as conn:
        _, token = api_keys.create(conn, NewKey(name[:100], [Scope.ADMIN]), actor=name)
        operations = sql_on(conn)("SELECT DISTINCT ON (status) id FROM haulier.operation ORDER BY status, id")
    states = [f"{HOME}/jobs/{job}" for job in jobs.values()] + [f"{HOME}/operations/{each}" for (each,) in operations]
    invalid: list[tuple[str, object]] = []
    with sign_in(server.url, token) as session:
        seeds = [*states, f"{HOME}/jobs?status=failed&unread=quue:mail"]
        for text in asked:
            seeds.append(f"{HOME}/search?{urlencode({'q': text})}")
            seeds.append(f"{HOME}/jobs?{urlencode(dict.fromkeys(('kind', 'tag', 'status', 'payload.a'), text))}")
        found = crawl(
            server.url, session, seeds, lambda path, text: invalid.extend((path, each) for each in _faults_of(text))
        )
        return Site(server, dsn, session.cookies.get_dict(), jobs, found, invalid, states)


def _faults_of(text: str) -> Iterable[object]:
    try:
        return faults(read(text))
    except AssertionError as error:
        return [error]
