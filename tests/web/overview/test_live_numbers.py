"""The numbers of live jobs on the overview and in lists: it ..."""

from __future__ import annotations

import re
from uuid import uuid4

from psycopg2.extensions import connection as Connection

from haulier.domain.api_key import Scope
from haulier.queue import claims
from tests import queueing
from tests.web.browsing import Browser, SignedIn
from tests.web.jobs import counted, enqueue, fail
from tests.web.overview import cells, due, figure, fresh, headlines


def test_shows_no_number_of_live_jobs_that_nobody_has_counted_recently(browser: Browser, conn: Connection, sql) -> None:
    enqueue(conn, queue="mail")
    counted(conn)
    before = due(browser.page("/ui")), cells(browser.page("/ui/queues"), "due"), due(browser.page("/ui/queues/mail"))

    # As after a minute in which the last worker has died, and thousands of jobs have come.
    sql("UPDATE haulier.counting SET through = now() - interval '61 s', depth_at = now() - interval '61 s'")
    browser.forget()

    assert before == ("1", ["1"], "1")
    assert (
        due(browser.page("/ui")),
        cells(browser.page("/ui/queues"), "due"),
        due(browser.page("/ui/queues/mail")),
    ) == (("–", ["–"], "–"))


def test_counts_a_kind_whose_jobs_have_all_ended(browser: Browser, conn: Connection, sql) -> None:
    enqueue(conn, kind="swim")
    counted(conn)
    for queue, kind, ended in (("default", "swim", 7), ("default", "gone", 41_000)):
        sql(
            "INSERT INTO haulier.rollup (step, at, queue, kind, arrived, succeeded)"
            " SELECT 60, date_bin('1 minute', through, 'epoch') - interval '5 minutes', %s, %s, %s, %s"
            " FROM haulier.counting",
            queue,
            kind,
            ended,
            ended,
        )
    rows = {row.all("th")[0].text: row for row in browser.page("/ui/kinds").one("tbody").all("tr")}

    def numbers(kind: str) -> list[str]:
        names = ("due", "running", "enqueued", "done", "failed")
        return [cell.text for cell in rows[kind].all("td") if cell.attrs.get("data-name") in names]

    assert numbers("gone") == ["0", "0", "41,000", "41,000", "0"]
    assert numbers("swim") == ["1", "0", "7", "7", "0"]
    assert numbers("send_email") == ["0", "0", "0", "0", "0"]


def test_runs_no_more_jobs_than_there_are_threads(browser: Browser, conn: Connection) -> None:
    worker = claims.register(conn, host="dock", pid=7, threads=4, queues=("mail",), lease_seconds=600)
    for _ in range(6):
        enqueue(conn, queue="mail")
        queueing.claim(conn, worker_id=worker, claim_id=uuid4(), queues=("mail",))
    counted(conn)

    assert figure(browser.page("/ui"), "Running").startswith("4 of 4 threads 1 worker, 2 claimed ahead")


def test_resumes_a_forgotten_pause_from_its_notice(
    browser: Browser, signed_in: SignedIn, conn: Connection, sql
) -> None:
    enqueue(conn, queue="mail")
    browser.send(browser.page("/ui/queues/mail"), "/ui/queues/mail/pause", **{"for": ""})
    sql("UPDATE haulier.pause SET since = now() - interval '3 hours'")
    counted(conn)
    fresh(sql)
    browser.forget()
    page = browser.page("/ui")

    assert headlines(page) == ["Queue mail has been paused for 3 h; 1 job is due"]
    # A reader sees no button.
    assert "/resume" not in str(signed_in(Scope.READ).get("/ui").text)
    assert browser.send(page, "/ui/queues/mail/resume").status_code == 303
    assert sql("SELECT count(*) FROM haulier.pause") == [(0,)]


def test_folds_the_errors_of_a_queue_that_fails_into_one_notice(browser: Browser, conn: Connection, sql) -> None:
    group = fail(conn, "PaymentGateway: no answer", times=25)
    counted(conn)
    sql(
        "INSERT INTO haulier.rollup (step, at, queue, kind, failed)"
        " SELECT 10, through - interval '1 minute', 'default', 'send_email', 25 FROM haulier.counting"
    )
    sql("UPDATE haulier.counting SET through = through")
    browser.forget()
    page = browser.page("/ui")

    [line] = page.one("ul", class_="lines").all("li")
    assert "New error in send_email: 25 jobs failed. PaymentGateway: no answer" in line.text
    assert [link.attrs["href"] for link in line.all("a")] == [f"/ui/failures/{group}"]
    assert [each for each in headlines(page) if "New error" in each] == []
    # Its preview names the jobs.
    [retry] = [link.attrs["href"] for link in page.all("a") if link.text.startswith("Retry all…")]
    assert re.search(r'value="retry"[^>]* checked', browser.get(retry).text)
