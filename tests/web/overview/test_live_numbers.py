"""The numbers of live jobs on the overview and in lists: it ..."""

from __future__ import annotations

from uuid import uuid4

from psycopg2.extensions import connection as Connection

from haulier.queue import claims
from tests import queueing
from tests.web.browsing import Browser
from tests.web.jobs import counted, enqueue
from tests.web.overview import cells, due, figure


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
