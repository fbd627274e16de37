"""Jobs by the beginning of their ids: it ..."""

from __future__ import annotations

from uuid import UUID

import pytest
from psycopg2.extensions import connection as Connection

from haulier.domain.job import JobStatus, NewJob
from haulier.queue import jobs as job_acts
from haulier.queue.search import id_prefix
from haulier.queue.search.id_prefix import id_range, jobs_by_prefix
from tests import queueing
from tests.conftest import Sql
from tests.queue.filling import copy_to_history
from tests.queue.plans import explain

ID = "01a2108e-9bc5-7bc3-a7c0-cbc0c5973a71"


def test_reads_a_range_of_ids_from_the_beginning_of_one() -> None:
    for text in (ID[:8], ID[:9], ID[:13], ID[:35], ID, ID.upper(), ID[:8] + ID[9:11], ID.replace("-", "")):
        found = id_range(text)
        assert found is not None
        first, last = found
        assert first <= UUID(ID) <= last
        digits = text.lower().replace("-", "")
        outside = [UUID(int=(first.int - 1) % 2**128), UUID(int=(last.int + 1) % 2**128)]
        assert [each.hex.startswith(digits) for each in (first, last, *outside)] == [True, True, False, False]


def test_takes_nothing_else_for_the_beginning_of_an_id() -> None:
    texts = ["", ID[:7], "01a2-108e", f"{ID[:8]}--", f"{ID}0", "-" * 36, "send_email", "0x01a2108e", "\uff10" * 8]

    assert [text for text in texts if id_range(text)] == []


def prefix_of(job: UUID, digits: int = 8) -> tuple[UUID, UUID]:
    found = id_range(job.hex[:digits])
    assert found is not None
    return found


def test_finds_live_and_ended_jobs_of_the_queues_that_may_be_seen(conn: Connection) -> None:
    jobs = [put.job.id for put in queueing.enqueue(conn, [NewJob("mail", {}, queue=name) for name in "aab"]) if put.job]
    job_acts.cancel(conn, jobs[1])

    found = jobs_by_prefix(conn, prefix_of(jobs[0]), limit=9)
    own = jobs_by_prefix(conn, prefix_of(jobs[0]), queues=["b"], limit=9)
    [one] = jobs_by_prefix(conn, prefix_of(jobs[1], 32), limit=9)

    assert [each.id for each in found] == sorted(jobs)
    assert [each.id for each in own] == [jobs[2]]
    assert (one.id, one.kind, one.status, one.queue) == (jobs[1], "mail", JobStatus.CANCELLED, "a")
    assert jobs_by_prefix(conn, prefix_of(jobs[0]), limit=2) == found[:2]
    assert jobs_by_prefix(conn, prefix_of(UUID(int=7)), limit=9) == []


def test_looks_at_a_bounded_number_whoever_may_see_them(conn: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(id_prefix, "MOST_ROWS", 2)
    jobs = [put.job.id for put in queueing.enqueue(conn, [NewJob("mail", {}, queue=name) for name in "aab"]) if put.job]

    assert len(jobs_by_prefix(conn, prefix_of(jobs[0]), limit=9)) == 2
    assert jobs_by_prefix(conn, prefix_of(jobs[0]), queues=["b"], limit=9) == []


def test_walks_the_primary_keys_however_many_jobs_there_are(conn: Connection, sql: Sql) -> None:
    queueing.enqueue(conn, [NewJob("mail", {}) for _ in range(900)])
    copy_to_history(sql, new_id="haulier.uuidv7()")
    sql("ANALYZE haulier.job, haulier.finished_job")
    [[job]] = sql("SELECT max(id::text)::uuid FROM haulier.job")
    first, last = prefix_of(job)

    _, nodes = explain(
        conn, "jobs_in_id_range", {"first_id": first, "last_id": last, "queues": None, "most_rows": 20, "limit": 9}
    )

    scans = {node["Index Name"] for node in nodes if node["Node Type"] in ("Index Scan", "Index Only Scan")}
    assert "job_pkey" in scans
    assert {name for name in scans if not name.endswith("_pkey")} == set()
    assert [node for node in nodes if node["Node Type"] == "Seq Scan" and node["Actual Rows"]] == []
    assert max(node["Actual Rows"] for node in nodes) <= 40
