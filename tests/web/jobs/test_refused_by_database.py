"""A trigger of the owner's that refuses what a form asks for. The dashboard ..."""

from __future__ import annotations

from psycopg2.extensions import connection as Connection

from haulier.queue import search
from tests.isolation.rows import refusing
from tests.web.browsing import Browser
from tests.web.jobs import enqueue

NEW = "/ui/jobs/new?kind=send_email"
FILLED = {"p.to": "a@b.c", "p.subject": "Hi", "p.body": "Hello.", "queue": "orders"}
TOLD = "The database refuses this: not this one"


def test_gives_a_form_back_as_it_was_filled_in_with_the_message(browser: Browser, conn: Connection) -> None:
    with refusing(conn, "job", "INSERT", "NEW.queue = 'orders'", "MY001", is_deferred=True):
        page = browser.refused(browser.page(NEW), "/ui/jobs/new", **FILLED)

    assert TOLD in page.text
    assert page.one("input", name="queue").attrs["value"] == "orders"
    assert "secret" not in page.text


def test_shows_the_job_as_it_is_with_the_message(browser: Browser, conn: Connection) -> None:
    job = enqueue(conn)

    with refusing(conn, "finished_job", "INSERT", "true", "42501"):
        page = browser.refused(browser.page(f"/ui/jobs/{job}"), f"/ui/jobs/{job}/cancel")

    assert TOLD in page.text
    assert search.get(conn, job).status == "queued"


def test_does_it_to_the_other_jobs_that_were_ticked(browser: Browser, conn: Connection, sql) -> None:
    jobs = [enqueue(conn, queue=queue) for queue in ("mail", "orders", "mail")]

    with refusing(conn, "finished_job", "INSERT", "NEW.queue = 'orders'", "MY001", is_deferred=True):
        browser.act("/ui/jobs/ticked/cancel", id=[str(job) for job in jobs])

    [said] = browser.page("/ui/jobs").all("p", id="said")
    assert said.text.startswith("Cancelled 2 jobs. The database refused 1 job: not this one.")
    assert sql("SELECT queue FROM haulier.job") == [("orders",)]
