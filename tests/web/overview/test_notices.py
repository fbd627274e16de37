"""What needs attention, as the overview finds it, also of a fleet that is dead, quiet or elsewhere: it ..."""

from __future__ import annotations

from datetime import timedelta
from importlib import import_module

import pytest
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
from tests.conftest import eventually
from tests.queue.schedules.schedules import plant
from tests.web.browsing import Browser, Element, MakeSite, SignedIn
from tests.web.jobs import claim, counted, end, enqueue, fail, register
from tests.web.overview import PLANTED, fresh, headlines, word

LEFT_OUT = "Some checks could not be loaded. This list may be incomplete."
FAILED = """
    INSERT INTO haulier.rollup (queue, at, step, kind, succeeded, failed)
    SELECT 'mail', now() - interval '1 minute', 60, 'send_email', 88, 30
"""


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
    # The other worker has run since long before.
    sql("UPDATE haulier.worker SET started_at = now() - interval '1 day'")
    sql("UPDATE haulier.worker SET beat_at = now() - interval '1 hour' WHERE host = 'lost'")
    bury(conn)
    browser.forget()

    after = headlines(browser.page("/ui"))

    assert [text for text in before if "timeout" in text] == []
    assert "1 job is past the timeout: send_email" in after
    assert "Worker lost:8 stopped responding in the last hour" in after
    # It may have started before the other died: that was to beat every 10 s.
    new = claims.register(conn, host="new", pid=9, threads=4, queues=(), lease_seconds=600)
    for started, is_said in (("59 minutes 51 seconds", True), ("59 minutes 49 seconds", False)):
        sql("UPDATE haulier.worker SET started_at = now() - %s::interval WHERE id = %s", started, str(new))
        browser.forget()
        assert ("lost:8" in browser.page("/ui").text) is is_said


def test_says_that_an_error_is_new_until_its_jobs_were_retried(browser: Browser, conn: Connection) -> None:
    fail(conn, "no luck", times=10)

    new = "New error in send_email: 10 jobs failed"
    *others, last = search.list_jobs(conn, search.JobFilter()).jobs
    for job in others:
        browser.act(f"/ui/jobs/{job.id}/retry")
    assert new in headlines(browser.page("/ui"))
    browser.act(f"/ui/jobs/{last.id}/retry")

    assert "New error in" not in browser.page("/ui").text


def test_offers_no_retry_of_errors_without_jobs_and_lists_them_last(browser: Browser, conn: Connection) -> None:
    fail(conn, "no luck", times=2)
    for job in search.list_jobs(conn, search.JobFilter()).jobs:
        browser.act(f"/ui/jobs/{job.id}/retry")
    fail(conn, "too late", queue="mail")

    rows = browser.page("/ui").named_rows()

    assert list(rows)[-2:] == ["too late", "no luck"]
    assert "Retry…" in rows["too late"].text
    assert "Retry" not in rows["no luck"].text
    assert "no jobs left" in rows["no luck"].text


def test_says_that_a_queue_fails_if_it_fails_more_than_usually(browser: Browser, conn: Connection, sql) -> None:
    enqueue(conn, queue="mail")
    register(conn)
    counted(conn)

    for age, usual, is_said in (("3 days", (88, 12), False), ("3 days", (99, 1), True)):
        sql("DELETE FROM haulier.rollup")
        fresh(sql)
        sql(PLANTED, "mail", age, 3600, *usual)
        sql(FAILED)
        browser.forget()
        pages = [browser.page(path) for path in ("/ui", "/ui/queues")]
        title = browser.page("/ui/queues/mail").all("div", class_="title")[0].text

        assert [text for text in headlines(pages[0]) if "in queue mail failed" in text] == [
            "30 jobs in queue mail failed in the last 10 minutes (25 %)"
        ] * is_said, (age, usual)
        assert [word(page, "mail") for page in pages] == ["Failing" if is_said else "OK"] * 2
        assert ("Failing" in title) is is_said


def test_knows_the_usual_share_of_each_queue(conn: Connection, sql) -> None:
    counted(conn)
    fresh(sql)
    for name, age, ends in (
        ("mail", "3 days", (15, 5)),
        ("hooks", "3 days", (20, 0)),
        ("other", "3 days", (0, 30)),
        # What failed since yesterday is what fails now, and not what is usual.
        ("new", "20 hours", (88, 12)),
        ("old", "8 days", (88, 12)),
        # Nineteen jobs are too few.
        ("few", "3 days", (16, 3)),
    ):
        sql(PLANTED, name, age, 3600, *ends)

    assert usual_shares(conn, ["mail", "hooks", "absent", "new", "old", "few"]) == {"mail": 0.25, "hooks": 0.0}


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
            (any("jobs of schedule c failed" in text for text in headlines(page)), "are not checked yet" in page.text)
        )
        browser.forget()

    assert seen == [(False, True), (True, False), (True, False)]


@pytest.mark.direct("behind a pool the use of connections is unknown")
def test_says_that_the_database_is_not_well_only_to_those_who_may_see_its_page(
    signed_in: SignedIn, monkeypatch
) -> None:
    monkeypatch.setitem(facts.CHECKS, "connections", Threshold("percent", 0))
    viewers = [signed_in(Scope.ADMIN), signed_in(Scope.READ), signed_in(Scope.ADMIN, queues=["mail"])]

    seen = [any(text.startswith("Database: ") for text in headlines(each.page("/ui"))) for each in viewers]

    assert seen == [True, False, False]


def test_waits_for_autovacuum_before_dead_rows_are_a_notice(browser: Browser, monkeypatch) -> None:
    few, many = Threshold("dead rows", 2**60), Threshold("dead rows", 0)

    def is_said(threshold: Threshold, soon: timedelta) -> bool:
        monkeypatch.setitem(facts.CHECKS, "vacuum", threshold)
        monkeypatch.setattr(facts, "VACUUM_IS_DUE", soon)
        browser.forget()
        return any("dead row" in text for text in headlines(browser.page("/ui")))

    # The time begins when a look finds many, and again once they were few.
    assert [is_said(many, timedelta(minutes=2)), is_said(many, timedelta())] == [False, True]
    first = eventually(lambda: is_said(many, timedelta(seconds=1)))
    assert (is_said(few, timedelta()), is_said(many, timedelta(minutes=2)), first) == (False, False, True)


@pytest.mark.direct("behind a pool the use of connections is unknown")
def test_says_which_check_came_too_late_and_makes_the_others(browser: Browser, monkeypatch) -> None:
    def late(conn: Connection) -> Found:
        with conn.cursor() as cursor:
            cursor.execute("SELECT pg_sleep(5)")
        return Found(0.0, "", "")

    monkeypatch.setitem(database_checks._LOOKS, "transactions", late)
    monkeypatch.setitem(facts.CHECKS, "connections", Threshold("percent", 0))

    page = browser.page("/ui")

    assert [text for text in headlines(page) if text.startswith("Database: ")] != []
    assert "The database took too long to check transactions." in page.text


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

    assert headlines(page) == ["1 job is due in queue salmon, but no worker serves it", LEFT_OUT]
    assert [word(page, name) for name in ("mail", "salmon")] == ["OK", "Unserved"]
    assert "2+ workers" in page.text
    assert "of 8+ threads" in page.text
    assert "0+ of 8+ threads" in running.text


AGED = "UPDATE haulier.counting SET through = now() - interval '5 minutes', depth_at = now() - interval '5 minutes'"


def looks(page: Element) -> list[str]:
    found = [each for each in page.all("a", class_="button slim") if each.attrs["href"].startswith("/ui/jobs?")]
    return [each.attrs["href"] for each in found]


def killed(sql) -> None:
    sql("UPDATE haulier.worker SET beat_at = now() - interval '1 hour'")


def overdue(conn: Connection, sql, queue: str) -> None:
    """Have a job that has been due in the queue for longer than a worker that is replaced is away."""
    job = enqueue(conn, queue=queue)
    sql("UPDATE haulier.job SET run_at = now() - interval '20 seconds' WHERE id = %s", str(job))


def test_says_that_no_worker_lives_once_all_were_killed(browser: Browser, conn: Connection, sql) -> None:
    worker = register(conn)
    enqueue(conn, queue="mail")
    counted(conn)
    before = headlines(browser.page("/ui"))
    killed(sql)
    browser.forget()

    page = browser.page("/ui")

    assert [text for text in before if "worker" in text] == []
    assert [text for text in headlines(page) if "orker" in text] == ["1 job is due, but no worker is running"]
    assert "Worker dock:7 is silent" in page.text
    assert "0 workers" in page.text
    assert "threads" not in page.all("dl", class_="figures")[0].text
    assert [word(browser.page(path), "mail") for path in ("/ui", "/ui/queues")] == ["Unserved"] * 2
    assert "No worker serves this queue." in browser.page("/ui/queues/mail").text
    assert "0 of 0 threads" in browser.page("/ui/running").text
    # As in the API, a worker is silent until another one finds that it is dead.
    assert "Silent" in browser.page("/ui/workers").all("tr", id=f"worker-{worker}")[0].text
    # Nobody counts, so it is unknown whether none is due.
    sql("UPDATE haulier.depth SET due = 0")
    browser.forget()
    assert figures(browser.page("/ui"))["Due"] == "–"


@pytest.mark.parametrize("is_counted", [True, False])
def test_finds_due_jobs_that_nobody_takes_and_nobody_has_counted(
    browser: Browser, signed_in: SignedIn, conn: Connection, sql, is_counted: bool
) -> None:
    own = signed_in(Scope.READ, queues=["salmon"])
    for name in ("mail", "salmon", "trout"):
        enqueue(conn, queue=name, delay=timedelta(hours=1))
    if is_counted:
        counted(conn)
        sql(AGED)
    register(conn, "trout")
    killed(sql)
    sql("UPDATE haulier.job SET run_at = now() - interval '20 seconds' WHERE queue <> 'trout'")
    sql("UPDATE haulier.job SET run_at = now() - interval '5 seconds' WHERE queue = 'trout'")

    pages = [each.page("/ui") for each in (browser, own)]

    # A key of one queue does not see whether workers of others live.
    assert [headlines(page)[0] for page in pages] == [
        "Jobs are due, but no worker is running",
        "Jobs are due in queue salmon, but no worker serves it",
    ]
    assert looks(pages[1]) == ["/ui/jobs?queue=salmon&status=queued&status=retrying"]
    assert "mail" not in pages[1].text
    assert "Unserved" in browser.page("/ui/queues/mail").all("div", class_="title")[0].text
    if is_counted:
        assert [word(browser.page("/ui/queues"), name) for name in ("mail", "trout")] == ["Unserved", "Unknown"]


def test_believes_a_worker_that_started_since_the_jobs_were_read(browser: Browser, conn: Connection, sql) -> None:
    register(conn)
    overdue(conn, sql, "mail")
    killed(sql)
    before = browser.page("/ui")

    register(conn)
    eventually(lambda: "no worker is running" not in browser.page("/ui").text)

    assert "Jobs are due, but no worker is running" in headlines(before)
    assert headlines(browser.page("/ui"))[0] == "Worker dock:7 is silent"


@pytest.mark.parametrize("is_counted", [True, False])
def test_ignores_workers_that_take_no_jobs_if_others_do(
    browser: Browser, conn: Connection, sql, is_counted: bool
) -> None:
    served_all = register(conn)
    register(conn, "bulk", host="other")
    if is_counted:
        enqueue(conn, queue="bulk", delay=timedelta(hours=1))
        counted(conn)
        sql(AGED)
    overdue(conn, sql, "mail")

    for how in (
        "quiet = true",
        "quiet = false, stopping = true",
        "stopping = false, beat_at = now() - interval '1 hour'",
    ):
        sql(f"UPDATE haulier.worker SET {how} WHERE id = %s", served_all)
        browser.forget()
        assert headlines(browser.page("/ui"))[0] == "Jobs are due in queue mail, but no worker serves it", how


def test_says_that_some_of_very_many_queues_were_not_looked_at(browser: Browser, conn: Connection, monkeypatch) -> None:
    monkeypatch.setattr(import_module("haulier.queue.health.overview"), "LOOK_SECONDS", 0.0)

    assert "Some of very many queues were not checked" in browser.page("/ui").text


# While nobody counts (COUNTING=off)


@pytest.fixture
def uncounted(make_site: MakeSite, signed_in: SignedIn, conn: Connection, sql) -> Browser:
    """Give a browser of an application with COUNTING=off, though somebody has counted before."""
    enqueue(conn, queue="mail", delay=timedelta(hours=1))
    enqueue(conn, queue="busy")
    claim(conn, "busy")
    register(conn)
    counted(conn)
    sql(PLANTED, "mail", "3 days", 3600, 88, 12)
    return signed_in(Scope.ADMIN, app=make_site(counting="off"))


def figures(page: Element) -> dict[str, str]:
    found = page.one("dl", class_="figures")
    names, values = found.all("dt"), found.all("dd", class_="n")
    return dict(zip([each.text for each in names], [each.text for each in values], strict=True))


def test_says_so_on_the_overview_and_shows_no_old_figure(uncounted: Browser) -> None:
    page = uncounted.page("/ui")

    assert headlines(page) == ["Counting is off"]
    shown = figures(page)
    assert shown.pop("Running") != "–"
    assert set(shown.values()) == {"–"}
    assert page.all("svg", class_="swatch") == []
    assert "usually" not in page.text


def test_knows_no_figure_of_a_queue_or_kind(uncounted: Browser) -> None:
    queue, kind = uncounted.page("/ui/queues/mail"), uncounted.page("/ui/kinds/send_email")

    for path, name in (("/ui", "busy"), ("/ui/queues", "busy"), ("/ui/kinds", "send_email")):
        row = uncounted.page(path).named_rows()[name]
        assert {cell.text for cell in row.all("td", class_="num")} == {"–"}
    assert [word(uncounted.page("/ui/queues"), name) for name in ("busy", "mail")] == ["Unknown"] * 2
    assert "Unknown" in queue.all("div", class_="title")[0].text
    assert {*figures(queue).values(), *figures(kind).values()} == {"–"}


def test_names_jobs_that_nobody_takes_all_the_same(uncounted: Browser, sql) -> None:
    sql("UPDATE haulier.worker SET beat_at = now() - interval '1 hour'")
    sql("UPDATE haulier.job SET run_at = now() - interval '1 minute' WHERE queue = 'mail'")

    assert headlines(uncounted.page("/ui"))[0] == "Jobs are due, but no worker is running"
    assert word(uncounted.page("/ui/queues"), "mail") == "Unserved"
