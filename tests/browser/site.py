"""A dashboard that runs, with all its pages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from urllib.parse import urlencode
from uuid import UUID

from haulier.domain.api_key import Scope
from haulier.postgres.connection import connect
from haulier.queue.access import api_keys
from haulier.queue.access.api_keys import NewKey
from lab.dashboard import HOME, Pages, crawl, sign_in
from tests.conftest import sql_on
from tests.web import Server
from tests.web.browsing import faults, read


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
        """Return where it is."""
        return self.server.url

    @property
    def pages(self) -> list[str]:
        """Return the path of every page."""
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
        seeds = [*states]
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
