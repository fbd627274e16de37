"""An operation is bound to what its preview saw: it ..."""

from __future__ import annotations

from contextlib import closing
from datetime import timedelta

import pytest

from haulier.domain.errors import PreviewNotKept
from haulier.domain.job import JobStatus
from haulier.domain.operation import MatchedIs, OperationStatus
from haulier.postgres.connection import connect
from haulier.postgres.sql_files import PARTS
from haulier.queue import jobs
from haulier.queue.operations import operations as ops
from haulier.queue.search import bounded_scan
from haulier.queue.search.job_filter import JobFilter
from tests.queue.operations.operating import counts, status_of


def test_leaves_alone_what_came_or_changed_after_its_preview(conn, failed, start, preview, done_by):
    first, second = failed(), failed()
    seen = preview("retry")
    later = failed()
    jobs.retry(conn, first)

    operation = done_by(start("retry", as_of=seen.as_of))

    assert (seen.matched, seen.matched_is) == (2, MatchedIs.EXACT)
    assert counts(operation) == (2, 1, 1, 0)
    assert status_of(conn, first, second, later) == ["queued", "queued", "failed_permanent"]


@pytest.mark.parametrize("in_savepoint", [False, True])
def test_leaves_alone_what_was_written_before_its_preview_and_committed_after_it(
    database, conn, enqueue, start, preview, done_by, in_savepoint
):
    with closing(connect(database)) as other, other.cursor() as cursor:
        cursor.execute("BEGIN; SELECT pg_current_xact_id();")
        if in_savepoint:
            cursor.execute("SAVEPOINT one")
        cursor.execute("INSERT INTO haulier.job (kind, payload) VALUES ('mail', '{}') RETURNING id")
        hidden = cursor.fetchone()[0]
        if in_savepoint:
            cursor.execute("RELEASE one")
        known = enqueue().id
        seen = preview("cancel")
        cursor.execute("COMMIT")

    operation = done_by(start("cancel", as_of=seen.as_of))

    assert (seen.matched, counts(operation)[1]) == (1, 1)
    assert status_of(conn, hidden, known) == [JobStatus.QUEUED, JobStatus.CANCELLED]


def test_takes_no_other_preview_for_its_own(failed, start, preview):
    failed()
    seen = preview("retry")

    for given in (
        {"action": "delete", "as_of": seen.as_of},
        {"action": "retry", "wanted": JobFilter(kinds=["mail"]), "as_of": seen.as_of},
        {"action": "retry", "queues": ["default"], "as_of": seen.as_of},
        {"action": "retry", "as_of": seen.as_of + timedelta(microseconds=1)},
    ):
        with pytest.raises(PreviewNotKept):
            start(**given)


def test_knows_the_whole_number_of_a_transaction_by_its_last_32_bits(sql):
    numbers = {
        700: 800,
        2**32 - 5: 2**32 + 10,
        3 * 2**32 + 7: 3 * 2**32 + 9,
        2**32 + 2**24 + 5: 2**33 - 17,
        2**40: 2**40 + 1,
    }

    found = {}
    for number, next_number in numbers.items():
        of_row = PARTS["written_by"].replace("xmin::text::bigint", str(number % 2**32))
        [(found[number],)] = sql(
            f"SELECT {of_row.replace('(SELECT above FROM turn)', f'{next_number + 2**24}::bigint')}"
        )

    assert found == {number: number for number in numbers}


def test_acts_on_rows_that_are_frozen(sql, failed, start, preview, done_by):
    for _ in range(3):
        failed()
    seen = preview("retry")
    sql("VACUUM (FREEZE) haulier.finished_job")

    assert counts(done_by(start("retry", as_of=seen.as_of))) == (3, 3, 0, 0)


def test_acts_on_what_workers_ended_if_writes_in_savepoints_are_unknown(conn, sql, failed, start, done_by):
    # As if an older transaction had been open, and over 500,000 others come.
    ended, cancelled = failed(), failed()
    sql("UPDATE haulier.finished_job SET status = 'cancelled' WHERE id = %s", cancelled)
    operation = start("retry")
    sql("UPDATE haulier.operation SET doubted = int8range(0, lower(unseen))")

    assert counts(done_by(operation)) == (2, 1, 1, 0)
    assert status_of(conn, ended, cancelled) == ["queued", "cancelled"]


def test_says_about_how_many_if_they_were_counted_and_else_more_than(conn, sql, enqueue, monkeypatch, preview):
    for _ in range(9):
        enqueue()
    monkeypatch.setattr(bounded_scan, "FIRST_ROWS", 4)
    monkeypatch.setattr(ops, "COUNT_SECONDS", -1.0)

    without = preview("cancel")
    sql("INSERT INTO haulier.depth (queue, kind, status, jobs, due) VALUES ('default', 'mail', 'queued', 9, 9)")
    sql("INSERT INTO haulier.counting (through, folded, recounted, depth_at) VALUES (now(), now(), now(), now())")
    counted = preview("cancel")

    assert (without.matched, without.matched_is) == (4, MatchedIs.MORE_THAN)
    assert (counted.matched, counted.matched_is) == (9, MatchedIs.ABOUT)


def test_knows_in_the_end_how_many_there_were(conn, enqueue, monkeypatch, start, done_by):
    for _ in range(9):
        enqueue()
    monkeypatch.setattr(bounded_scan, "FIRST_ROWS", 4)
    monkeypatch.setattr(ops, "COUNT_SECONDS", -1.0)
    operation = start("cancel")
    assert operation.matched_is is MatchedIs.MORE_THAN

    ended = done_by(operation, most_jobs=2)

    assert (ended.matched_is, counts(ended)) == (MatchedIs.EXACT, (9, 9, 0, 0))


def test_fails_when_the_database_was_restored(sql, failed, start, done_by):
    failed()
    operation = start("retry")
    sql("UPDATE haulier.operation SET cluster = cluster + 1")

    ended = done_by(operation)

    assert ended.status is OperationStatus.FAILED
    assert "restored" in ended.error


@pytest.mark.parametrize("action", ["retry", "delete"])
def test_leaves_a_job_alone_whose_id_is_twice_in_the_history(conn, sql, failed, start, preview, done_by, action):
    twice, once = failed(), failed()
    seen = preview(action)
    sql(
        "INSERT INTO haulier.finished_job"
        " SELECT (jsonb_populate_record(job, jsonb_build_object('finished_at', finished_at + interval '1 us'))).*"
        " FROM haulier.finished_job AS job WHERE id = %s RETURNING 1",
        twice,
    )

    operation = done_by(start(action, as_of=seen.as_of))

    assert (operation.status, operation.error) == (OperationStatus.DONE, None)
    assert counts(operation) == (2, 1, 0, 1)
    assert sql("SELECT count(*) FROM haulier.finished_job WHERE id = %s", twice) == [(2,)]
    assert status_of(conn, once) == ["queued" if action == "retry" else "gone"]
