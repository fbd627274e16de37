"""What needs attention, as the overview finds it: it ..."""

from __future__ import annotations

from psycopg2.extensions import connection as Connection

from app.web.attention import facts
from app.web.pages import overview
from haulier.domain.api_key import Scope
from haulier.domain.checks import Found, Threshold
from haulier.domain.outcome import Outcome
from haulier.queue import claims, search
from haulier.queue.claims.rescue import bury
from haulier.queue.health import database_checks
from haulier.queue.numbers.recent import usual_shares
from haulier.queue.schedules import schedule_health
from tests.queue.schedules.schedules import plant
from tests.web.browsing import Browser
from tests.web.conftest import SignedIn
from tests.web.jobs import claim, counted, end, enqueue, fail
from tests.web.overviews import PLANTED, fresh, headlines, word

LEFT_OUT = "Some checks could not be loaded. This list may be incomplete."
FAILED = """
    INSERT INTO haulier.rollup (queue, at, step, kind, succeeded, failed)
    SELECT 'mail', now() - interval '1 minute', 60, 'send_email', 88, 30
"""


def register(conn: Connection, *queues: str) -> None:
    claims.register(conn, host="dock", pid=7, threads=4, queues=queues, lease_seconds=600)


def test_says_that_jobs_run_past_their_timeout_and_that_a_worker_was_lost(
    browser: Browser, conn: Connection, sql
) -> None:
    enqueue(conn, timeout_seconds=60)
    claim(conn)
    # After its timeout a job has some time in which it is stopped.
    sql("UPDATE haulier.job SET started_at = now() - interval '65 seconds'")
    before = headlines(browser.page("/ui"))
    sql("UPDATE haulier.job SET started_at = now() - interval '71 seconds'")
    claims.register(conn, host="lost", pid=8, threads=4, queues=(), lease_seconds=30)
    sql("UPDATE haulier.worker SET beat_at = now() - interval '1 hour' WHERE host = 'lost'")
    bury(conn)
    browser.forget()

    after = headlines(browser.page("/ui"))

    assert [text for text in before if "timeout" in text] == []
    assert "1 job runs past the timeout: send_email" in after
    assert "1 worker let the lease run out in the last hour: lost:8" in after


def test_says_that_an_error_is_new_until_its_jobs_were_retried(browser: Browser, conn: Connection) -> None:
    fail(conn, "no luck", times=10)

    found = []
    for job in search.list_jobs(conn, search.JobFilter()).jobs:
        found.append(
            "send_email fails with a new error: 10 times for good, 0 to be retried" in headlines(browser.page("/ui"))
        )
        browser.act(f"/ui/jobs/{job.id}/retry")

    assert found == [True] * 10
    assert "fails with a new error" not in browser.page("/ui").text


def test_says_that_a_queue_fails_if_it_fails_more_than_usually(browser: Browser, conn: Connection, sql) -> None:
    enqueue(conn, queue="mail")
    register(conn)
    counted(conn)

    for age, usual, is_said in (
        ("3 days", (88, 12), False),
        ("3 days", (99, 1), True),
        # What failed since yesterday is what fails now, and not what is usual.
        ("20 hours", (88, 12), True),
        ("8 days", (88, 12), True),
        # Nineteen jobs are too few.
        ("3 days", (16, 3), True),
        ("3 days", (17, 3), False),
    ):
        sql("DELETE FROM haulier.rollup")
        fresh(sql)
        sql(PLANTED, "mail", age, 3600, *usual)
        sql(FAILED)
        browser.forget()
        pages = [browser.page(path) for path in ("/ui", "/ui/queues")]
        title = browser.page("/ui/queues/mail").all("div", class_="title")[0].text

        assert [text for text in headlines(pages[0]) if "in the queue mail failed" in text] == [
            "30 jobs in the queue mail failed for good in the last 10 minutes (25 %)"
        ] * is_said, (age, usual)
        assert [word(page, "mail") for page in pages] == ["Failing" if is_said else "Well"] * 2
        assert ("Failing" in title) is is_said


def test_knows_the_usual_share_of_each_queue(conn: Connection, sql) -> None:
    counted(conn)
    fresh(sql)
    for name, ends in {"mail": (15, 5), "hooks": (20, 0), "other": (0, 30)}.items():
        sql(PLANTED, name, "3 days", 3600, *ends)

    assert usual_shares(conn, ["mail", "hooks", "absent"]) == {"mail": 0.25, "hooks": 0.0}


def test_names_a_schedule_whose_jobs_fail_after_looking_at_some_at_a_time(
    browser: Browser, conn: Connection, sql, monkeypatch
) -> None:
    monkeypatch.setattr(schedule_health, "LOOKED_AT", 2)
    monkeypatch.setattr(facts, "MOST_LOOKS", 1)
    for name in ("a", "b", "c"):
        plant(sql, name, every_seconds=3600)
    for seconds in range(3):
        sql("SELECT haulier.fire_ticks('{c}', ARRAY[now() + make_interval(secs => %s)], '{fired}')", seconds)
        _, [fence] = claim(conn)
        end(conn, fence, Outcome.fail_for_good("no luck"))

    seen = []
    for _ in range(3):
        page = browser.page("/ui")
        seen.append(
            (any("failed of 1 schedule: c" in text for text in headlines(page)), "yet to be looked at" in page.text)
        )
        browser.forget()

    assert seen == [(False, True), (True, False), (True, False)]


def test_says_that_the_database_is_not_well_only_to_those_who_may_see_its_page(
    signed_in: SignedIn, monkeypatch
) -> None:
    monkeypatch.setitem(facts.CHECKS, "connections", Threshold("percent", 0))
    viewers = [signed_in(Scope.ADMIN), signed_in(Scope.READ), signed_in(Scope.ADMIN, queues=["mail"])]

    seen = [any(text.startswith("The database: ") for text in headlines(each.page("/ui"))) for each in viewers]

    assert seen == [True, False, False]


def test_says_which_check_came_too_late_and_makes_the_others(browser: Browser, monkeypatch) -> None:
    def late(conn: Connection) -> Found:
        with conn.cursor() as cursor:
            cursor.execute("SELECT pg_sleep(5)")
        return Found(0.0, "", "")

    monkeypatch.setitem(database_checks._LOOKS, "transactions", late)
    monkeypatch.setitem(facts.CHECKS, "connections", Threshold("percent", 0))

    page = browser.page("/ui")

    assert [text for text in headlines(page) if text.startswith("The database: ")] != []
    assert "The database took too long for what its page tells of transactions." in page.text


def test_says_that_not_every_queue_was_looked_at(browser: Browser, conn: Connection, sql, monkeypatch) -> None:
    register(conn)
    for name in "abcd":
        enqueue(conn, queue=name)
    counted(conn)
    fresh(sql)

    pages = []
    for most in (4, 3):
        monkeypatch.setattr(overview, "MOST_QUEUES", most)
        browser.forget()
        pages.append(browser.page("/ui"))

    assert [headlines(page) for page in pages] == [["Nothing needs you."], [LEFT_OUT]]
    assert "Of more than 3 queues only the first by name were looked at." in pages[1].text


def test_calls_no_queue_unserved_if_not_every_worker_was_looked_at(
    browser: Browser, conn: Connection, sql, monkeypatch
) -> None:
    monkeypatch.setattr("app.web.lists.fleet.MOST_WORKERS", 2)
    monkeypatch.setattr(overview, "MOST_WORKERS", 2)
    for name in ("mail", "bulk", "bulk"):
        register(conn, name)
    for name in ("mail", "salmon"):
        enqueue(conn, queue=name)
    counted(conn)
    sql("UPDATE haulier.job SET run_at = now() - interval '20 seconds'")
    fresh(sql)

    page, running = browser.page("/ui"), browser.page("/ui/running")

    assert headlines(page) == ["No live worker serves the queue salmon, where 1 job is due", LEFT_OUT]
    assert [word(page, name) for name in ("mail", "salmon")] == ["Well", "Unserved"]
    assert "more than 2 workers" in page.text
    assert "of more than 8 threads" in page.text
    assert "more than 0 of more than 8 threads" in running.text


def test_shows_the_first_notices_and_the_others_behind_a_summary(
    browser: Browser, conn: Connection, monkeypatch
) -> None:
    monkeypatch.setattr(overview, "MOST_NOTICES", 1)
    for error in ("Refused: x", "Broken: x", "Absent: x", "Timeout: x"):
        fail(conn, error, times=10)

    pages = [browser.page("/ui")]
    monkeypatch.setattr(overview, "MOST_LISTED", 3)
    browser.forget()
    pages.append(browser.page("/ui"))

    more = [page.one("details", id="more-notices") for page in pages]
    assert [len(headlines(page)) for page in pages] == [5, 3]
    assert [each.one("summary").text for each in more] == ["and 4 more"] * 2
    assert [len(headlines(each)) for each in more] == [4, 2]
    assert [len(each.all("a", class_="button slim")) for each in more] == [3, 2]
    assert ["2 of them are not shown: see the queues" in each.text for each in more] == [False, True]
