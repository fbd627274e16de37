"""A dashboard that runs, with all its pages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from uuid import UUID

from haulier.domain.api_key import Scope
from haulier.postgres.connection import connect
from haulier.queue.access import api_keys
from haulier.queue.access.api_keys import NewKey
from lab.dashboard import Pages, crawl, sign_in
from tests.web import Server
from tests.web.browsing import faults, read


@dataclass(frozen=True)
class Site:
    """A dashboard, with the cookies of a session that may do everything. Shape: invalid are faults of its HTML."""

    server: Server
    cookies: Mapping[str, str]
    jobs: Mapping[str, UUID]
    found: Pages
    invalid: list[tuple[str, object]] = field(default_factory=list)

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
        """Return one path of each page."""
        return self.found.firsts


def open_site(server: Server, dsn: str, jobs: Mapping[str, UUID], name: str) -> Site:
    """Return the site with all its pages, by a new key of this name."""
    with closing(connect(dsn)) as conn:
        _, token = api_keys.create(conn, NewKey(name[:100], [Scope.ADMIN]), actor=name)
    invalid: list[tuple[str, object]] = []
    with sign_in(server.url, token) as session:
        seeds = [f"/ui/jobs/{job}" for job in jobs.values()]
        found = crawl(
            server.url, session, seeds, lambda path, text: invalid.extend((path, each) for each in _faults_of(text))
        )
        return Site(server, session.cookies.get_dict(), jobs, found, invalid)


def _faults_of(text: str) -> Iterable[object]:
    try:
        return faults(read(text))
    except AssertionError as error:
        return [error]
