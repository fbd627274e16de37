"""What pages keep of what they have read: it ..."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from psycopg2.extensions import connection as Connection

from app.web import reading
from app.web.reading import POLLED_SECONDS, Part, Shelf
from tests.web.browsing import Browser
from tests.web.jobs import enqueue


class Clock:
    """A time that goes by where a test has it go by."""

    def __init__(self) -> None:
        self.now = 100.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Give the time of what is kept."""
    clock = Clock()
    # Real seconds would have to be slept through, and a busy machine adds some of its own.
    monkeypatch.setattr(reading, "time", SimpleNamespace(monotonic=lambda: clock.now))
    return clock


@pytest.mark.parametrize(
    ("took", "late", "loads_until", "polls_until"),
    [
        pytest.param(0.001, "", 2.0, 2.0, id="quick"),
        pytest.param(0.03, "", 2.0, 3.0, id="slow"),
        pytest.param(1.0, "", 2.0, POLLED_SECONDS, id="slower than any poll may wait for"),
        pytest.param(1.0, "too late", 2.0, 2.0, id="not read"),
    ],
)
def test_is_read_anew_less_often_by_polls_where_it_is_slow(
    clock: Clock, took: float, late: str, loads_until: float, polls_until: float
) -> None:
    shelf, made = Shelf(), []

    def make() -> Part[str]:
        clock.now += took
        made.append(clock.now)
        return Part(None, late) if late else Part("news")

    def reads(is_polled: bool) -> bool:
        before = len(made)
        shelf.get(("jobs",), make, 2.0, is_polled=is_polled)
        return len(made) > before

    for is_polled, until in ((False, loads_until), (True, polls_until)):
        shelf.clear()
        assert reads(is_polled)
        clock.now = made[-1] + until - 0.01
        assert not reads(is_polled)
        clock.now = made[-1] + until + 0.01
        assert reads(is_polled)


def test_a_poll_of_a_slow_page_brings_older_news_than_a_load(browser: Browser, conn: Connection) -> None:
    seen = browser.page("/ui/jobs").all("main")[0].given["data-seen"]
    enqueue(conn)
    for kept in browser.client.application.extensions["haulier_shelf"]._kept.values():
        kept.made_at, kept.took = kept.made_at - 3, 1.0

    polled = browser.get("/ui/jobs", Haulier_Live=seen)
    loaded = browser.page("/ui/jobs")

    assert polled.status_code == 204
    assert loaded.all("main")[0].given["data-seen"] != seen
