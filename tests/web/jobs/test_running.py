"""What runs, and the workers: it ..."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

from psycopg2.extensions import connection as Connection

from haulier.domain.api_key import Scope
from haulier.queue import claims
from tests.web.browsing import Browser, SignedIn, check_each
from tests.web.jobs import claim, enqueue, register

RUNNING, WORKERS = "/ui/running", "/ui/workers"


def run(conn: Connection, sql, queue: str = "default", *, since: str = "1 second", **options: Any) -> str:
    """Have a job run since some time; return its id."""
    job = enqueue(conn, queue=queue, **options)
    claim(conn, queue)
    sql("UPDATE haulier.job SET started_at = now() - %s::interval WHERE id = %s", since, job)
    return str(job)


def test_shows_the_jobs_that_run_longest_first(browser: Browser, conn: Connection, sql) -> None:
    short = run(conn, sql, "mail", since="3 seconds")
    long = run(conn, sql, "other", since="2 hours", timeout_seconds=60)
    middle = run(conn, sql, "post", since="50 minutes", timeout_seconds=3600)
    enqueue(conn, queue="waits")

    page = browser.page(RUNNING)

    rows = {job: row.text for job, row in page.rows().items()}
    assert list(rows) == [long, middle, short]
    assert "past it" in rows[long]
    assert "nearly used up" in rows[middle]
    assert [word for word in ("past it", "nearly used up") if word in rows[short]] == []
    assert "dock:7" in rows[short]
    assert "3 of 12 threads" in page.text


def test_shows_the_running_jobs_that_match_a_filter(
    browser: Browser, signed_in: SignedIn, conn: Connection, sql
) -> None:
    own = signed_in(Scope.READ, queues=["mail"])
    none = browser.page(RUNNING).text
    queues = {run(conn, sql, name): name for name in ("mail", "other")}
    browser.forget()

    def shown(query: str, by: Browser = browser) -> list[str]:
        return sorted(queues[job] for job in by.page(f"{RUNNING}?{query}").rows())

    assert "Nothing is running right now" in none
    check_each(
        shown,
        ("queue=mail", ["mail"]),
        ("kind=send_email", ["mail", "other"]),
        ("kind=resize_image&by=worker", []),
        ("by=worker&queue=a%20b", ["mail", "other"]),
        (f"worker={uuid4()}", []),
        ("", own, ["mail"]),
        ("queue=other", own, []),
    )
    assert "Ignored: queue a b" in browser.page(f"{RUNNING}?queue=a%20b").text


def test_cancels_a_running_job_and_leads_back(browser: Browser, conn: Connection, sql) -> None:
    job, path = run(conn, sql, "mail"), f"{RUNNING}?queue=mail"

    done = browser.send(browser.page(path), f"{RUNNING}/{job}/stop")
    page = browser.page(path)

    assert (done.status_code, done.headers["Location"]) == (303, path)
    assert "Cancel requested" in page.one("p", id="said").text
    assert "cancel requested" in page.rows()[job].text
    assert f"{RUNNING}/{job}/stop" not in page.actions()
    assert sql("SELECT cancel_requested FROM haulier.job") == [(True,)]


def test_shows_each_worker_and_those_that_are_gone(browser: Browser, conn: Connection, sql) -> None:
    none = browser.page(WORKERS).text
    one, silent, gone = register(conn, "mail", "post"), register(conn, host="pier"), register(conn, host="quay")
    job, (holds, _) = enqueue(conn, queue="bulk"), claim(conn, "bulk", "hold")
    claims.introduce(conn, holds, kinds=["send_email"])
    claims.introduce(conn, UUID(one), kinds=("send_email", "resize_image"))
    sql("UPDATE haulier.worker SET beat_at = now() - interval '500 seconds' WHERE id = %s", silent)
    sql("DELETE FROM haulier.worker WHERE id = %s", gone)
    browser.forget()

    page = browser.page(WORKERS)

    assert "No worker is running. Jobs wait; nothing is lost." in none
    rows = page.rows()
    assert [word in rows[one].text for word in ("dock:7", "mail, post")] == [True, True]
    assert "Silent" in rows[silent].text
    assert "3 workers, 12 threads" in page.text
    assert "quay:7 stopped" in page.text
    assert "it stopped" in browser.page(f"{WORKERS}/{gone}").text
    browser.page(f"{WORKERS}/{uuid4()}", 404)
    of_one = browser.page(f"{WORKERS}/{holds}").text
    assert (str(job) in of_one, "Known only to other workers: resize_image" in of_one) == (True, True)


def test_quiets_and_wakes_a_worker(browser: Browser, conn: Connection, sql) -> None:
    worker = register(conn)

    for place in (WORKERS, f"{WORKERS}/{worker}"):
        for act, is_quiet in (("quiet", True), ("wake", False)):
            done = browser.send(browser.page(place), f"{WORKERS}/{worker}/{act}")
            assert (done.headers["Location"], sql("SELECT quiet FROM haulier.worker")) == (place, [(is_quiet,)])
