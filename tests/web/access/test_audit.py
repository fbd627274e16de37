"""The audit: it ..."""

from __future__ import annotations

import csv
from urllib.parse import urlencode

from psycopg2.extensions import connection as Connection

from app.web.pages.audit import _cell, lines_of
from haulier.queue import jobs as job_acts
from haulier.queue.jobs.change import Changes
from tests.web.browsing import Browser, Element
from tests.web.jobs import enqueue
from tests.web.tables import check_each

AUDIT = "/ui/audit"


def actors(page: Element) -> list[str]:
    return sorted(row.all("td")[1].text for row in page.rows().values())


def test_shows_what_was_done_with_what_changed(browser: Browser, conn: Connection) -> None:
    empty = browser.page(AUDIT)
    job = enqueue(conn)
    job_acts.change(conn, job, Changes.of(priority=7), actor="ops-anna")
    job_acts.cancel(conn, job, actor="ops-bert")
    browser.forget()

    page = browser.page(AUDIT)

    newest, before, *_ = [row.text for row in page.rows().values()]
    assert "create key" in empty.text
    assert "ops-bert cancel" in newest
    assert "priority: 0 → 7" in before
    assert page.all("a", href=f"/ui/jobs/{job}")


def test_shows_and_writes_the_entries_that_match_a_filter(browser: Browser, conn: Connection) -> None:
    jobs = {actor: enqueue(conn) for actor in ("ops-anna", "ops-bert")}
    for actor, job in jobs.items():
        job_acts.cancel(conn, job, actor=actor)

    def both(query: dict[str, str]) -> tuple[list[str], list[str]]:
        text = browser.get(f"/ui/audit.csv?{urlencode(query)}").text
        written = sorted(row["actor"] for row in csv.DictReader(text.splitlines()))
        return actors(browser.page(f"{AUDIT}?{urlencode(query)}")), written

    anna, either = ["ops-anna"], ["ops-anna", "ops-bert"]
    check_each(
        both,
        ({"actor": "ops-anna"}, (anna, anna)),
        ({"action": "cancel"}, (either, either)),
        ({"action": "cancel", "actor": "ops-bert"}, (["ops-bert"], ["ops-bert"])),
        ({"action": "retry"}, ([], [])),
        ({"after": "1h", "action": "cancel"}, (either, either)),
        ({"before": "1h"}, ([], [])),
        ({"job": str(jobs["ops-anna"])}, (anna, anna)),
    )


def test_ignores_a_filter_that_it_does_not_understand_and_says_so(browser: Browser) -> None:
    def told(query: str) -> tuple[bool, bool]:
        page = browser.page(f"{AUDIT}?{query}")
        return "Ignored: " in page.text, page.rows() != {}

    odd = ("job=x", "after=soon", "before=soon", "action=dance")
    check_each(told, *((query, (True, True)) for query in odd), ("older=x", (False, True)))


def test_says_details_in_lines() -> None:
    many = {"changes": {str(n): {"old": 1, "new": 2} for n in range(20)}}

    assert lines_of(None) == []
    assert lines_of({"filter": {"kind": ["a"]}}) == ['filter: {"kind": ["a"]}']
    assert lines_of({"changes": {"priority": {"old": 0, "new": 7}, "payload": {}}}) == [
        "priority: 0 → 7",
        "payload changed",
    ]
    assert lines_of(many) == [*(f"{n}: 1 → 2" for n in range(12)), "and 8 more"]


def test_lets_no_spreadsheet_take_a_cell_for_a_formula() -> None:
    assert [_cell(text) for text in ("=1+1", "@x", "plain")] == ["'=1+1", "'@x", "plain"]
