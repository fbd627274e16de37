"""What an operation looks for, in the looks of a list: it ..."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from uuid import uuid4

import pytest

from haulier.domain.operation import OperationAction
from haulier.postgres.statements import transaction
from haulier.postgres.values import array
from haulier.queue.operations.operation_step import Step, locking
from haulier.queue.operations.stored_filter import as_stored, from_stored
from haulier.queue.search.bounded_scan import sent_with
from haulier.queue.search.find_ids import count_by_kind, find_jobs
from haulier.queue.search.job_filter import JobFilter
from tests.queue.search.crowd import FILTERS, LOOKS, matching, set_look

NOT_COUNTED = pytest.mark.parametrize("crowd", [False], ids=["not counted"], indirect=True)


def found_in_steps(conn, wanted, limit):
    """Return the ids of all jobs that match, found as an operation finds them: this many at most in a step."""
    asked, ids = JobFilter(**wanted, limit=limit), []
    while True:
        found = find_jobs(conn, asked, most_bytes=10**9)
        assert len(found.jobs) <= limit
        ids += [job.id for job in found.jobs]
        if found.after is None:
            return ids
        asked = replace(asked, after=found.after)


@NOT_COUNTED
def test_finds_each_job_once_and_counts_its_kind_in_however_many_looks(crowd, monkeypatch):
    conn, many = crowd
    wrong = []
    for rows, seconds, tagged, limit in LOOKS:
        set_look(monkeypatch, rows, seconds, tagged)
        for wanted in FILTERS[::3]:
            if found_in_steps(conn, wanted, limit) != [job.id for job in matching(many, wanted)]:
                wrong.append((wanted, rows))
    monkeypatch.undo()
    for wanted in FILTERS[::3]:
        kinds = [job.kind for job in matching(many, wanted)]
        counted = count_by_kind(conn, JobFilter(**wanted), seconds=60.0)
        if (counted.is_whole, counted.jobs) != (True, {kind: kinds.count(kind) for kind in kinds}):
            wrong.append((wanted, counted))

    assert wrong == []


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


def test_reads_few_more_jobs_than_it_returns_if_all_match(conn):
    with conn.cursor() as cursor:
        cursor.execute(MANY_WAIT)
        cursor.execute("ANALYZE haulier.job")
        for wanted in ({}, {"queues": ["bulk"]}, {"attempts_min": 0}):
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


@NOT_COUNTED
def test_finds_what_an_operation_then_acts_on(crowd):
    conn, many = crowd
    wrong, me = [], uuid4()
    for action, queues in product(OperationAction, (None, ["bulk"])):
        with conn.cursor() as cursor:
            cursor.execute(TAKEN, (str(action), me))
            [(operation,)] = cursor.fetchall()
            for given in FILTERS:
                wanted = from_stored(as_stored(JobFilter(**given)), action, queues)
                asked, ids = sent_with(wanted, None, None, 0), [job.id for job in many]
                step = Step(operation, action, asked, {}, 0, me, 8.0, ids, None, None, None, None, is_walked=True)
                found = find_jobs(conn, replace(wanted, limit=10_000), most_bytes=10**9)
                with locking(conn, step) as begun:
                    [locked] = begun.rows
                if found.after or locked["taken"] != array(sorted(job.id for job in found.jobs)):
                    wrong.append((action, queues, given))
            cursor.execute("DELETE FROM haulier.operation")

    assert wrong == []
