"""Charts, from the time that somebody selects to its jobs: it ..."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from psycopg2.extensions import connection as Connection

from haulier.domain.api_key import Scope
from tests.web.browsing import Browser, Element, SignedIn, read
from tests.web.jobs import counted, enqueue, fail
from tests.web.overview import fresh

PLANTED = """
    INSERT INTO haulier.rollup (queue, at, step, kind, succeeded, due)
    VALUES ('mail', now() - interval '9 minutes', 60, 'send_email', 3, 3)
"""


def table_of(page: Element, title: str) -> Element:
    """Return the numbers of the chart with this title, which leads to jobs."""
    [card] = [each for each in page.all("section") if [found.text for found in each.all("h2")] == [title]]
    [table] = [each for each in card.all("table") if "data-begins" in each.attrs]
    return table


def last_minutes(table: Element) -> list[str]:
    """Return the links of the last two rows: a minute may end before the page is made."""
    return [row.all("a")[0].attrs["href"] for row in table.all("tr")[-2:]]


def test_leads_from_each_time_of_a_chart_to_its_jobs(
    browser: Browser, signed_in: SignedIn, conn: Connection, sql: Any
) -> None:
    group = fail(conn, "Timeout: x", queue="mail")
    waits = str(enqueue(conn, queue="mail"))
    fail(conn, "Timeout: y", queue="salmon")
    [(failed,)] = sql("SELECT id::text FROM haulier.finished_job WHERE queue = 'mail'")
    # It was created long before it failed.
    sql("UPDATE haulier.finished_job SET created_at = created_at - interval '1 hour' WHERE queue = 'mail'")
    counted(conn)
    fresh(sql)
    sql(PLANTED)
    own = signed_in(Scope.READ, queues=["salmon"])

    def jobs(links: list[str], by: Browser = browser) -> set[str]:
        return {job for link in links for job in by.page(link).rows()}

    page = browser.page("/ui?queue=mail")
    ends, comes = (table_of(page, title) for title in ("Throughput", "Backlog"))
    attempts, one = table_of(page, "Failed attempts"), browser.page(f"/ui/failures/{group}?span=1h")

    assert jobs(last_minutes(ends)) == jobs(last_minutes(attempts)) == {failed}
    assert jobs(last_minutes(table_of(one, "Failed attempts"))) == {failed}
    assert jobs(last_minutes(comes)) == {waits}
    assert jobs([ends.all("a")[0].attrs["href"]]) == set()
    assert jobs(last_minutes(ends), own) == set()
    # A selection leads to the list of a series, of both minutes at once.
    series = {each.text: each.attrs["data-jobs"] for each in ends.all("th") if "data-jobs" in each.attrs}
    [first, last] = [re.findall("=([^&]+Z)", link) for link in last_minutes(ends)]
    of_both = {
        name: link.replace("=FROM", f"={first[0]}").replace("=TO", f"={last[1]}") for name, link in series.items()
    }
    assert {name: jobs([link]) for name, link in of_both.items()} == {
        "Time": {failed},
        "Succeeded": set(),
        "Failed": {failed},
        "Cancelled": set(),
        "Enqueued": {waits},
    }
    # It says the time as clocks show it; and all that match can be acted on.
    [after] = [each.text for each in browser.page(of_both["Failed"]).all("a") if each.text.startswith("ended after")]
    assert re.fullmatch(r"ended after \d+ [A-Z][a-z]+ \d\d:\d\d:00 × remove this filter", after)
    preview = browser.act("/ui/operations/new", **dict(parse_qsl(urlsplit(of_both["Failed"]).query)), action="retry")
    assert (preview.status_code, "1 job" in read(preview.text).text) == (200, True)


def test_marks_when_a_release_came_in_charts_and_their_tables(browser: Browser, conn: Connection, sql: Any) -> None:
    fail(conn, "Timeout: x", queue="mail")
    counted(conn)
    fresh(sql)
    sql(PLANTED)
    for process, release, minutes in (
        ("worker", "1.4.1", 200),
        ("worker", "1.4.2", 20),
        ("web", "8", 200),
        ("web", "9", 90),
    ):
        sql("INSERT INTO haulier.deployment VALUES (%s, %s, now() - %s * interval '1 min')", process, release, minutes)

    page = browser.page("/ui")

    lines = [each for each in page.all("path", class_="release") if each.attrs["d"].endswith("V100")]
    assert len(lines) >= 3
    assert len([each for each in page.all("li") if "worker 1.4.2 started" in each.text]) == 3
    assert len([row for row in table_of(page, "Throughput").all("tr") if "worker 1.4.2 started" in row.text]) == 1
    assert "web 9 started" in browser.page("/ui?span=6h").text


def test_draws_how_long_the_jobs_of_a_kind_ran(browser: Browser, conn: Connection, sql: Any) -> None:
    counted(conn)
    fresh(sql)
    none = browser.page("/ui/kinds/send_email").all("section")
    # Three jobs of 8 to 10 ms, and one of about a second: see haulier/domain/histogram.py.
    ran = 3 * 10 ** (12 * (9 + 12)) + 10 ** (12 * (30 + 12))
    sql(
        "INSERT INTO haulier.rollup (queue, at, step, kind, succeeded, ran)"
        " VALUES ('mail', now() - interval '9 minutes', 60, 'send_email', 4, %s)",
        ran,
    )
    browser.forget()

    page = browser.page("/ui/kinds/send_email")

    [card] = [each for each in page.all("section") if [found.text for found in each.all("h2")] == ["Run time"]]
    rows = [row.text for row in card.all("tr") if not row.text.endswith(" 0")]
    assert rows == ["Time Jobs", "8 ms 3", "1.0 s 1"]
    assert "4 jobs: half ran for up to 9 ms" in card.text
    assert "Run time" not in [title.text for each in none for title in each.all("h2")]
