"""How many jobs there are, on the list of jobs: it ..."""

from __future__ import annotations

import pytest
from psycopg2.extensions import connection as Connection

from haulier.domain.api_key import Scope
from haulier.domain.outcome import Outcome
from tests.web.browsing import Browser, Element
from tests.web.conftest import SignedIn
from tests.web.jobs import claim, counted, end, enqueue, in_all_states


def chips(page: Element) -> list[str]:
    return [each.text for each in page.all("a", class_="chip")]


def foot(page: Element) -> str:
    return page.all("footer")[-1].text


def fail(conn: Connection, jobs: int, queue: str = "default") -> None:
    for _ in range(jobs):
        enqueue(conn, queue=queue)
        _, [fence] = claim(conn, queue)
        end(conn, fence, Outcome.fail_for_good("no luck"))


def test_says_how_many_live_jobs_have_each_status(browser: Browser, conn: Connection) -> None:
    in_all_states(conn)
    before = chips(browser.page("/ui/jobs"))
    enqueue(conn, queue="mail")
    counted(conn)
    browser.client.application.extensions["haulier_shelf"].clear()

    after = chips(browser.page("/ui/jobs?limit=100"))
    mail = chips(browser.page("/ui/jobs?queue=mail&kind=send_email&status=running"))
    tagged = chips(browser.page("/ui/jobs?tag=night"))

    assert before[:3] == ["All", "Queued", "Running"]
    assert after[:4] == ["All", "Queued 2", "Running 1", "Retrying 1"]
    assert mail[:4] == ["All", "Queued 2", "Running 0", "Retrying 0"]
    assert tagged[:3] == ["All", "Queued", "Running"]


def test_says_of_how_many_it_shows_a_part(browser: Browser, conn: Connection) -> None:
    fail(conn, 26)

    page = browser.page("/ui/jobs?status=failed&limit=25")

    assert foot(page).startswith("25 shown of 26 ")
    assert "With all 26 that match:" in page.text
    assert foot(browser.page("/ui/jobs?limit=25")).startswith("25 shown, more follow")
    assert foot(browser.page("/ui/jobs?status=failed")).startswith("26 shown Newer")


def test_counts_live_jobs_as_a_worker_has_counted_them(browser: Browser, conn: Connection) -> None:
    for _ in range(26):
        enqueue(conn, queue="mail")
    counted(conn)
    enqueue(conn, queue="mail")

    assert foot(browser.page("/ui/jobs?status=queued&queue=mail&limit=25")).startswith("25 shown of 26 ")


def test_says_of_no_fewer_jobs_than_it_shows(browser: Browser, conn: Connection) -> None:
    for _ in range(12):
        enqueue(conn)
    counted(conn)
    for _ in range(40):
        enqueue(conn)

    first = browser.page("/ui/jobs?status=queued&limit=25")
    second = browser.page(first.all("a", rel="next")[0].given["href"])
    last = browser.page(second.all("a", rel="next")[0].given["href"])

    assert foot(first).startswith("25 shown of more than 25 ")
    assert "With all more than 25 that match:" in first.text
    assert foot(second).startswith("25 shown of more than 50 ")
    assert foot(last).startswith("2 shown Newer")


def test_says_more_than_where_a_look_does_not_find_all(
    browser: Browser, conn: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail(conn, 30)
    monkeypatch.setattr("haulier.queue.produce.look_back.FIRST_ROWS", 10)
    monkeypatch.setattr("haulier.queue.produce.look_back.LOOK_SECONDS", 0.0)

    assert foot(browser.page("/ui/jobs?status=failed&limit=25")).startswith("25 shown of more than 25 ")


def test_counts_for_a_key_of_one_queue_that_alone(signed_in: SignedIn, conn: Connection) -> None:
    browser = signed_in(Scope.READ, queues=["mail"])
    fail(conn, 26, "mail")
    fail(conn, 3, "salmon")
    enqueue(conn, queue="mail")
    enqueue(conn, queue="salmon")
    counted(conn)

    page = browser.page("/ui/jobs?status=failed&limit=25")

    assert chips(page)[1] == "Queued 1"
    assert foot(page).startswith("25 shown of 26 ")
