"""Pausing many schedules at once: it ..."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from haulier.domain.api_key import Scope
from tests.queue.schedules.schedules import plant
from tests.web.browsing import Browser, Element
from tests.web.conftest import SignedIn

LIST, MANY = "/ui/schedules", "/ui/schedule-pauses"
NAMES = ["a", "b", "c", "d"]
FOR_AN_HOUR = {"for": "1h"}


def ticked(page: Element) -> list[str]:
    return [each.attrs["value"] for each in page.all("input", name="name") if "checked" in each.attrs]


def paused(sql) -> list[str]:
    is_paused = "paused_since IS NOT NULL AND (paused_until IS NULL OR paused_until > now())"
    return [name for (name,) in sql(f"SELECT name FROM haulier.schedule WHERE {is_paused} ORDER BY name")]


@pytest.fixture
def _schedules(sql) -> None:
    for name in NAMES:
        plant(sql, name, job={"kind": "mail", "payload": {}, "queue": "salmon" if name == "a" else "mail"})


@pytest.mark.usefixtures("_schedules")
def test_pauses_all_that_fire_and_resumes_those_that_are_ticked(browser: Browser, sql) -> None:
    browser.send(browser.page(f"{LIST}/d"), f"{LIST}/d/pause", **{"for": ""})

    page = browser.page(MANY)
    done = browser.send(page, f"{MANY}/pause", name=ticked(page), **FOR_AN_HOUR)
    after = browser.page(MANY)
    browser.send(after, f"{MANY}/pause", name=[])
    known = sql("SELECT extract(epoch FROM paused_until - now())::float FROM haulier.schedule ORDER BY name")
    resumed = browser.act(f"{MANY}/resume", name=["a", "b", "gone"])

    told = browser.page(LIST)
    assert "Resumed 2 schedules. 1 had been deleted meanwhile." in told.text
    assert told.links("Pause all…") == [MANY]
    assert (ticked(page), ticked(after)) == (["a", "b", "c"], [])
    assert (done.status_code, done.headers["Location"], resumed.status_code) == (303, LIST, 303)
    assert known == [(pytest.approx(3600, abs=60),)] * 3 + [(None,)]
    assert paused(sql) == ["c", "d"]
    assert sql("SELECT count(*) FROM haulier.audit WHERE action = 'pause_schedule'") == [(4,)]


@pytest.mark.usefixtures("_schedules")
def test_pauses_only_schedules_that_the_key_may_see(signed_in: SignedIn, sql) -> None:
    own = signed_in(Scope.READ, Scope.OPERATE, queues=["mail"])

    page = own.page(MANY)
    own.send(page, f"{MANY}/pause", name=NAMES, **FOR_AN_HOUR)

    assert ticked(page) == paused(sql) == ["b", "c", "d"]
    assert signed_in(Scope.READ).page(LIST).links("Pause all…") == []


# If something goes wrong half-way

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
DIES = "PERFORM pg_terminate_backend(pg_backend_pid()), pg_sleep(10)"


@pytest.fixture
def happens(sql, _schedules: None) -> Iterator[Callable[[str, str], None]]:
    """Give a function that lets something happen when a schedule is paused."""
    yield lambda name, act: sql(AT_ONE.format(name=name, act=act))
    sql("DROP FUNCTION public.at_one CASCADE")


def test_goes_on_after_a_schedule_that_is_refused_and_says_why(browser: Browser, happens: Any, sql) -> None:
    happens("b", "RAISE 'b is not to be touched'")

    answer = browser.send(browser.page(MANY), f"{MANY}/pause", name=NAMES, **FOR_AN_HOUR)

    assert (answer.status_code, answer.headers["Location"]) == (303, LIST)
    assert "Paused 3 schedules. 1 was refused, such as b: b is not to be touched." in browser.page(LIST).text
    assert paused(sql) == ["a", "c", "d"]


def test_says_how_far_it_came_if_the_database_goes_away(browser: Browser, happens: Any, sql) -> None:
    happens("c", DIES)

    browser.send(browser.page(MANY), f"{MANY}/pause", name=NAMES, **FOR_AN_HOUR)

    told = browser.page(LIST).text
    assert "Paused 2 schedules. It ended at c, which may be done or not: " in told
    assert "1 was not reached." in told
    assert paused(sql) == ["a", "b"]


def test_says_that_the_database_is_away_if_nothing_was_done(browser: Browser, happens: Any, sql) -> None:
    happens("a", DIES)

    answer = browser.send(browser.page(MANY), f"{MANY}/pause", name=NAMES, **FOR_AN_HOUR)

    assert answer.status_code == 503
    assert paused(sql) == []
