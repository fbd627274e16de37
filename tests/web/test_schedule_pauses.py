"""Pausing many schedules at once, where something goes wrong half-way: it ..."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.queue.schedules import plant
from tests.web.browsing import Browser

LIST, MANY = "/ui/schedules", "/ui/schedule-pauses"
NAMES = ["a", "b", "c", "d"]
AT_ONE = """
    CREATE FUNCTION public.at_one() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF NEW.name = '{name}' THEN
            {act};
        END IF;
        RETURN NEW;
    END
    $$;
    CREATE TRIGGER at_one BEFORE UPDATE ON haulier.schedule FOR EACH ROW EXECUTE FUNCTION public.at_one()
"""


@pytest.fixture
def happens(sql: Any) -> Iterator[Callable[[str, str], None]]:
    """Give a function that lets something happen where a schedule is paused."""
    for name in NAMES:
        plant(sql, name)
    yield lambda name, act: sql(AT_ONE.format(name=name, act=act))
    sql("DROP FUNCTION public.at_one CASCADE")


def paused(sql: Any) -> list[str]:
    return [name for (name,) in sql("SELECT name FROM haulier.schedule WHERE paused_since IS NOT NULL ORDER BY name")]


def test_goes_on_after_one_that_is_refused_and_says_why(browser: Browser, happens: Any, sql: Any) -> None:
    happens("b", "RAISE 'b is not to be touched'")

    answer = browser.send(browser.page(MANY), f"{MANY}/pause", name=NAMES, **{"for": "1h"})

    assert (answer.status_code, answer.headers["Location"]) == (303, LIST)
    assert "Paused 3 schedules. 1 was refused, such as b: b is not to be touched." in browser.page(LIST).text
    assert paused(sql) == ["a", "c", "d"]


def test_says_what_was_done_where_the_database_goes_away(browser: Browser, happens: Any, sql: Any) -> None:
    happens("c", "PERFORM pg_terminate_backend(pg_backend_pid()), pg_sleep(10)")

    browser.send(browser.page(MANY), f"{MANY}/pause", name=NAMES, **{"for": "1h"})

    told = browser.page(LIST).text
    assert "Paused 2 schedules. It ended at c, which may be done or not: " in told
    assert "1 was not reached." in told
    assert paused(sql) == ["a", "b"]


def test_says_that_the_database_is_away_where_nothing_was_done(browser: Browser, happens: Any, sql: Any) -> None:
    happens("a", "PERFORM pg_terminate_backend(pg_backend_pid()), pg_sleep(10)")

    answer = browser.send(browser.page(MANY), f"{MANY}/pause", name=NAMES, **{"for": "1h"})

    assert answer.status_code == 503
    assert paused(sql) == []
