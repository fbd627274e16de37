"""Operations on jobs of which the database refuses some, for good or for now. They ..."""

from __future__ import annotations

from uuid import uuid4

import pytest

from haulier.domain.api_key import Scope
from haulier.domain.errors import TooManyOperations
from haulier.domain.operation import OperationStatus
from haulier.postgres.statements import bounded
from haulier.queue.access import api_keys
from haulier.queue.access.api_keys import NewKey
from haulier.queue.operations import operation_step
from haulier.queue.operations import operations as ops
from haulier.queue.operations.work_off import Worker, work_off
from tests.isolation.rows import refusing
from tests.queue.operations.operating import counts

SOMEBODY = Worker(uuid4(), 15.0, 15.0)


def now_due(sql) -> None:
    sql("UPDATE haulier.operation SET next_at = now()")


def test_are_done_to_the_others_if_a_deferred_trigger_refuses_one(conn, sql, enqueue, start):
    jobs = [enqueue().id for _ in range(100)]
    operation = start("cancel")

    with refusing(conn, "finished_job", "INSERT", f"NEW.id = '{jobs[50]}'", "MY001", is_deferred=True):
        assert work_off(conn, SOMEBODY)

    ended = ops.get_operation(conn, operation.id)
    assert (ended.status, counts(ended)) == (OperationStatus.DONE, (100, 99, 0, 1))
    assert sql("SELECT id FROM haulier.job") == [(jobs[50],)]


def test_wait_for_what_passes_and_do_not_count_it_as_a_failure(conn, sql, enqueue, start, done_by):
    for _ in range(10):
        enqueue()
    operation = start("cancel")
    waiting = "SELECT status, tries, error, waits_since IS NULL, next_at > now() FROM haulier.operation"

    with refusing(conn, "finished_job", "INSERT", "true", "53100"):
        for _ in range(8):
            now_due(sql)
            assert work_off(conn, SOMEBODY) is False
        assert sql(waiting) == [("running", 0, "not this one", False, True)]
    now_due(sql)

    assert counts(done_by(operation)) == (10, 10, 0, 0)
    assert sql(waiting) == [("done", 0, None, True, False)]


@pytest.mark.parametrize("table", ["haulier.job", "haulier.finished_job"])
def test_wait_while_somebody_holds_a_lock_on_a_table(holding, conn, sql, enqueue, start, done_by, monkeypatch, table):
    monkeypatch.setattr(operation_step, "LOCK_SECONDS", 0.05)
    enqueue()
    operation = start("cancel")
    # As CREATE INDEX does.
    with holding(f"LOCK TABLE {table} IN SHARE MODE"):
        for _ in range(5):
            now_due(sql)
            assert work_off(conn, SOMEBODY) is False
    now_due(sql)

    assert counts(done_by(operation)) == (1, 1, 0, 0)


def test_try_a_job_that_is_refused_for_now_again_at_the_end(conn, sql, enqueue, start, done_by):
    jobs = [enqueue().id for _ in range(100)]
    operation = start("cancel")
    with refusing(conn, "finished_job", "INSERT", f"NEW.id = '{jobs[50]}'", "08001", is_deferred=True):
        assert counts(done_by(operation)) == (100, 99, 0, 0)
        now_due(sql)
        assert counts(done_by(operation)) == (100, 99, 0, 0)
        # It is refused for ever: it must not keep the operation open.
        sql("UPDATE haulier.operation SET next_at = now(), walked_at = now() - interval '11 seconds'")

        ended = done_by(operation)

    assert (ended.status, counts(ended)) == (OperationStatus.DONE, (100, 99, 1, 0))


def test_go_on_behind_jobs_that_a_trigger_refuses_for_now_for_minutes(conn, sql, enqueue, start, done_by):
    refused = [enqueue().id for _ in range(3)]
    good = [enqueue().id for _ in range(3)]
    sql("UPDATE haulier.job SET created_at = created_at + interval '1 minute' WHERE id = ANY(%s::uuid[])", refused)
    operation = start("cancel")
    condition = f"NEW.id IN ({', '.join(repr(str(each)) for each in refused)})"

    with refusing(conn, "finished_job", "INSERT", condition, "55000"):
        assert work_off(conn, SOMEBODY, most_jobs=3) is False
        assert sql("SELECT count(*) FROM haulier.finished_job") == [(0,)]
        sql("UPDATE haulier.operation SET next_at = now(), waits_since = now() - interval '6 minutes'")
        done_by(operation, most_jobs=3)

        assert sorted(sql("SELECT id FROM haulier.finished_job")) == sorted((each,) for each in good)


def test_skip_only_a_job_that_takes_longer_than_a_statement_may(conn, sql, enqueue, start, done_by):
    jobs = [enqueue().id for _ in range(5)]
    operation = start("cancel")
    sql(
        "CREATE FUNCTION public.slow() RETURNS trigger LANGUAGE plpgsql"
        " AS $$ BEGIN PERFORM pg_sleep(60); RETURN OLD; END $$"
    )
    sql(
        "CREATE TRIGGER slow BEFORE DELETE ON haulier.job FOR EACH ROW"
        f" WHEN (OLD.id = '{jobs[2]}') EXECUTE FUNCTION public.slow()"
    )
    try:
        with bounded(seconds=1, lock_seconds=1):
            assert work_off(conn, SOMEBODY) is False
            sql("UPDATE haulier.operation SET next_at = now(), waits_since = now() - interval '6 minutes'")

            ended = done_by(operation)
    finally:
        sql("DROP FUNCTION public.slow CASCADE")

    assert (ended.status, counts(ended)) == (OperationStatus.DONE, (5, 4, 1, 0))
    assert sql("SELECT id FROM haulier.job") == [(jobs[2],)]


def test_lose_no_job_that_a_trigger_drops(conn, sql, failed, start, done_by):
    jobs = [failed() for _ in range(9)]
    sql("CREATE FUNCTION public.drop_it() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$")
    sql(
        "CREATE TRIGGER drop_it BEFORE INSERT ON haulier.job FOR EACH ROW"
        f" WHEN (NEW.id = '{jobs[4]}') EXECUTE FUNCTION public.drop_it()"
    )
    try:
        operation = done_by(start("retry"))
    finally:
        sql("DROP FUNCTION public.drop_it CASCADE")

    assert counts(operation) == (9, 8, 0, 1)
    assert sql("SELECT id FROM haulier.finished_job") == [(jobs[4],)]


@pytest.mark.parametrize("is_running", [False, True])
def test_pass_over_one_whose_row_somebody_has_locked(holding, enqueue, start, done_by, is_running):
    enqueue()
    locked, other = start("cancel", starts_in_seconds=0 if is_running else 3600), start("cancel")

    with holding("SELECT FROM haulier.operation WHERE id = %s FOR UPDATE", locked.id):
        ended = done_by(other)

    assert (ended.status, ended.done) == (OperationStatus.DONE, 1)


def test_of_one_api_key_leave_room_for_those_of_others(start):
    for _ in range(20):
        start("retry", starts_in_seconds=86_400, actor="greedy")

    with pytest.raises(TooManyOperations, match="20 of this API key"):
        start("retry", starts_in_seconds=86_400, actor="greedy")

    assert start("retry", actor="admin")
    assert start("retry", actor=None)


def test_of_an_api_key_end_when_it_is_revoked(conn, sql, enqueue, start):
    jobs = [enqueue().id for _ in range(3)]
    key = api_keys.create(conn, NewKey("Ann", [Scope.OPERATE]), actor="admin")[0].id
    begun, waiting = start("cancel", actor=key), start("cancel", actor=key, starts_in_seconds=60)
    over, others = start("cancel", actor=key), start("cancel", actor="admin", starts_in_seconds=60)
    ops.cancel_operation(conn, over.id)
    assert work_off(conn, SOMEBODY, most_jobs=1, only=begun.id)

    api_keys.revoke(conn, key, actor="admin")

    assert work_off(conn, SOMEBODY, only=begun.id) is None
    found = {each.id: ops.get_operation(conn, each.id) for each in (begun, waiting, others)}
    assert [str(found[each.id].status) for each in (begun, waiting, others)] == ["cancelled", "cancelled", "waiting"]
    assert found[begun.id].error == "the API key that it was started with was revoked"
    assert found[begun.id].finished_at is not None
    assert sql("SELECT count(*) FROM haulier.job") == [(len(jobs) - 1,)]
    recorded = sql("SELECT actor, target FROM haulier.audit WHERE action = 'cancel_operation' AND actor = 'admin'")
    assert sorted(recorded) == sorted(("admin", str(each.id)) for each in (begun, waiting))
