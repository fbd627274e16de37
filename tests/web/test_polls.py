"""What a poll of an open page is answered: it ..."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from psycopg2.extensions import connection as Connection

from haulier.queue.access import sessions
from haulier.queue.access.sessions import Session
from tests.web.browsing import Browser
from tests.web.forms import PAGES
from tests.web.jobs import counted, enqueue
from tests.web.world import make_world

Later = Callable[[timedelta], None]


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Later:
    """Give a function that lets so much time pass for whoever looks, and for nobody else."""
    find = sessions.find_session

    def later(passed: timedelta) -> None:
        def found(*args: Any) -> Session | None:
            session = find(*args)
            return session and replace(session, now=session.now + passed)

        monkeypatch.setattr(sessions, "find_session", found)

    return later


def test_brings_no_news_on_any_page_while_only_time_passes(browser: Browser, conn: Connection, later: Later) -> None:
    world = make_world(conn, "mail")
    counted(conn)
    paths = [world.filled(page.path) for page in PAGES.values() if page.path != "/ui/audit.csv"]
    shown = {path: browser.page(path).all("main")[0] for path in paths}
    shown = {path: main for path, main in shown.items() if "data-live-every" in main.given}

    later(timedelta(seconds=1))
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
