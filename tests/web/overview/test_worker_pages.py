"""The list of workers and the page of one: each ..."""

from __future__ import annotations

from uuid import UUID

from psycopg2.extensions import connection as Connection

from haulier.domain.api_key import Scope
from haulier.domain.vitals import KILLED, IsolatedEnds, IsolatedProcess, Vitals
from haulier.queue import claims
from tests.web.browsing import Browser, SignedIn
from tests.web.jobs import enqueue, register

MB = 1024 * 1024
VITALS = Vitals(
    memory=70 * MB,
    usual_memory=44 * MB,
    is_growing=True,
    grew_with=["mail"],
    cpu=1.25,
    busy=1.5,
    busy_minutes=[None, 4.0, 1.5],
    isolated=[IsolatedProcess("pdf", 99)],
    isolated_ended=7,
    ends=[IsolatedEnds("pdf", KILLED, 2)],
)


def test_shows_what_the_last_heartbeat_said_and_dashes_for_what_is_unknown(browser: Browser, conn: Connection) -> None:
    known, unknown = UUID(register(conn)), UUID(register(conn))
    claims.introduce(conn, known, kinds=["mail"], release="shop 7")
    claims.beat(conn, known, vitals=VITALS)
    claims.beat(conn, unknown, vitals=Vitals(busy_minutes=[None]))

    rows, page = browser.page("/ui/workers").rows(), browser.page(f"/ui/workers/{known}").text

    cells = [rows[f"{worker}"].cells() for worker in (known, unknown)]
    assert [each["memory"] for each in cells] == ["70 MB growing 125 % CPU", "– CPU –"]
    assert [("busy" in each["threads"], each["busy"]) for each in cells] == [(True, ""), (False, "–")]
    assert "shop 7" in rows[f"{known}"].text
    ends = ("was killed by SIGKILL", "7 ends since it started")
    for said in ("usually 44 MB", "While it grew it ran mail.", "1.5 of", *ends):
        assert said in page, said
    # Of a process whose memory is unknown.
    assert "pdf 99 – –" in page


def test_shows_nobody_who_sees_only_some_queues_what_jobs_of_others_use(signed_in: SignedIn, conn: Connection) -> None:
    worker = UUID(register(conn))
    claims.beat(conn, worker, vitals=VITALS)
    limited = signed_in(Scope.READ, queues=["mail"])

    pages = [limited.page(path).text for path in ("/ui", "/ui/workers", f"/ui/workers/{worker}")]

    assert [word for word in ("70 MB", "growing", "pdf", "1.5", "125 %") if word in " ".join(pages)] == []


def test_lists_the_jobs_that_were_taken_over_from_a_dead_worker(browser: Browser, conn: Connection, sql) -> None:
    dead, job = UUID(register(conn)), enqueue(conn, queue="mail")
    sql("UPDATE haulier.worker SET beat_at = now() - interval '2 hours'")
    claims.bury(conn)
    claims.note_taken_over(conn, {job: dead})

    gone = browser.page("/ui/workers").named_rows()

    [row] = gone.values()
    [link] = row.links("1 job taken over")
    assert link.partition("#")[::2] == (f"/ui/workers/{dead}", "taken-over")
    assert browser.page(f"/ui/workers/{dead}").links("send_email") == [f"/ui/jobs/{job}"]
