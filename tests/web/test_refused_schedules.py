"""The pages of a schedule whose job the database refuses: they ..."""

from __future__ import annotations

from typing import Any

from psycopg2.extensions import connection as Connection

from haulier.queue.firing import fire_due
from tests.queue.schedules import REFUSED, plant, refused
from tests.web.browsing import Browser

LIST, PATH = "/ui/schedules", "/ui/schedules/nightly"


def test_say_why_it_cannot_fire_until_it_is_run_by_hand(browser: Browser, conn: Connection, sql: Any) -> None:
    plant(sql, seconds_ago=20, every_seconds=20, **REFUSED)
    with refused(sql):
        fire_due(conn, retention_days=30, apart=1)
    page, listed = browser.page(PATH), browser.page(LIST)

    browser.send(page, f"{PATH}/run")

    assert "It cannot fire: no such customer" in page.text
    assert "Refused 1 time." in page.text
    assert "Refused" in listed.text
    assert "no such customer" not in browser.page(PATH).text
    assert "Refused" not in browser.page(LIST).text


def test_tell_ticks_that_were_refused_from_others_and_lead_to_older_ones(
    browser: Browser, conn: Connection, sql: Any
) -> None:
    plant(sql, every_seconds=3600)
    sql(
        "SELECT haulier.fire_ticks(array_agg('nightly'::text), array_agg(now() - make_interval(mins => n)),"
        " array_agg('skipped_refused'::text)) FROM generate_series(1, 60) AS n"
    )

    page = browser.page(PATH)
    [older] = [link.given["href"] for link in page.all("a") if link.given.get("rel") == "next"]
    behind = browser.page(older)

    assert page.text.count("Passed: the database refused its job") == 50
    assert behind.text.count("Passed: the database refused its job") == 10
    assert browser.page(f"{PATH}?older=nonsense").text.count("Passed: the database refused its job") == 50
