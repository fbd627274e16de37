"""What an operation looks for, in the looks of a list: it ..."""

from __future__ import annotations

from dataclasses import replace
from uuid import uuid4

import pytest

from haulier.domain.operation import OperationAction
from haulier.postgres.statements import transaction
from haulier.postgres.values import array
from haulier.queue.produce import look_back
from haulier.queue.produce.job_filter import JobFilter
from haulier.queue.produce.look_back import sent_with
from haulier.queue.produce.matching import count_by_kind, find_jobs
from haulier.queue.produce.operation_step import Step, locking
from haulier.queue.produce.stored_filter import as_stored, from_stored
from tests.queue.produce.crowd import FILTERS, matching


@pytest.mark.parametrize("crowd", [False], ids=["not counted"], indirect=True)
@pytest.mark.parametrize("wanted", FILTERS[::3], ids=str)
def test_finds_each_job_once_in_however_many_looks(crowd, monkeypatch, wanted):
    conn, many = crowd
    for rows, seconds, limit, tagged in ((5, -1.0, 4, 50), (3, 0.003, 50, 3), (2, 60.0, 7, 2)):
        monkeypatch.setattr(look_back, "MOST_TAGGED", tagged)
        monkeypatch.setattr(look_back, "FIRST_ROWS", rows)
        monkeypatch.setattr(look_back, "MOST_ROWS", 8 * rows)
        monkeypatch.setattr(look_back, "LOOK_SECONDS", seconds)
        asked, ids = JobFilter(**wanted, limit=limit), []

        while True:
            found = find_jobs(conn, asked, most_bytes=10**9)
            ids += [job.id for job in found.jobs]
            assert len(found.jobs) <= limit
            if found.after is None:
                break
            asked = replace(asked, after=found.after)

        assert ids == [job.id for job in matching(many, wanted)]


@pytest.mark.parametrize("crowd", [False], ids=["not counted"], indirect=True)
@pytest.mark.parametrize("wanted", FILTERS[::3], ids=str)
def test_counts_each_kind(crowd, wanted):
    conn, many = crowd

    counted = count_by_kind(conn, JobFilter(**wanted), seconds=60.0)

    kinds = [job.kind for job in matching(many, wanted)]
    assert counted.is_whole
    assert counted.jobs == {kind: kinds.count(kind) for kind in kinds}


def test_ends_with_the_job_that_reaches_some_bytes(conn, enqueue):
    jobs = [enqueue(payload={"text": "".join(map(str, range(n, n + 2_000)))}).id for n in range(3)]

    one = find_jobs(conn, JobFilter(), most_bytes=1)
    two = find_jobs(conn, JobFilter(), most_bytes=12_000)

    assert [job.id for job in one.jobs] == jobs[:1:-1]
    assert one.after is not None
    assert len(two.jobs) == 2


MANY_WAIT = """
    INSERT INTO haulier.job (kind, queue, payload) SELECT 'noop', 'bulk', '{}' FROM generate_series(1, 3000)
"""
READ = "SELECT sum(seq_tup_read + idx_tup_fetch) FROM pg_stat_xact_user_tables WHERE relid = 'haulier.job'::regclass"


@pytest.mark.parametrize("wanted", [{}, {"queues": ["bulk"]}, {"attempts_min": 0}], ids=str)
def test_reads_few_more_jobs_than_it_returns_where_all_are_wanted(conn, wanted):
    with conn.cursor() as cursor:
        cursor.execute(MANY_WAIT)
        cursor.execute("ANALYZE haulier.job")
        with transaction(conn):
            found = find_jobs(conn, JobFilter(**wanted, limit=300), most_bytes=10**9)
            cursor.execute(READ)
            [(read,)] = cursor.fetchall()

    assert len(found.jobs) == 300
    assert read < 1000


TAKEN = """
    INSERT INTO haulier.operation (
        action, filter, as_of, unseen, doubted, cluster, matched, matched_is, starts_at, next_at, status, worked_by)
    SELECT %s, '{"all": true}', now(), '{}', 'empty', system_identifier, 0, 'exact', now(), now(), 'running', %s
    FROM pg_control_system()
    RETURNING id
"""


@pytest.mark.parametrize("crowd", [False], ids=["not counted"], indirect=True)
@pytest.mark.parametrize("queues", [None, ["bulk"]], ids=str)
@pytest.mark.parametrize("action", OperationAction)
def test_finds_what_an_operation_then_acts_on(crowd, action, queues):
    conn, many = crowd
    me = uuid4()
    with conn.cursor() as cursor:
        cursor.execute(TAKEN, (str(action), me))
        [(operation,)] = cursor.fetchall()
        try:
            for given in FILTERS:
                wanted = from_stored(as_stored(JobFilter(**given)), action, queues)
                asked, ids = sent_with(wanted, None, None, 0), [job.id for job in many]
                step = Step(operation, action, asked, {}, 0, me, 8.0, ids, None, None, None, None, is_walked=True)

                found = find_jobs(conn, replace(wanted, limit=10_000), most_bytes=10**9)
                with locking(conn, step) as begun:
                    [locked] = begun.rows

                assert found.after is None
                assert locked["taken"] == array(sorted(job.id for job in found.jobs)), given
        finally:
            cursor.execute("DELETE FROM haulier.operation")
