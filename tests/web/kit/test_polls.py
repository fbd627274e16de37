"""What pages keep of what they have read, in each web process, and what a poll is answered: it ..."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from psycopg2.extensions import connection as Connection

from app.web.forms.job_form import ONCE
from app.web.kit import reading
from app.web.kit.reading import POLLED_SECONDS, Part, Shelf
from haulier.queue.access import sessions
from haulier.queue.access.sessions import Session
from haulier.queue.queues.pauses import pause
from tests.web.browsing import Browser, Element, MakeSite, read
from tests.web.forms import PAGES
from tests.web.jobs import counted, enqueue
from tests.web.world import make_world

QUEUES = "/ui/queues"


class Clock:
    """The time of what is kept, and of whoever looks, which pass only when a test says so."""

    def __init__(self) -> None:
        self.seconds, self.now = 100.0, datetime.now(UTC)


@pytest.fixture
def clock(monkeypatch) -> Clock:
    """Give both times: real seconds would have to be slept through, and a busy machine adds some of its own."""
    clock, find = Clock(), sessions.find_session

    def found(*args: Any) -> Session | None:
        session = find(*args)
        return session and replace(session, now=clock.now)

    monkeypatch.setattr(sessions, "find_session", found)
    monkeypatch.setattr(reading, "time", SimpleNamespace(monotonic=lambda: clock.seconds))
    return clock


def test_is_read_anew_less_often_by_polls_if_it_is_slow(clock: Clock) -> None:
    def is_read_before_and_after(until: float, took: float, late: str, *, is_polled: bool) -> tuple[bool, bool]:
        shelf, made = Shelf(), [0.0]

        def make() -> Part[str]:
            clock.seconds += took
            made.append(clock.seconds)
            return Part(None, late) if late else Part("news")

        def is_read_at(seconds: float) -> bool:
            clock.seconds, before = seconds, len(made)
            shelf.get(("jobs",), make, 2.0, is_polled=is_polled)
            return len(made) > before

        assert is_read_at(clock.seconds)
        return is_read_at(made[-1] + until - 0.01), is_read_at(made[-1] + until + 0.01)

    for took, late, loads_until, polls_until in (
        (0.001, "", 2.0, 2.0),
        (0.03, "", 2.0, 3.0),
        # Slower than any poll may wait for.
        (1.0, "", 2.0, POLLED_SECONDS),
        # What could not be read is tried again soon.
        (1.0, "too late", 2.0, 2.0),
    ):
        assert is_read_before_and_after(loads_until, took, late, is_polled=False) == (False, True), took
        assert is_read_before_and_after(polls_until, took, late, is_polled=True) == (False, True), took


def test_brings_older_news_to_a_poll_of_a_slow_page_than_to_a_load(browser: Browser, conn: Connection) -> None:
    seen = browser.seen("/ui/jobs")
    enqueue(conn)
    for kept in browser.client.application.extensions["haulier_shelf"]._kept.values():
        kept.made_at, kept.took = kept.made_at - 3, 1.0

    assert browser.poll("/ui/jobs", seen) == 204
    assert browser.seen("/ui/jobs") != seen
    assert re.fullmatch(r"db;dur=[0-9.]+, page;dur=[0-9.]+", browser.get("/ui/jobs").headers["Server-Timing"])


@pytest.fixture
def two(browser: Browser, make_site: MakeSite, clock: Clock) -> tuple[Browser, Browser]:
    """Give one browser at two processes, which keep what they have read."""
    return browser, Browser(make_site(), browser.key)


def bring(one: Browser, other: Browser) -> None:
    """Let the second have the cookies of the first."""
    for name in ("haulier", "haulier-said"):
        if (value := one.cookie(name)) is None:
            other.client.delete_cookie(name)
        else:
            other.client.set_cookie(name, value)


def is_marked(page: Element) -> bool:
    return "paused" in page.one("main").text.lower()


def test_shows_what_another_process_has_just_done(two: tuple[Browser, Browser], conn: Connection) -> None:
    here, there = two
    enqueue(conn, queue="mail")
    path = f"{QUEUES}/mail"
    bring(here, there)
    before = there.page(path)

    here.send(here.page(path), f"{path}/pause", **{"for": "1h"})
    bring(here, there)
    after = there.page(path)
    there.client.delete_cookie("haulier-said")

    assert [is_marked(page) for page in (before, after, there.page(path))] == [False, True, True]


def test_reads_nothing_anew_for_a_poll_or_what_is_not_signed(two: tuple[Browser, Browser], conn: Connection) -> None:
    here, there = two
    path = f"/ui/jobs/{enqueue(conn, queue='mail')}"
    enqueue(conn, queue="mail")
    bring(here, there)
    there.page(QUEUES)

    here.send(here.page(path), f"{path}/cancel")
    pause(conn, "mail")
    # Nor for what it has not signed.
    for said in ("", ".", "x.y", "WW91.0123"):
        there.client.set_cookie("haulier-said", said)
        assert not is_marked(there.page(QUEUES)), said
    bring(here, there)
    polled = read(f"<div>{there.get(QUEUES, Haulier_Live='x').text}</div>")

    assert [is_marked(page) for page in (polled, there.page(QUEUES))] == [False, True]


def test_brings_no_news_on_any_page_while_only_time_passes(browser: Browser, conn: Connection, clock: Clock) -> None:
    world = make_world(conn, "mail")
    counted(conn)
    paths = [world.filled(page.path) for page in PAGES.values() if page.path != "/ui/audit.csv"]
    paths.append(world.filled("/ui/jobs/{running}"))
    mains = {path: browser.page(path).one("main") for path in paths}
    mains = {path: main for path, main in mains.items() if "data-live-every" in main.attrs}

    clock.now += timedelta(seconds=1)
    polls = {path: browser.poll(path, main.attrs["data-seen"]) for path, main in mains.items()}

    assert len(mains) > 10
    assert any("data-ago" in time.attrs for main in mains.values() for time in main.all("time"))
    assert polls == dict.fromkeys(mains, 204)


def test_brings_whatever_the_page_would_show_otherwise(browser: Browser, conn: Connection) -> None:
    path = f"/ui/jobs/{enqueue(conn)}"
    seen = browser.seen(path)

    browser.send(browser.page(path), "/ui/settings/theme")
    themed = browser.poll(path, seen)
    browser.send(browser.page("/ui/settings"), "/ui/settings", theme="auto", zone="Asia/Tokyo", exact="1")
    exact = browser.get(path, Haulier_Live=seen)

    # The theme is no part of <main>, which is all that a poll brings.
    assert (themed, exact.status_code) == (204, 200)
    assert " ago" not in exact.text


def test_fills_ages_and_tokens_of_forms_into_every_response(browser: Browser, conn: Connection) -> None:
    path = f"/ui/jobs/{enqueue(conn)}"

    mains = [read(browser.get(path, **headers).text).one("main") for headers in ({}, {"Haulier_Live": "-"})]

    ages = [time.text for main in mains for time in main.all("time") if "data-ago" in time.attrs]
    tokens = [token.attrs["value"] for main in mains for token in main.all("input", name="once")]
    assert ages
    assert [age for age in ages if not re.fullmatch("now|[0-9]+ s ago", age)] == []
    assert len(set(tokens)) == 2
    assert [token for token in tokens if not ONCE.fullmatch(token)] == []
