"""Pages while the database is away, and after that: it ..."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest
from psycopg2.extensions import connection as Connection

from haulier.config import Config
from haulier.domain.api_key import Scope
from lab.proxy import Proxy
from tests.web.browsing import Browser, form, read
from tests.web.conftest import MakeSite, SignedIn
from tests.web.jobs import enqueue


@pytest.fixture
def proxy(config: Config) -> Iterator[Proxy]:
    """Give a way to the database that can be cut."""
    with closing(Proxy(config.database_url)) as proxy:
        proxy.start()
        yield proxy


@pytest.fixture
def behind(proxy: Proxy, make_site: MakeSite, signed_in: SignedIn) -> Browser:
    """Give a browser that is signed in to an application behind it."""
    return signed_in(Scope.ADMIN, app=make_site(database_url=proxy.url))


def test_says_so_and_is_back_by_itself(behind: Browser, proxy: Proxy) -> None:
    paths = ("/ui", "/ui/jobs", "/ui/failures", "/ui/database", "/ui/help")
    for path in paths:
        behind.page(path)

    proxy.go_away()
    answers = {path: (behind.get(path), behind.get(path, Haulier_Live="x")) for path in paths}
    proxy.come_back()

    for path, (away, poll) in answers.items():
        page = read(away.text)
        assert (away.status_code, away.headers["Retry-After"]) == (503, "5"), path
        assert '<meta http-equiv="refresh" content="5">' in away.text
        assert page.one("h1").text == "Not available just now"
        assert "database" in page.one("main").text
        assert (poll.status_code, poll.text) == (503, "")
        # In the same session.
        assert behind.page(path).all("h1")


def test_sends_no_form_again_by_itself(behind: Browser, proxy: Proxy, conn: Connection, sql) -> None:
    job = enqueue(conn)
    page = behind.page(f"/ui/jobs/{job}")

    proxy.go_away()
    refused = behind.post(f"/ui/jobs/{job}/cancel", **form(page, f"/ui/jobs/{job}/cancel"))
    proxy.come_back()

    assert refused.status_code == 503
    assert "http-equiv" not in refused.text
    assert sql("SELECT status FROM haulier.jobs") == [("queued",)]
    assert behind.post(f"/ui/jobs/{job}/cancel", **form(page, f"/ui/jobs/{job}/cancel")).status_code == 303


def test_lets_nobody_sign_in_and_says_why(proxy: Proxy, make_site: MakeSite) -> None:
    stranger = Browser(make_site(database_url=proxy.url))
    page = stranger.page("/ui/sign-in")

    proxy.go_away()
    refused = stranger.send(page, "/ui/sign-in", key="hlr_0123456789ab_" + "x" * 43)

    assert refused.status_code == 503
    assert read(refused.text).all("h1")[0].text == "Not available just now"
