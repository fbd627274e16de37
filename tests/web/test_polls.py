"""What a poll of an open page is answered: it ..."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from psycopg2.extensions import connection as Connection

from app.web import reading
from app.web.job_form import ONCE
from haulier.queue.access import sessions
from haulier.queue.access.sessions import Session
from tests.web.browsing import Browser, read
from tests.web.forms import PAGES
from tests.web.jobs import counted, enqueue
from tests.web.world import make_world


class Clock:
    """The time of whoever looks, which passes only when a test says so."""

    def __init__(self) -> None:
        self.now = datetime.now(UTC)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Give the time of whoever looks. What pages have read is kept meanwhile, however slow the machine is."""
    clock, find = Clock(), sessions.find_session

    def found(*args: Any) -> Session | None:
        session = find(*args)
        return session and replace(session, now=clock.now)

    monkeypatch.setattr(sessions, "find_session", found)
    monkeypatch.setattr(reading, "time", SimpleNamespace(monotonic=lambda: 0.0))
    return clock


def test_brings_no_news_on_any_page_while_only_time_passes(browser: Browser, conn: Connection, clock: Clock) -> None:
    world = make_world(conn, "mail")
    counted(conn)
    paths = [world.filled(page.path) for page in PAGES.values() if page.path != "/ui/audit.csv"]
    shown = {path: browser.page(path).all("main")[0] for path in paths}
    shown = {path: main for path, main in shown.items() if "data-live-every" in main.given}

    clock.now += timedelta(seconds=1)
    polls = {path: browser.get(path, Haulier_Live=main.given["data-seen"]).status_code for path, main in shown.items()}

    assert len(shown) > 10
    assert any("data-ago" in time.given for main in shown.values() for time in main.all("time"))
    assert polls == dict.fromkeys(shown, 204)


def test_brings_whatever_the_page_would_show_otherwise(browser: Browser, conn: Connection) -> None:
    path = f"/ui/jobs/{enqueue(conn)}"
    page = browser.page(path)
    seen = page.all("main")[0].given["data-seen"]

    browser.send(page, "/ui/settings/theme")
    themed = browser.get(path, Haulier_Live=seen)
    browser.send(browser.page("/ui/settings"), "/ui/settings", theme="auto", zone="Asia/Tokyo", exact="1")
    exact = browser.get(path, Haulier_Live=seen)

    # The theme is no part of <main>, which is all that a poll brings.
    assert themed.status_code == 204
    assert exact.status_code == 200
    assert " ago" not in exact.text


def test_fills_ages_and_tokens_of_forms_into_every_response(browser: Browser, conn: Connection) -> None:
    path = f"/ui/jobs/{enqueue(conn)}"

    mains = [read(browser.get(path, **headers).text).all("main")[0] for headers in ({}, {"Haulier_Live": "-"})]

    ages = [time.text for main in mains for time in main.all("time") if "data-ago" in time.given]
    tokens = [token.given["value"] for main in mains for token in main.all("input", name="once")]
    assert ages
    assert [age for age in ages if not re.fullmatch("now|[0-9]+ s ago", age)] == []
    assert len(set(tokens)) == 2
    assert [token for token in tokens if not ONCE.fullmatch(token)] == []
