"""More queues, kinds, workers and notices than a page looks at or shows: it ..."""

from __future__ import annotations

import re
from typing import Any

import pytest
from psycopg2.extensions import connection as Connection

from app.web.pages import kinds, overview
from haulier.queue import consume
from tests.web.browsing import Browser
from tests.web.jobs import counted, enqueue, fail
from tests.web.overviews import PLANTED, fresh, told, word

LEFT_OUT = "Some checks could not be loaded. This list may be incomplete."


def register(conn: Connection, *queues: str) -> None:
    consume.register(conn, host="dock", pid=7, threads=4, queues=queues, lease_seconds=600)


@pytest.mark.parametrize(("most", "is_said"), [(3, True), (4, False)])
def test_says_that_not_every_queue_was_looked_at(
    browser: Browser, conn: Connection, sql: Any, monkeypatch: pytest.MonkeyPatch, most: int, is_said: bool
) -> None:
    monkeypatch.setattr(overview, "MOST_QUEUES", most)
    register(conn)
    for name in "abcd":
        enqueue(conn, queue=name)
    counted(conn)
    fresh(sql)

    page = browser.page("/ui")

    assert told(page) == [LEFT_OUT if is_said else "Nothing needs you."]
    assert ("Of more than 3 queues only the first by name were looked at." in page.text) is is_said


def test_counts_the_queues_and_not_the_rows_that_are_shown(
    browser: Browser, conn: Connection, sql: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(overview, "QUEUES_SHOWN", 2)
    register(conn)
    for name in "abc":
        enqueue(conn, queue=name)
    counted(conn)
    fresh(sql)

    assert "3 queues, 1 worker," in browser.page("/ui").text


def test_says_of_no_queue_that_nobody_serves_it_where_not_every_worker_was_looked_at(
    browser: Browser, conn: Connection, sql: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.web.fleet.MOST_WORKERS", 2)
    monkeypatch.setattr(overview, "MOST_WORKERS", 2)
    for name in ("mail", "bulk", "bulk"):
        register(conn, name)
    for name in ("mail", "salmon"):
        enqueue(conn, queue=name)
    counted(conn)
    sql("UPDATE haulier.job SET run_at = now() - interval '20 seconds'")
    fresh(sql)

    page, running = browser.page("/ui"), browser.page("/ui/running")

    assert told(page) == ["No live worker serves the queue salmon, where 1 job is due", LEFT_OUT]
    assert [word(page, name) for name in ("mail", "salmon")] == ["Well", "Unserved"]
    assert "more than 2 workers" in page.text
    assert "of more than 8 threads" in page.text
    assert "more than 0 of more than 8 threads" in running.text


def test_pages_through_kinds_and_knows_each(
    browser: Browser, conn: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kinds, "MOST_KINDS", 2)
    for name in ("a", "a.c", "a_b", "ab", "z", "z"):
        enqueue(conn, kind=name, queue="mail")
    counted(conn)

    for first, known in (
        ("/ui/kinds", set(browser.client.application.extensions["haulier"].kinds)),
        ("/ui/kinds?queue=mail", set()),
    ):
        seen, path = [], first
        while path:
            page = browser.page(path)
            rows = [row.all("th")[0].text for row in page.all("tr") if row.all("th", scope="row")]
            assert len(rows) <= 2
            seen += rows
            path = next((each.given["href"] for each in page.all("a", rel="next")), "")
        assert len(set(seen)) == len(seen)
        assert sorted(seen) == sorted({"a", "a.c", "a_b", "ab", "z"} | known)
    assert "Jobs of this kind" in browser.page("/ui/kinds/z").text
    assert browser.get("/ui/search?q=z").headers["Location"] == "/ui/jobs?kind=z"
    assert "Nothing here knows a kind of this name" in browser.page("/ui/kinds/zz").text
    assert "No more kinds." in browser.page("/ui/kinds?after=zzz").text


def test_does_not_say_that_there_is_no_such_kind_where_it_could_not_look(browser: Browser, conn: Connection) -> None:
    enqueue(conn, kind="swim")
    counted(conn)
    with conn.cursor() as cursor:
        cursor.execute("BEGIN; LOCK TABLE haulier.depth IN ACCESS EXCLUSIVE MODE")
        try:
            page = browser.page("/ui/kinds/swim")
        finally:
            cursor.execute("ROLLBACK")

    assert "Not all of this kind is known just now" in told(page)


def test_has_what_is_beyond_the_first_notices_behind_a_summary(
    browser: Browser, conn: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(overview, "MOST_NOTICES", 1)
    for error in ("Refused: x", "Broken: x", "Absent: x", "Timeout: x"):
        fail(conn, error, times=10)

    all_there = [browser.page("/ui")]
    monkeypatch.setattr(overview, "MOST_LISTED", 3)
    browser.client.application.extensions["haulier_shelf"].clear()
    all_there.append(browser.page("/ui"))

    found = [page.all("details", id="more-notices")[0] for page in all_there]
    assert [len(told(page)) for page in all_there] == [5, 3]
    assert [each.all("summary")[0].text for each in found] == ["and 4 more"] * 2
    assert [len(told(each)) for each in found] == [4, 2]
    assert [len(each.all("a", class_="button slim")) for each in found] == [3, 2]
    assert ["2 of them are not shown: see the queues" in each.text for each in found] == [False, True]


@pytest.mark.parametrize("path", ["/ui", "/ui/queues/mail", "/ui/kinds/send_email"])
def test_says_on_which_days_things_were_in_a_chart_of_several(
    browser: Browser, conn: Connection, sql: Any, path: str
) -> None:
    counted(conn)
    fresh(sql)
    sql(PLANTED, "mail", "3 hours", 900, 5, 0)

    week, day = (browser.page(f"{path}?span={span}").all("div", class_="chart")[0] for span in ("7d", "24h"))

    axis = [[each.text for each in chart.all("div", class_="x")[0].all("span")] for chart in (week, day)]
    rows = [chart.all("th", scope="row")[0].text for chart in (week, day)]
    assert [len(each) for each in axis] == [5, 5]
    assert all(re.fullmatch(r"\d\d? [A-Z][a-z]{2}( \d{4})?", text) for text in axis[0])
    assert re.fullmatch(r"\d\d? [A-Z][a-z]{2}( \d{4})? \d\d:\d\d", rows[0])
    assert [text for text in (*axis[1], rows[1]) if not re.fullmatch(r"\d\d:\d\d", text)] == []
