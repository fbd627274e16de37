"""What pages say in numbers and names, and where that leads: it ..."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from psycopg2.extensions import connection as Connection

from app.web.pages import queues, schedules, ticked
from haulier.queue.produce.pauses import pause
from tests.queue.schedules import plant
from tests.web.browsing import Browser, Element
from tests.web.jobs import enqueue


def pages(page: Element) -> list[tuple[str, str]]:
    [pager] = page.all("nav", class_="pages")
    return [(each.text, each.given.get("href", "")) for each in pager.below() if each.tag in ("a", "span")]


@pytest.mark.parametrize("of", ["queues", "schedules"])
def test_goes_through_names_by_next_and_back_to_the_first(
    browser: Browser, conn: Connection, sql: Any, monkeypatch: pytest.MonkeyPatch, of: str
) -> None:
    monkeypatch.setattr(queues, "MOST_QUEUES", 2)
    monkeypatch.setattr(schedules, "MOST", 2)
    for name in ("a", "b", "c"):
        plant(sql, name)
        enqueue(conn, queue=name)
        pause(conn, name, until=None, actor=None)
    sql("UPDATE haulier.schedule SET paused_since = now()")

    first, last = browser.page(f"/ui/{of}"), browser.page(f"/ui/{of}?after=b")
    past = browser.page(f"/ui/{of}?after=z")

    assert pages(first) == [("First page", ""), ("Next", f"/ui/{of}?after=b")]
    assert pages(last) == [("First page", f"/ui/{of}"), ("Next", "")]
    assert pages(past) == [("First page", f"/ui/{of}"), ("Next", "")]
    assert "2 paused on this page" in first.text
    assert "1 paused on this page" in last.text


@pytest.mark.parametrize("of", ["queues", "schedules"])
def test_says_how_many_are_paused_where_one_page_has_all(browser: Browser, conn: Connection, sql: Any, of: str) -> None:
    plant(sql, "a")
    sql("UPDATE haulier.schedule SET paused_since = now()")
    pause(conn, "a", until=None, actor=None)

    page = browser.page(f"/ui/{of}")

    assert "1 paused" in page.text
    assert "on this page" not in page.text
    assert page.all("nav", class_="pages") == []


def test_names_the_setting_that_there_is_where_it_knows_no_kind(
    browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    extensions = browser.client.application.extensions
    monkeypatch.setitem(extensions, "haulier", replace(extensions["haulier"], kinds={}))

    page = browser.page("/ui/kinds").text

    assert "HAULIER_KINDS" in page
    assert "KINDS_MODULES" not in page


@pytest.mark.parametrize(("jobs", "told"), [(1, "1 matches."), (2, "2 match.")])
def test_counts_one_as_one_where_it_looked_back_so_far(
    browser: Browser, conn: Connection, monkeypatch: pytest.MonkeyPatch, jobs: int, told: str
) -> None:
    monkeypatch.setattr("haulier.queue.produce.look_back.LOOK_SECONDS", 0.0)
    monkeypatch.setattr("haulier.queue.produce.look_back.FIRST_PAYLOADS", jobs)
    for _ in range(jobs + 1):
        enqueue(conn)

    assert told in browser.page("/ui/jobs?payload.to=a@b.c").text


@pytest.mark.parametrize(
    ("left", "told"),
    [
        (1, "Deleted 2 jobs. 1 had changed meanwhile, or is in another state, and was left alone."),
        (2, "Deleted 2 jobs. 2 had changed meanwhile, or are in another state, and were left alone."),
    ],
)
def test_counts_one_that_was_left_alone_as_one(left: int, told: str) -> None:
    assert ticked._told({"Deleted": 2}, left, []) == told


def test_says_the_seconds_of_a_schedule_with_commas(browser: Browser, sql: Any) -> None:
    plant(sql, "daily", every_seconds=86_400)

    assert "every 86,400 s" in browser.page("/ui/schedules").text
