"""The search box of each page: it ..."""

from __future__ import annotations

import pytest
from psycopg2.extensions import connection as Connection

from app.web.look import NAMES
from app.web.search_box import MOST, MOST_KNOWN, QueuesRead
from haulier.domain.api_key import Scope
from tests.web.browsing import Browser, Element
from tests.web.conftest import SignedIn
from tests.web.jobs import enqueue

# What it suggests


def suggested(page: Element) -> list[str]:
    [box] = page.all("input", name="q")
    [found] = page.all("datalist", id=box.given["list"])
    return [each.given["value"] for each in found.all("option")]


def test_suggests_filters_kinds_and_the_queues_that_pages_have_read(browser: Browser, conn: Connection) -> None:
    enqueue(conn, queue="mail")
    before = suggested(browser.page("/ui/help"))

    browser.page("/ui/jobs")
    after = suggested(browser.page("/ui/help"))

    assert before[: len(NAMES) + 1] == [*(f"{name}:" for name in NAMES), "payload."]
    assert {"status:failed", "status:queued", "kind:send_email", "kind:resize_image"} <= set(before)
    assert [each for each in after if each not in before] == ["queue:mail"]


@pytest.mark.parametrize("path", ["/ui", "/ui/queues", "/ui/jobs"])
def test_learns_queues_from_pages_that_read_them(browser: Browser, conn: Connection, sql, path: str) -> None:
    enqueue(conn, queue="mail")
    sql("INSERT INTO haulier.queue (name) VALUES ('mail') ON CONFLICT DO NOTHING")

    browser.page(path)

    assert "queue:mail" in suggested(browser.page("/ui/help"))


def test_suggests_what_it_understands(browser: Browser) -> None:
    found = [each for each in suggested(browser.page("/ui/help")) if each[-1] not in ":."]

    leads = {each: browser.client.get("/ui/search", query_string={"q": each}).headers.get("Location") for each in found}

    assert len(found) > 8
    assert leads == {each: f"/ui/jobs?{each.replace(':', '=')}" for each in found}


def test_suggests_no_queue_that_the_key_may_not_see(
    browser: Browser, signed_in: SignedIn, conn: Connection, sql
) -> None:
    own = signed_in(Scope.ADMIN, queues=["mail"])
    for queue in ("mail", "salmon"):
        enqueue(conn, queue=queue)
    for path in ("/ui", "/ui/queues", "/ui/jobs"):
        browser.page(path)

    assert "queue:salmon" in suggested(browser.page("/ui/help"))
    assert "queue:mail" in suggested(own.page("/ui/help"))
    assert "salmon" not in own.get("/ui/help").text


def test_suggests_no_more_than_a_person_reads(browser: Browser) -> None:
    names = [f"q{number:03}" for number in range(300)]
    browser.page("/ui/jobs")
    browser.client.application.extensions["haulier_queues_read"].note(names)

    found = suggested(browser.page("/ui/help"))

    assert len(found) == MOST
    assert [each for each in found if each.startswith("queue:q")]
    assert [each for each in found if each.startswith("kind:")]


def test_is_no_news_to_a_page_that_is_open(browser: Browser, conn: Connection) -> None:
    seen = browser.page("/ui/workers").all("main")[0].given["data-seen"]
    enqueue(conn, queue="mail")
    browser.page("/ui/jobs")

    poll = browser.get("/ui/workers", Haulier_Live=seen)

    assert "queue:mail" in suggested(browser.page("/ui/workers"))
    assert (poll.status_code, poll.text) == (204, "")


def test_forgets_queues_by_time_and_in_the_order_in_which_they_were_read(monkeypatch: pytest.MonkeyPatch) -> None:
    read, old = QueuesRead(), QueuesRead()
    read.note(["first", "again"])
    read.note([f"q{number:03}" for number in range(MOST_KNOWN - 2)])
    read.note(["again", "new"])
    monkeypatch.setattr("app.web.search_box.KNOWN_SECONDS", 0.0)
    old.note(["mail"])

    assert len(read.names()) == MOST_KNOWN
    assert [name for name in ("first", "again", "new") if name in read.names()] == ["again", "new"]
    assert old.names() == []
