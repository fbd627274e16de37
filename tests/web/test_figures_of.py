"""The overview's figures and charts of one queue or kind: it ..."""

from __future__ import annotations

from typing import Any

import pytest
from psycopg2.extensions import connection as Connection

from haulier.domain.api_key import Scope
from tests.web.browsing import Browser, Element
from tests.web.conftest import SignedIn
from tests.web.jobs import claim, counted, enqueue, fail
from tests.web.overviews import fresh


@pytest.fixture
def _jobs(conn: Connection, sql: Any) -> None:
    for queue, kind in (("mail", "send_email"), ("mail", "swim"), ("salmon", "swim"), ("salmon", "swim")):
        enqueue(conn, queue=queue, kind=kind)
    fail(conn, "flaky", queue="trout", delay=600.0)
    claim(conn, "elsewhere")
    sql("UPDATE haulier.error_count SET minute = minute - interval '10 minutes'")
    counted(conn)
    fresh(sql)
    sql(
        "INSERT INTO haulier.rollup (queue, at, step, kind, succeeded)"
        " SELECT queue, now() - interval '9 minutes', 60, kind, count(*) FROM haulier.job GROUP BY queue, kind"
    )


def due(page: Element) -> str:
    """Return how many jobs are said to be due."""
    return page.all("dl", class_="figures")[0].all("dd", class_="n")[0].text


def titles(page: Element) -> list[str]:
    return [each.all("h2")[0].text for each in page.all("section", class_="card") if each.all("div", class_="chart")]


@pytest.mark.usefixtures("_jobs")
@pytest.mark.parametrize(
    ("query", "jobs", "filters", "has_attempts"),
    [
        ("", "4", [], True),
        ("queue=mail", "2", ["/ui?span=1h"], False),
        ("queue=trout", "0", ["/ui?span=1h"], True),
        ("kind=swim&span=6h", "3", ["/ui?span=6h"], False),
        ("queue=mail&kind=swim", "1", ["/ui?span=1h&kind=swim", "/ui?span=1h&queue=mail"], False),
    ],
)
def test_has_the_figures_and_charts_of_what_the_url_says(
    browser: Browser, query: str, jobs: str, filters: list[str], has_attempts: bool
) -> None:
    page = browser.page(f"/ui?{query}")

    assert due(page) == jobs
    assert [each.given["href"] for each in page.all("a", class_="chip")] == filters
    assert ("Failed attempts" in titles(page)) is has_attempts
    assert "Throughput" in titles(page)
    assert ("thread" in page.all("dl", class_="figures")[0].text) is not filters
    [tabs] = page.all("nav", class_="tabs")
    assert all(each in tabs.all("a")[0].given["href"] for each in query.split("&") if not each.startswith("span"))
    # What needs somebody is told of every queue all the same.
    assert "No live worker serves the queues mail, salmon" in page.text


@pytest.mark.usefixtures("_jobs")
def test_has_none_of_a_queue_that_the_viewer_may_not_see(signed_in: SignedIn) -> None:
    own = signed_in(Scope.READ, queues=["mail"])

    assert [own.get(f"/ui?{query}").status_code for query in ("queue=salmon", "queue=No", "kind=No")] == [404] * 3
    assert due(own.page("/ui?kind=swim")) == "1"
