"""While nobody counts (COUNTING=off): it ..."""

from __future__ import annotations

from datetime import timedelta

import pytest
from psycopg2.extensions import connection as Connection

from haulier.domain.api_key import Scope
from haulier.queue import claims
from tests.web.browsing import Browser, Element
from tests.web.conftest import MakeSite, SignedIn
from tests.web.jobs import claim, counted, enqueue
from tests.web.overviews import PLANTED, headlines, word


@pytest.fixture
def browser(make_site: MakeSite, signed_in: SignedIn, conn: Connection, sql) -> Browser:
    """Give a browser of an application with COUNTING=off, though somebody has counted before."""
    enqueue(conn, queue="mail", delay=timedelta(hours=1))
    enqueue(conn, queue="busy")
    claim(conn, "busy")
    claims.register(conn, host="dock", pid=7, threads=4, queues=(), lease_seconds=600)
    counted(conn)
    sql(PLANTED, "mail", "3 days", 3600, 88, 12)
    return signed_in(Scope.ADMIN, app=make_site(counting="off"))


def figures(page: Element) -> dict[str, str]:
    """Return the figures by what they are of."""
    found = page.one("dl", class_="figures")
    names, values = found.all("dt"), found.all("dd", class_="n")
    return dict(zip([each.text for each in names], [each.text for each in values], strict=True))


def test_says_so_on_the_overview_and_shows_no_old_figure(browser: Browser) -> None:
    page = browser.page("/ui")

    assert headlines(page) == ["Counting is off"]
    shown = figures(page)
    assert shown.pop("Running") != "–"
    assert set(shown.values()) == {"–"}
    assert page.all("svg", class_="swatch") == []
    assert "usually" not in page.text


def test_knows_no_figure_of_a_queue_or_kind(browser: Browser) -> None:
    queue, kind = browser.page("/ui/queues/mail"), browser.page("/ui/kinds/send_email")

    for path, name in (("/ui", "busy"), ("/ui/queues", "busy"), ("/ui/kinds", "send_email")):
        row = browser.page(path).named_rows()[name]
        assert {cell.text for cell in row.all("td", class_="num")} == {"–"}
    assert [word(browser.page("/ui/queues"), name) for name in ("busy", "mail")] == ["Not known"] * 2
    assert "Not known" in queue.all("div", class_="title")[0].text
    assert {*figures(queue).values(), *figures(kind).values()} == {"–"}


def test_names_jobs_that_nobody_takes_all_the_same(browser: Browser, sql) -> None:
    sql("UPDATE haulier.worker SET beat_at = now() - interval '1 hour'")
    sql("UPDATE haulier.job SET run_at = now() - interval '1 minute' WHERE queue = 'mail'")

    assert headlines(browser.page("/ui"))[0] == "Jobs are due, and no worker lives"
    assert word(browser.page("/ui/queues"), "mail") == "Unserved"


def test_calls_a_queue_without_jobs_idle_if_somebody_counts(signed_in: SignedIn, conn: Connection) -> None:
    counted(conn)

    page = signed_in(Scope.READ).page("/ui/queues/unused")

    assert "Idle" in page.all("div", class_="title")[0].text
