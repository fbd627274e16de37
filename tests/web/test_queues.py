"""The pages of queues and kinds: it ..."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from psycopg2.extensions import connection as Connection

from app.web.fleet import Fleet
from app.web.queue_states import Known, empty_in, row_of, word_of
from haulier.domain.api_key import Scope
from haulier.domain.worker import WorkerState
from haulier.queue import consume
from haulier.queue.consume import workers
from haulier.queue.produce.pauses import pause
from haulier.queue.produce.recent import Minute
from haulier.queue.produce.stats import Figures, Live, Queue
from haulier.queue.produce.workers import Worker
from tests.web.browsing import Browser, faults, read
from tests.web.conftest import SignedIn
from tests.web.jobs import counted, enqueue, in_all_states

NOW = datetime(2026, 11, 26, 14, 3, 5, tzinfo=UTC)


def minutes(*due: int | None, failed: int = 0, succeeded: int = 0) -> list[Minute]:
    return [Minute(NOW + timedelta(minutes=place), succeeded, failed, each) for place, each in enumerate(due)]


def queue(due: int = 0, *, oldest: float = 61.0, running: int = 0, **more: Any) -> Queue:
    return Queue("mail", Live(due, due, running, oldest), Figures(), NOW, **more)


def worker(*queues: str, takes: bool = True) -> Worker:
    state = WorkerState.WORKING
    return Worker(uuid4(), "dock", 7, None, 4, list(queues) or None, None, state, NOW, NOW, NOW, False, 0, True, takes)


@pytest.mark.parametrize(
    ("it", "known", "lately", "word"),
    [
        (queue(9, paused=True), [], [], "Paused"),
        (queue(9), [], [], "Unserved"),
        (queue(9), [worker("other")], [], "Unserved"),
        (queue(9), [worker("mail", takes=False)], [], "Unserved"),
        (queue(9), [worker("mail")], [], "Well"),
        (queue(9), None, [], "Well"),
        (queue(0), [], [], "Idle"),
        (queue(0, running=1), [worker()], [], "Well"),
        (queue(9), [worker()], minutes(1, failed=20, succeeded=179), "Failing"),
        (queue(9), [worker()], minutes(1, failed=20, succeeded=180), "Well"),
        (queue(9), [worker()], minutes(1, failed=19), "Well"),
        (queue(9), [worker()], minutes(1, 2, 3, 4, 0), "Growing"),
        (queue(9), [worker()], minutes(1, 2, 2, 4, 0), "Well"),
        (queue(9), [worker()], minutes(2, 3, 4, 0), "Well"),
        (queue(9, oldest=60.0), [worker()], minutes(1, 2, 3, 4, 0), "Well"),
    ],
)
def test_says_in_a_word_how_a_queue_is(it: Queue, known: Any, lately: list[Minute], word: str) -> None:
    fleet = None if known is None else Fleet(known)

    assert word_of(it, Known(NOW, fleet, {"mail": lately})).text == word


@pytest.mark.parametrize(
    ("usual", "failed", "word"),
    [
        (0.0, 101, "Failing"),
        (0.02, 101, "Failing"),
        (0.03, 150, "Well"),
        (0.03, 151, "Failing"),
        (0.12, 121, "Well"),
        (0.12, 561, "Failing"),
        # Five times as much is more than all.
        (0.5, 750, "Well"),
        (0.5, 751, "Failing"),
        (1.0, 1000, "Well"),
    ],
)
def test_calls_a_queue_failing_by_what_is_usual_there(usual: float, failed: int, word: str) -> None:
    lately = {"mail": minutes(1, failed=failed, succeeded=1000 - failed)}

    assert word_of(queue(9), Known(NOW, Fleet([worker()]), lately, usual={"mail": usual})).text == word


@pytest.mark.parametrize(
    ("fleet", "unserved", "said"),
    [
        (Fleet([worker("mail")]), [], ("Well", "at once")),
        (Fleet([worker("bulk")]), [], ("Unserved", "–")),
        (Fleet([worker("bulk")], more=True), [], ("Well", "at once")),
        (Fleet([worker("bulk")], more=True), ["mail"], ("Unserved", "–")),
    ],
)
def test_calls_a_queue_unserved_only_where_that_is_known(
    fleet: Fleet, unserved: list[str], said: tuple[str, str]
) -> None:
    row = row_of(queue(9, oldest=1.0), Known(NOW, fleet, unserved=unserved))

    assert (row.word.text, row.empty_in) == said


@pytest.mark.parametrize(
    ("it", "lately", "text"),
    [
        (queue(99, oldest=60.0), [], "at once"),
        (queue(0), [], "at once"),
        # What has been due for a while, and does not become less, is not gone at once, however little it is.
        (queue(9), minutes(9, 9, 9, 0), "–"),
        (queue(9), minutes(8, 9, 0), "–"),
        (queue(9), minutes(11, 10, 9, 0), "at once"),
        (queue(9), minutes(9), "not known"),
        (queue(400), minutes(800, 700, 600, 500, 400, 0), "4 min"),
        (queue(400), minutes(100, 440, 780, 0), "never: +340/min"),
        (queue(400), minutes(400, 400, 0), "never: it stays"),
        (queue(400), minutes(400, None), "not known"),
        (queue(400, paused=True), minutes(800, 400, 0), "–"),
    ],
)
def test_estimates_when_a_queue_is_empty(it: Queue, lately: list[Minute], text: str) -> None:
    assert empty_in(it, lately) == text


def test_shows_queues_and_kinds_with_and_without_jobs(browser: Browser, conn: Connection) -> None:
    before = [
        browser.page(path).text for path in ("/ui/queues", "/ui/kinds", "/ui/queues/mail", "/ui/kinds/send_email")
    ]
    jobs = in_all_states(conn)
    forget(browser)

    found = browser.page("/ui/queues")
    pages = [browser.page(path) for path in ("/ui/queues/mail", "/ui/kinds", "/ui/kinds/send_email")]

    assert "No queue has been used lately." in before[0]
    assert "This queue has no live job" in before[2]
    assert jobs
    assert found.all("h1")[0].text == "Queues"
    assert "send_email" in pages[1].text
    assert '"subject"' in pages[2].text


def forget(browser: Browser) -> None:
    browser.client.application.extensions.pop("haulier_shelf", None)


@pytest.mark.parametrize("path", ["/ui/queues/mail", "/ui/kinds/send_email"])
@pytest.mark.parametrize(("query", "minutes"), [("", 1), ("?span=24h", 15), ("?span=nonsense", 1)])
def test_draws_the_span_that_is_asked_for(
    browser: Browser, conn: Connection, path: str, query: str, minutes: int
) -> None:
    enqueue(conn, queue="mail")
    counted(conn)

    page = browser.page(f"{path}{query}")

    [tabs] = [each for each in page.all("nav", class_="tabs")]
    assert [each.text for each in tabs.all("a") if "aria-current" in each.given] == [
        "24 hours" if minutes == 15 else "1 hour"
    ]
    assert f"jobs in {minutes} min" in page.text


def test_knows_no_kind_that_nobody_knows(browser: Browser) -> None:
    assert "Nothing here knows a kind of this name" in browser.page("/ui/kinds/nothing").text
    assert browser.get("/ui/kinds/No").status_code == 404
    assert browser.get("/ui/queues/No").status_code == 404


@pytest.mark.parametrize(
    ("sent", "seconds"),
    [
        ({"for": "15m"}, 900),
        ({"for": "1h"}, 3600),
        ({"for": ""}, None),
        pytest.param(
            {"for": "until", "until": "2999-01-01T12:00"},
            (datetime(2999, 1, 1, 12, tzinfo=UTC) - datetime.now(UTC)).total_seconds(),
            id="until",
        ),
    ],
)
def test_pauses_for_a_while_and_resumes(
    browser: Browser, conn: Connection, sql: Any, sent: dict[str, str], seconds: float | None
) -> None:
    enqueue(conn, queue="mail")
    page = browser.page("/ui/queues/mail")

    done = browser.send(page, "/ui/queues/mail/pause", **sent)
    paused = sql("SELECT queue, extract(epoch FROM until - now())::float FROM haulier.pause")
    again = browser.page("/ui/queues/mail")
    resumed = browser.send(again, "/ui/queues/mail/resume")

    assert (done.status_code, done.headers["Location"]) == (303, "/ui/queues/mail")
    [(name, until)] = paused
    assert name == "mail"
    assert until == (None if seconds is None else pytest.approx(seconds, abs=3600 if "until" in sent else 60))
    assert "Paused: no job of it starts" in again.text
    assert resumed.status_code == 303
    assert sql("SELECT count(*) FROM haulier.pause") == [(0,)]
    assert [row for (row,) in sql("SELECT action FROM haulier.audit WHERE target = 'mail' ORDER BY id")] == [
        "pause",
        "resume",
    ]


def test_says_since_when_and_by_whom_a_queue_is_paused(browser: Browser, signed_in: SignedIn, conn: Connection) -> None:
    pause(conn, "mail", actor="ops-anna")
    readers = [signed_in(Scope.READ), signed_in(Scope.READ, Scope.OPERATE, queues=["mail"])]

    told = [each.page("/ui/queues/mail").text for each in (browser, *readers)]

    assert ["by ops-anna, since" in text for text in told] == [True, False, True]
    assert all("until it is resumed" in text and "since" in text for text in told)


@pytest.mark.parametrize(
    ("sent", "why"),
    [
        ({"for": "until", "until": "soon"}, "Must be a time"),
        ({"for": "until", "until": "2001-01-01T00:00"}, "Must be in the future."),
        ({"for": "9y"}, "Must be a time"),
    ],
)
def test_gives_the_form_of_a_pause_back_with_what_is_wrong(
    browser: Browser, sql: Any, sent: dict[str, str], why: str
) -> None:
    refused = browser.send(browser.page("/ui/queues/mail"), "/ui/queues/mail/pause", **sent)

    page = read(refused.text)
    assert (refused.status_code, faults(page)) == (422, [])
    assert why in page.text
    assert sql("SELECT count(*) FROM haulier.pause") == [(0,)]


def test_lets_a_reader_pause_nothing_and_says_why(signed_in: SignedIn, conn: Connection, sql: Any) -> None:
    browser = signed_in(Scope.READ)
    enqueue(conn, queue="mail")

    page = browser.page("/ui/queues/mail")
    token = browser.page("/ui/settings").all("input", name="csrf")[0].given["value"]
    refused = [browser.post(f"/ui/queues/mail/{verb}", csrf=token).status_code for verb in ("pause", "resume")]

    assert page.all("form", action="/ui/queues/mail/pause") == []
    assert "This API key lacks the scope operate." in page.text
    assert refused == [403, 403]


def test_shows_a_key_of_one_queue_nothing_of_another(signed_in: SignedIn, conn: Connection, sql: Any) -> None:
    browser = signed_in(Scope.ADMIN, queues=["mail"])
    enqueue(conn, queue="mail")
    enqueue(conn, queue="salmon", kind="swim")
    counted(conn)

    pages = [browser.page(path).text for path in ("/ui/queues", "/ui/queues/mail", "/ui/kinds", "/ui/kinds/send_email")]
    token = browser.page("/ui/settings").all("input", name="csrf")[0].given["value"]
    kinds = [re.sub("swim|float|data-seen=.*", "", browser.get(f"/ui/kinds/{name}").text) for name in ("swim", "float")]
    refused = [browser.get("/ui/queues/salmon").status_code]
    refused += [browser.post(f"/ui/queues/salmon/{verb}", csrf=token).status_code for verb in ("pause", "resume")]

    assert [text for text in pages if "salmon" in text or "swim" in text] == []
    # Of a kind that others use it says what it says of one that nobody does.
    assert kinds[0] == kinds[1]
    assert refused == [404] * 3
    assert sql("SELECT count(*) FROM haulier.pause") == [(0,)]


def test_shows_the_kinds_of_one_queue_the_most_due_first(
    browser: Browser, signed_in: SignedIn, conn: Connection
) -> None:
    kinds = {"mail": ["swim", "swim", "send_email"], "salmon": ["run", "run", "run", "swim"]}
    for name, found in kinds.items():
        for kind in found:
            enqueue(conn, kind=kind, queue=name)
    counted(conn)
    own = signed_in(Scope.READ, queues=["mail"])

    [place] = [each.given["href"] for each in browser.page("/ui/queues/mail").all("a") if each.text == "Its kinds"]
    pages = [each.page(place) for each in (browser, own)]

    for page in pages:
        rows = [row for row in page.all("tr") if row.all("th", scope="row")]
        due = {row.all("th")[0].text: row.all("td")[1].text for row in rows}
        assert list(due.items()) == [("swim", "2"), ("send_email", "1")]
        assert [each.given["href"] for each in page.all("a", class_="chip")] == ["/ui/kinds"]
    assert [own.get(f"/ui/kinds?queue={name}").status_code for name in ("salmon", "No", "mail")] == [404, 404, 200]
    assert "No job of this queue was counted lately" in browser.page("/ui/kinds?queue=nowhere").text


def test_marks_a_kind_that_no_live_worker_knows(browser: Browser, conn: Connection) -> None:
    enqueue(conn, kind="swim")
    made = consume.register(conn, host="dock", pid=7, threads=4, queues=(), lease_seconds=30)
    workers.introduce(conn, made, kinds=["send_email"])
    counted(conn)

    page = browser.page("/ui/kinds")

    rows = {row.all("th")[0].text: row.text for row in page.all("tr") if row.all("th", scope="row")}
    assert "No live worker knows it" in rows["swim"]
    assert "No live worker knows it" not in rows["send_email"]


def test_shows_the_rest_where_a_part_is_late(browser: Browser, conn: Connection) -> None:
    with conn.cursor() as cursor:
        cursor.execute("BEGIN; LOCK TABLE haulier.worker IN ACCESS EXCLUSIVE MODE")
        try:
            pages = [browser.page(path).text for path in ("/ui/queues", "/ui/queues/mail", "/ui/kinds/send_email")]
        finally:
            cursor.execute("ROLLBACK")

    assert ["Not available just now" in text for text in pages] == [True, True, False]
    assert "Payload" in pages[2]


def test_answers_204_where_nothing_has_changed(browser: Browser, conn: Connection) -> None:
    due_for(conn, "1 hour")
    for path in ("/ui/queues", "/ui/queues/mail", "/ui/kinds", "/ui/kinds/send_email"):
        seen = browser.page(path).all("main")[0].given["data-seen"]
        assert browser.get(path, Haulier_Live=seen).status_code == 204, path


def test_answers_204_while_the_oldest_has_been_due_for_as_long_as_it_says(browser: Browser, conn: Connection) -> None:
    due_for(conn, "200 min 20 s")
    seen = browser.page("/ui/queues/mail").all("main")[0].given["data-seen"]

    again = [browser.get("/ui/queues/mail", Haulier_Live=seen).status_code for _ in range(3)]
    due_for(conn, "201 min 20 s")
    forget(browser)
    later = browser.get("/ui/queues/mail", Haulier_Live=seen)

    assert again == [204] * 3
    assert "3 h 21 min" in later.text


def due_for(conn: Connection, long: str) -> None:
    """Have a job that has been due for so long, and have it counted."""
    enqueue(conn, queue="mail")
    with conn.cursor() as cursor:
        cursor.execute("UPDATE haulier.job SET run_at = now() - %s::interval", [long])
    counted(conn)
