"""Operations act on all jobs of a filter, and only on jobs that the preview saw. It ..."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from haulier.domain.errors import OperationConflict, OperationNotFound, TooManyOperations
from haulier.domain.job import JobStatus
from haulier.domain.operation import MatchedIs, OperationAction, OperationStatus
from haulier.postgres.sql_files import SQL
from haulier.queue.operations import operations as ops
from haulier.queue.operations import work_off as work_off_module
from haulier.queue.operations.work_off import Pace, Worker, work_off
from haulier.queue.search import bounded_scan, job_list
from haulier.queue.search.job_filter import JobFilter
from tests.conftest import sql_on
from tests.queue.operations.operating import counts, status_of


def test_retries_all_that_have_failed_in_chunks_and_is_recorded_once(conn, sql, failed, enqueue, start, done_by):
    jobs = [failed(payload={"n": n}, tags=["a"]) for n in range(7)]
    other = enqueue().id

    operation = done_by(start("retry", JobFilter(statuses=[JobStatus.FAILED_PERMANENT])), most_jobs=3)

    assert (operation.status, counts(operation)) == (OperationStatus.DONE, (7, 7, 0, 0))
    assert status_of(conn, *jobs, other) == ["queued"] * 8
    [back] = job_list.get_jobs(conn, jobs[:1])
    assert (back.attempts, back.tags, back.last_error) == (0, ["a"], "no luck")
    assert sql("SELECT DISTINCT operation_id FROM haulier.job WHERE id <> %s", other) == [(operation.id,)]
    [(actor, target, details)] = sql("SELECT actor, target, details FROM haulier.audit WHERE action = 'operate'")
    assert (actor, target) == ("Ann", str(operation.id))
    assert (details["filter"], details["matched"]) == ({"status": ["failed_permanent"]}, 7)


@pytest.mark.parametrize("action", ["retry", "delete"])
def test_acts_on_what_a_worker_ran_last(conn, sql, failed, start, preview, done_by, action):
    ran_there, elsewhere = failed(), failed()
    [[worker]] = sql("SELECT worker_id FROM haulier.finished_job WHERE id = %s", ran_there)
    sql("UPDATE haulier.finished_job SET worker_id = haulier.uuidv7() WHERE id = %s RETURNING 1", elsewhere)
    wanted = JobFilter(worker=worker)
    seen = preview(action, wanted)

    operation = done_by(start(action, wanted, as_of=seen.as_of))

    assert (seen.matched, counts(operation)) == (1, (1, 1, 0, 0))
    assert status_of(conn, ran_there, elsewhere) == [
        "queued" if action == "retry" else "gone",
        "failed_permanent",
    ]


def test_does_nothing_before_its_start_or_after_a_cancel_until_resumed(conn, failed, start, done_by):
    jobs = [failed() for _ in range(3)]
    late = start("retry", starts_in_seconds=60)
    assert done_by(late).status is OperationStatus.WAITING

    ops.cancel_operation(conn, late.id, actor="Bob")
    assert (done_by(late).status, status_of(conn, *jobs)) == (OperationStatus.CANCELLED, ["failed_permanent"] * 3)
    with pytest.raises(OperationConflict):
        ops.cancel_operation(conn, late.id)

    ops.resume_operation(conn, late.id, actor="Bob")
    assert counts(done_by(late)) == (3, 3, 0, 0)
    with pytest.raises(OperationConflict):
        ops.resume_operation(conn, late.id)
    with pytest.raises(OperationNotFound):
        ops.resume_operation(conn, uuid4())


def test_goes_on_after_the_last_step_if_it_is_stopped(conn, failed, start, done_by):
    for _ in range(10):
        failed()
    operation = start("retry")
    done = []

    def rest() -> bool:
        done.append(ops.get_operation(conn, operation.id).done)
        return len(done) < 4

    assert work_off(conn, Worker(uuid4(), 15.0, 0.0), most_jobs=8, pace=Pace(2, rest))

    assert done == [0, 2, 4, 6]
    assert counts(ops.get_operation(conn, operation.id)) == (10, 6, 0, 0)
    assert counts(done_by(operation)) == (10, 10, 0, 0)


@pytest.mark.parametrize("taken_by_another", [False, True])
def test_does_no_further_step_once_it_is_cancelled_or_taken_over(conn, sql, failed, start, done_by, taken_by_another):
    for _ in range(6):
        failed()
    operation = start("retry")
    rests = []

    def rest() -> bool:
        rests.append(None)
        if len(rests) == 2 and taken_by_another:
            sql("UPDATE haulier.operation SET worked_until = now()")
            assert work_off(conn, Worker(uuid4(), 15.0, 0.0), most_jobs=1)
        elif len(rests) == 2:
            ops.cancel_operation(conn, operation.id)
        return True

    assert work_off(conn, Worker(uuid4(), 15.0, 15.0), pace=Pace(2, rest))

    assert len(rests) == 2
    assert counts(ops.get_operation(conn, operation.id)) == (6, 2 + taken_by_another, 0, 0)
    if not taken_by_another:
        ops.resume_operation(conn, operation.id)
    assert counts(done_by(operation)) == (6, 6, 0, 0)


@pytest.mark.parametrize("is_let_go", [True, False])
def test_tries_what_is_locked_again_and_skips_it_in_the_end(holding, sql, failed, start, done_by, is_let_go):
    jobs = [failed() for _ in range(3)]
    with holding("SELECT FROM haulier.finished_job WHERE id = %s FOR UPDATE", jobs[1]):
        operation = start("retry")
        for _ in range(2):
            assert counts(done_by(operation)) == (3, 2, 0, 0)
            sql("UPDATE haulier.operation SET next_at = now()")
        if not is_let_go:
            sql("UPDATE haulier.operation SET walked_at = now() - interval '11 seconds'")
            done_by(operation)

    ended = done_by(operation)

    assert (ended.status, counts(ended)) == (OperationStatus.DONE, (3, 3, 0, 0) if is_let_go else (3, 2, 1, 0))


def test_is_worked_on_by_one_at_a_time_until_the_lease_runs_out(conn, sql, failed, start):
    for _ in range(3):
        failed()
    start("retry")
    one, other = Worker(uuid4(), 15.0, 15.0), Worker(uuid4(), 15.0, 15.0)

    assert work_off(conn, one, most_jobs=1)
    assert work_off(conn, other) is None
    sql("UPDATE haulier.operation SET worked_until = now()")

    assert work_off(conn, other, most_jobs=1)
    assert work_off(conn, one) is None


def test_several_take_turns(conn, failed, enqueue, start):
    for _ in range(4):
        failed()
    for _ in range(4):
        enqueue(kind="other")
    first, second = start("retry"), start("cancel", JobFilter(kinds=["other"]))
    by = Worker(uuid4(), 15.0, 15.0)

    for _ in range(4):
        assert work_off(conn, by, most_jobs=1)

    assert [ops.get_operation(conn, each.id).done for each in (first, second)] == [2, 2]


def test_spreads_what_is_retried_evenly(sql, failed, start, done_by):
    for _ in range(20):
        failed()

    done_by(start("retry", spread_seconds=1000), most_jobs=7)

    due = sorted(seconds for (seconds,) in sql("SELECT extract(epoch FROM run_at - now())::float FROM haulier.job"))
    gaps = [later - earlier for earlier, later in zip(due, due[1:], strict=False)]
    assert max(gaps) < 100
    assert 0 < due[-1] < 1000


def test_waits_until_what_ended_is_counted(conn, sql, failed, start):
    failed()
    sql(
        "INSERT INTO haulier.counting (counted_until, through, folded, recounted)"
        " VALUES (now() + interval '20 seconds', now() - interval '10 seconds', now(), now())"
    )
    start("retry")
    by = Worker(uuid4(), 15.0, 15.0)
    assert work_off(conn, by) is None

    sql("UPDATE haulier.counting SET through = now()")

    assert work_off(conn, by)


def test_there_are_at_most_100_that_are_not_over(sql, start):
    for number in range(100):
        start("retry", starts_in_seconds=60, actor=None if number < 40 else f"key{number % 3}")

    with pytest.raises(TooManyOperations):
        start("retry")


def test_a_chunk_that_the_database_refuses_is_tried_again_and_fails_in_the_end(conn, sql, failed, start):
    failed()
    operation = start("retry")
    # No fault of a job: the statement itself cannot be run.
    sql("ALTER TABLE haulier.finished_job RENAME COLUMN crashes TO bumps")
    try:
        for tries in range(1, 6):
            assert work_off(conn, Worker(uuid4(), 15.0, 15.0)) is False
            [[status, counted, waits]] = sql("SELECT status, tries, next_at > now() FROM haulier.operation")
            assert (counted, waits) == (tries, True)
            sql("UPDATE haulier.operation SET next_at = now()")
    finally:
        sql("ALTER TABLE haulier.finished_job RENAME COLUMN bumps TO crashes")

    ended = ops.get_operation(conn, operation.id)
    assert (status, ended.status, ended.done) == ("failed", OperationStatus.FAILED, 0)
    assert "crashes" in ended.error


def test_one_whose_filter_cannot_be_read_fails_in_the_end_and_lets_others_go_on(conn, sql, failed, start, done_by):
    job = failed()
    broken, other = start("retry"), start("retry")
    sql("""UPDATE haulier.operation SET filter = '{"worker": "Ann"}' WHERE id = %s""", broken.id)

    for _ in range(5):
        with pytest.raises(ValueError, match="badly formed"):
            work_off(conn, Worker(uuid4(), 15.0, 15.0), only=broken.id)
        sql("UPDATE haulier.operation SET next_at = now()")

    assert ops.get_operation(conn, broken.id).status is OperationStatus.FAILED
    assert done_by(other).done == 1
    assert status_of(conn, job) == ["queued"]


def test_makes_the_partition_that_is_missing(conn, sql, enqueue, start, done_by):
    job = enqueue().id
    operation = start("cancel")
    [[today]] = sql(
        "SELECT format('%I.%I', schema, name) FROM haulier.history_partitions() WHERE now() >= lower AND now() < upper"
    )
    sql(f"ALTER TABLE haulier.finished_job DETACH PARTITION {today}")
    sql(f"DROP TABLE {today}")

    assert counts(done_by(operation)) == (1, 1, 0, 0)
    assert status_of(conn, job) == ["cancelled"]


@pytest.mark.direct("no notification comes through a pool")
def test_wakes_a_sleeping_worker_when_it_makes_jobs_due(open_conn, sql, enqueue, worker, start, done_by):
    enqueue(run_at=datetime.now(UTC) + timedelta(days=1))
    sql("INSERT INTO haulier.sleeper (worker_id) VALUES (%s)", worker)
    listening = open_conn()
    sql_on(listening)("LISTEN haulier_job")
    done_by(start("change", changes={"delay_seconds": 0}))
    # Its answer comes after the notification.
    sql_on(listening)("SELECT")

    assert [notify.payload for notify in listening.notifies] == [str(worker)]


OLD_AND_TAGGED = """
    INSERT INTO haulier.job (kind, queue, payload, tags, created_at)
    SELECT CASE n % 3 WHEN 0 THEN 'mail' ELSE 'noop' END, 'bulk', '{}', '{rare}', now() - interval '1 day'
    FROM generate_series(1, 4200) AS n RETURNING 1
"""
NEWER = "INSERT INTO haulier.job (kind, payload) SELECT 'noop', '{}' FROM generate_series(1, 6000) RETURNING 1"


def test_a_preview_counts_old_jobs_of_a_rare_tag(sql, preview, monkeypatch):
    sql(OLD_AND_TAGGED)
    sql(NEWER)
    # As if the look at the newest jobs had used up its time.
    monkeypatch.setattr(ops, "COUNT_SECONDS", -1.0)
    wanted = JobFilter(tags=["rare"])

    exact = preview("cancel", wanted)
    monkeypatch.setattr(ops, "MOST_TAGGED", 2_000)
    at_least = preview("cancel", wanted)
    mails = preview("cancel", JobFilter(tags=["rare"], kinds=["mail"]))

    assert (exact.matched, exact.matched_is, exact.by_kind) == (4200, "exact", {"mail": 1400, "noop": 2800})
    assert [job.tags for job in exact.first] == [["rare"]] * 5
    assert (at_least.matched, at_least.matched_is) == (2001, "more_than")
    assert mails.matched_is == "more_than"
    assert 0 < mails.matched < 1400


def test_counts_before_its_first_step_what_the_preview_could_not(conn, enqueue, start, monkeypatch):
    monkeypatch.setattr(bounded_scan, "FIRST_ROWS", 2)
    monkeypatch.setattr(ops, "COUNT_SECONDS", 0.0)
    for _ in range(9):
        enqueue(queue="mail", priority=3)
    operation = start("cancel", JobFilter(queues=["mail"], created_before=datetime.now(UTC) + timedelta(days=1)))

    assert work_off(conn, Worker(uuid4(), 15.0, 15.0), most_jobs=4)

    begun = ops.get_operation(conn, operation.id)
    assert (operation.matched_is, operation.matched) == (MatchedIs.MORE_THAN, 2)
    assert (begun.matched_is, begun.matched, begun.done) == (MatchedIs.ABOUT, 9, 4)


@pytest.mark.parametrize("instead", ["SELECT FROM haulier.elsewhere", "SELECT pg_sleep(0.5)"])
def test_acts_on_its_jobs_even_if_they_cannot_be_counted_first(conn, enqueue, start, monkeypatch, instead):
    monkeypatch.setattr(bounded_scan, "FIRST_ROWS", 2)
    monkeypatch.setattr(ops, "COUNT_SECONDS", 0.0)
    for _ in range(9):
        enqueue(queue="mail", priority=3)
    operation = start("cancel", JobFilter(queues=["mail"], created_before=datetime.now(UTC) + timedelta(days=1)))
    monkeypatch.setattr(work_off_module, "COUNT_SECONDS", 0.1)
    monkeypatch.setitem(SQL, "count_by_kind", instead)

    assert work_off(conn, Worker(uuid4(), 15.0, 15.0), most_jobs=4)

    begun = ops.get_operation(conn, operation.id)
    assert (begun.matched_is, begun.error, begun.done) == (MatchedIs.MORE_THAN, None, 4)


PASS = "UPDATE haulier.operation SET timed_since = coalesce(timed_since, now()) - make_interval(secs => %s)"


def test_a_slow_start_does_not_spoil_the_time_left(conn, sql, start):
    sql("INSERT INTO haulier.job (kind, payload, queue) SELECT 'k', '{}', 'mail' FROM generate_series(1, 200)")
    operation, by = start("cancel", JobFilter(queues=["mail"])), Worker(uuid4(), 15.0, 15.0)

    def walk(seconds: int) -> float:
        """Do 10 jobs in this time, and return how long the rest will take."""
        sql(PASS, seconds)
        assert work_off(conn, by, most_jobs=10)
        now = ops.get_operation(conn, operation.id)
        return (now.matched - now.walked) / now.rate(datetime.now(UTC))

    said = [walk(seconds) for seconds in (100, 5, 5, 5, 5, 5, 5, 5, 5, 5)]

    # After half of the jobs: two a second lately, with the start two in three seconds.
    assert said[0] > 1_000
    assert 50 / 2 < said[-1] < 50 * 2


def test_the_last_rate_is_only_of_jobs_that_it_met(conn, sql, start, done_by):
    sql("INSERT INTO haulier.job (kind, payload, queue) SELECT 'k', '{}', 'mail' FROM generate_series(1, 300)")
    operation = start("cancel", JobFilter(queues=["mail"]))
    sql("DELETE FROM haulier.job WHERE id IN (SELECT id FROM haulier.job LIMIT 200)")
    sql("UPDATE haulier.operation SET timed_since = now() - interval '10 seconds'")

    ended = done_by(operation)

    assert counts(ended) == (300, 100, 200, 0)
    assert 5 < ops.last_rate(conn, OperationAction.CANCEL).per_second < 11
