"""The figures, charts and tables of the overview: it ..."""

from __future__ import annotations

import re
from typing import Any

from psycopg2.extensions import connection as Connection

from haulier.domain.api_key import Scope
from tests.conftest import eventually
from tests.web.browsing import Browser, Element, SignedIn, check_each
from tests.web.jobs import claim, counted, enqueue, fail
from tests.web.overview import fresh


def figure(page: Element, name: str) -> str:
    [found] = [each.all("dd") for each in page.all("div") if each.all("dt") and each.all("dt")[0].text == name]
    return " ".join(each.text for each in found)


def due(page: Element) -> str:
    return page.one("dl", class_="figures").all("dd", class_="n")[0].text


def test_has_the_figures_and_charts_of_the_queue_and_kind_in_the_url(
    browser: Browser, signed_in: SignedIn, conn: Connection, sql
) -> None:
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
    own = signed_in(Scope.READ, queues=["mail"])

    def shown(query: str) -> tuple[str, list[str], bool]:
        page = browser.page(f"/ui?{query}")
        charts = [
            each.all("h2")[0].text for each in page.all("section", class_="card") if each.all("div", class_="chart")
        ]
        filters = [each.attrs["href"] for each in page.all("a", class_="chip")]
        tab = page.one("nav", class_="tabs").all("a")[0].attrs["href"]
        assert [each for each in query.split("&") if each not in tab and not each.startswith("span")] == []
        assert ("thread" in page.one("dl", class_="figures").text) is not bool(filters)
        # What needs attention is of every queue all the same.
        assert "are due in queues mail, salmon" in page.text
        assert "Throughput" in charts
        return due(page), filters, "Failed attempts" in charts

    check_each(
        shown,
        ("", ("4", [], True)),
        ("queue=mail", ("2", ["/ui?span=1h"], False)),
        ("queue=trout", ("0", ["/ui?span=1h"], True)),
        ("kind=swim&span=6h", ("3", ["/ui?span=6h"], False)),
        ("queue=mail&kind=swim", ("1", ["/ui?span=1h&kind=swim", "/ui?span=1h&queue=mail"], False)),
    )
    assert [own.get(f"/ui?{query}").status_code for query in ("queue=salmon", "queue=No", "kind=No")] == [404] * 3
    assert due(own.page("/ui?kind=swim")) == "1"


def test_draws_the_attempts_that_fail_and_are_retried(
    browser: Browser, signed_in: SignedIn, conn: Connection, sql
) -> None:
    fail(conn, "flaky", queue="mail", times=3, delay=60.0)
    fail(conn, "broken", queue="salmon")
    sql("UPDATE haulier.error_count SET minute = minute - interval '10 minutes'")
    counted(conn)

    def attempts(page: Element) -> list[Any]:
        """Return the legend of the chart, and the sums of its columns."""
        [card] = [
            each for each in page.all("section") if [title.text for title in each.all("h2")] == ["Failed attempts"]
        ]
        cells = [[int(cell.text) for cell in row.all("td")] for row in card.all("tr")[1:]]
        return [*(each.text for each in card.all("li")), *map(sum, zip(*cells, strict=True))]

    page, own = browser.page("/ui"), signed_in(Scope.READ, queues=["salmon"]).page("/ui")

    assert attempts(page) == ["Failed 0", "Retried 0", 1, 3]
    assert attempts(own) == ["Failed 0", "Retried 0", 1, 0]
    assert "Attempts: 1 failed, 3 retried." in str([each.attrs for each in page.all("div")])


ENDED = """
    INSERT INTO haulier.rollup (step, at, queue, kind, succeeded, failed)
    SELECT 3600, date_bin('1 hour', through, 'epoch') - make_interval(days => %s), %s, 'send_email', %s, %s
    FROM haulier.counting
"""


def test_says_which_share_usually_fails_of_the_queues_that_one_sees(
    browser: Browser, signed_in: SignedIn, conn: Connection, sql
) -> None:
    counted(conn)
    none = figure(browser.page("/ui"), "Failed")
    for days, queue, succeeded, failed in ((3, "mail", 991, 9), (3, "salmon", 0, 1000), (8, "mail", 0, 5000)):
        sql(ENDED, days, queue, succeeded, failed)
    browser.forget()
    own = signed_in(Scope.READ, queues=["mail"])

    shares = [figure(each.page("/ui?span=24h"), "Failed") for each in (browser, own)]

    assert none == "0 – 0 cancelled"
    assert shares == ["0 – usually 50 % , 0 cancelled", "0 – usually 0.9 % , 0 cancelled"]
    # There it is the share of the span itself.
    assert figure(own.page("/ui?span=7d"), "Failed") == "9 0.9 % 0 cancelled"


def test_says_how_long_the_longest_has_run_of_the_queues_that_one_sees(
    browser: Browser, signed_in: SignedIn, conn: Connection, sql
) -> None:
    idle = figure(browser.page("/ui"), "Running")
    for queue, seconds in (("salmon", 250), ("mail", 40), ("mail", 30)):
        enqueue(conn, queue=queue)
        _, [fence] = claim(conn, queue)
        ago = "UPDATE haulier.job SET started_at = now() - make_interval(secs => %s) WHERE id = %s"
        sql(ago, seconds, str(fence.id))
    counted(conn)
    browser.forget()

    all_, own = (figure(each.page("/ui"), "Running") for each in (browser, signed_in(Scope.READ, queues=["mail"])))

    assert idle == "– 0 workers"
    assert all_ == "3 of 12 threads 3 workers, longest 4 min"
    assert re.fullmatch(r"2 of 8 threads 2 workers, longest 4\d s", own)


def test_is_the_same_page_while_only_time_passes(browser: Browser, conn: Connection) -> None:
    enqueue(conn)
    claim(conn)
    counted(conn)

    def running() -> str:
        browser.forget()
        return figure(browser.page("/ui"), "Running")

    before, seen = running(), browser.seen("/ui")
    eventually(lambda: running() != before)
    browser.forget()

    assert "longest" in before
    assert browser.poll("/ui", seen) == 204
