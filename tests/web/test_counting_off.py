"""Where nobody counts: it ..."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from psycopg2.extensions import connection as Connection

from haulier.domain.api_key import Scope
from haulier.queue import consume
from tests.web.browsing import Browser, Element
from tests.web.conftest import MakeSite, SignedIn
from tests.web.jobs import claim, counted, enqueue
from tests.web.overviews import PLANTED, told, word


@pytest.fixture
def browser(make_site: MakeSite, signed_in: SignedIn, conn: Connection) -> Browser:
    """Give a browser of an application that was told that nobody counts, though somebody has before."""
    enqueue(conn, queue="mail", delay=timedelta(hours=1))
    enqueue(conn, queue="busy")
    claim(conn, "busy")
    consume.register(conn, host="dock", pid=7, threads=4, queues=(), lease_seconds=600)
    counted(conn)
    return signed_in(Scope.ADMIN, app=make_site(counting="off"))


def figures(page: Element) -> dict[str, str]:
    """Return the figures by what they are of."""
    [found] = page.all("dl", class_="figures")
    return dict(
        zip([each.text for each in found.all("dt")], [each.text for each in found.all("dd", class_="n")], strict=True)
    )


def test_says_so_and_not_that_nothing_needs_anybody(browser: Browser) -> None:
    page = browser.page("/ui")

    assert told(page) == ["Counting is off"]
    assert {name: text for name, text in figures(page).items() if name != "Running"} == {
        "Waiting and due": "–",
        "Oldest due": "–",
        "Succeeded": "–",
        "Failed for good": "–",
    }
    assert page.all("svg", class_="swatch") == []


def test_says_of_no_share_that_it_is_usual(browser: Browser, sql: Any) -> None:
    sql("UPDATE haulier.counting SET through = now()")
    sql(PLANTED, "mail", "3 days", 3600, 88, 12)

    assert "usually" not in browser.page("/ui").text


@pytest.mark.parametrize("path", ["/ui", "/ui/queues"])
def test_knows_of_no_queue_how_it_is(browser: Browser, path: str) -> None:
    page = browser.page(path)

    assert [word(page, name) for name in ("busy", "mail")] == ["Not known"] * 2
    [row] = [row for row in page.all("tr") if row.all("th")[0].text == "busy"]
    assert {cell.text for cell in row.all("td", class_="num")} == {"–"}


def test_knows_no_figure_of_one_queue_or_kind(browser: Browser) -> None:
    queue, kinds, kind = (browser.page(path) for path in ("/ui/queues/mail", "/ui/kinds", "/ui/kinds/send_email"))

    assert set(figures(queue).values()) == {"–"}
    assert "Not known" in queue.all("div", class_="title")[0].text
    [row] = [row for row in kinds.all("tr") if row.all("th")[0].text == "send_email"]
    assert {cell.text for cell in row.all("td", class_="num")} == {"–"}
    assert set(figures(kind).values()) == {"–"}


def test_names_what_nobody_takes_all_the_same(browser: Browser, sql: Any) -> None:
    sql("UPDATE haulier.worker SET beat_at = now() - interval '1 hour'")
    sql("UPDATE haulier.job SET run_at = now() - interval '1 minute' WHERE queue = 'mail'")

    assert told(browser.page("/ui"))[0] == "Jobs are due, and no worker lives"
    assert word(browser.page("/ui/queues"), "mail") == "Unserved"


def test_calls_a_queue_without_jobs_idle_where_somebody_counts(signed_in: SignedIn, conn: Connection) -> None:
    counted(conn)

    page = signed_in(Scope.READ).page("/ui/queues/unused")

    assert "Idle" in page.all("div", class_="title")[0].text
