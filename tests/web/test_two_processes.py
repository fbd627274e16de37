"""Pages of one web process after an act by another: it ..."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from psycopg2.extensions import connection as Connection

from app.web import reading
from haulier.queue.produce.pauses import pause
from tests.web.browsing import Browser, Element, read
from tests.web.conftest import MakeSite
from tests.web.jobs import enqueue, fail

COOKIES = ("haulier", "haulier-said")


@pytest.fixture
def two(browser: Browser, make_site: MakeSite, monkeypatch: pytest.MonkeyPatch) -> tuple[Browser, Browser]:
    """Give one browser at two processes, each of which keeps for long what it has read."""
    # A slow machine takes longer than the usual 2 s for what is to be within them.
    monkeypatch.setattr(reading, "KEPT_SECONDS", 600.0)
    return browser, Browser(make_site(), browser.key)


def bring(one: Browser, other: Browser) -> None:
    """Let the second have the cookies of the first."""
    for name in COOKIES:
        if (value := one.cookie(name)) is None:
            other.client.delete_cookie(name)
        else:
            other.client.set_cookie(name, value)


def of_a_queue(conn: Connection) -> tuple[str, str, str]:
    enqueue(conn, queue="mail")
    return "/ui/queues", "/ui/queues/mail/pause", "/ui/queues/mail"


def of_a_failure(conn: Connection) -> tuple[str, str, str]:
    path = f"/ui/failures/{fail(conn, 'no luck')}"
    return path, f"{path}/mute", path


@pytest.mark.parametrize("make", [of_a_queue, of_a_failure])
def test_shows_what_another_has_just_done(
    two: tuple[Browser, Browser], conn: Connection, make: Callable[[Connection], tuple[str, str, str]]
) -> None:
    here, there = two
    place, act, form_of = make(conn)
    bring(here, there)
    before = there.page(place).all("main")[0].text

    here.send(here.page(form_of), act, **{"for": "1h", "hours": "1"})
    bring(here, there)
    after = there.page(place)
    there.client.delete_cookie("haulier-said")
    later = there.page(place)

    assert [word in before.lower() for word in ("paused", "muted until")] == [False, False]
    assert [any(word in text.lower() for word in ("paused", "muted until")) for text in texts(after, later)] == [
        True
    ] * 2


def texts(*pages: Element) -> list[str]:
    return [page.all("main")[0].text for page in pages]


@pytest.mark.parametrize("said", ["", ".", "x.y", "WW91.0123"])
def test_reads_nothing_anew_for_what_it_has_not_signed(
    two: tuple[Browser, Browser], conn: Connection, said: str
) -> None:
    browser, _ = two
    enqueue(conn, queue="mail")
    browser.page("/ui/queues")

    pause(conn, "mail")
    browser.client.set_cookie("haulier-said", said)

    assert not is_paused(browser.page("/ui/queues"))


def test_reads_nothing_anew_for_a_poll(two: tuple[Browser, Browser], conn: Connection) -> None:
    here, there = two
    path = f"/ui/jobs/{enqueue(conn, queue='mail')}"
    enqueue(conn, queue="mail")
    bring(here, there)
    there.page("/ui/queues")

    here.send(here.page(path), f"{path}/cancel")
    pause(conn, "mail")
    bring(here, there)
    polled = read(f"<div>{there.get('/ui/queues', Haulier_Live='x').text}</div>")
    led = there.page("/ui/queues")

    assert [is_paused(page) for page in (polled, led)] == [False, True]


def is_paused(page: Element) -> bool:
    return "paused" in page.all("main")[0].text.lower()
