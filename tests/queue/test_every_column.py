"""Every column of a job survives every act that does not write it. The columns are read from the catalogue: it ..."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from psycopg2.extensions import connection as Connection

from haulier.domain.claim import Failure, Fence, Settlement
from haulier.domain.fingerprint import fingerprint
from haulier.domain.job import Job, NewJob
from haulier.domain.outcome import Outcome, Verb
from haulier.postgres.sql_files import columns_of
from haulier.queue import claims, jobs, search
from haulier.queue.jobs.change import Changes, change
from haulier.queue.jobs.copy import copy
from haulier.queue.jobs.delete import delete
from haulier.queue.jobs.retry import retry
from haulier.queue.operations.operations import Operation
from haulier.queue.schedules.fire import fire_due
from tests import queueing
from tests.conftest import Sql
from tests.queue.columns import GONE, Row, is_new, is_now, new_row, read_row, wrong_columns
from tests.queue.operations.operating import done_by, start  # noqa: F401  # fixtures
from tests.queue.schedules.schedules import plant

# What a client may set.
ASKED: Row = {
    "kind": "mail",
    "payload": {"n": 2},
    "queue": "parcels",
    "priority": 9,
    "max_attempts": 11,
    "timeout_seconds": 13,
    "tags": ["a", "b"],
}
# What a job is that nothing has happened to yet, besides what a client may set.
FRESH: Row = {
    "id": is_new(None),
    "status": "queued",
    "run_at": is_now,
    "worker_id": None,
    "attempt": 0,
    "claim": None,
    "started_at": None,
    "attempts": 0,
    "crashes": 0,
    "suspect": False,
    "snoozes": 0,
    "backoff": None,
    "cancel_requested": False,
    "idempotency_key": None,
    "last_error": None,
    "errors": [],
    "created_at": is_now,
    "updated_at": is_now,
    "error_id": None,
    "copy_of": None,
    "operation_id": None,
    "schedule": None,
    "scheduled_for": None,
}
CHANGES: Row = {
    "queue": "letters",
    "priority": -3,
    "max_attempts": 950,
    "timeout_seconds": 77,
    "tags": ["other"],
    "payload": {"n": 3},
}
# What only a live job has, and what only an ended one has.
LEFT_BEHIND: Row = {"backoff": GONE, "suspect": GONE}
NOT_ENDED: Row = {"finished_at": GONE, "result": GONE}
# An ended job names the group of its error only if it failed for good.
ENDED: Row = {**LEFT_BEHIND, "updated_at": is_now, "finished_at": is_now, "result": None, "error_id": None}
CANCELLED: Row = {**ENDED, "status": "cancelled", "cancel_requested": True}
# A retry gives a full budget; that a job has crashed before stays known.
RETRIED: Row = {
    **NOT_ENDED,
    "status": "queued",
    "run_at": is_now,
    "worker_id": None,
    "attempts": 0,
    "suspect": True,
    "snoozes": 0,
    "backoff": None,
    "cancel_requested": False,
    "updated_at": is_now,
    "error_id": None,
}
LIVE_AND_ENDED = (("job", "running"), ("finished_job", "failed_permanent"))
ERROR = "out of luck"
GROUP = fingerprint("mail", ERROR)


def enqueued(conn: Connection, sql: Sql, **options: Any) -> Row:
    [receipt] = queueing.enqueue(conn, [NewJob(**ASKED, **options)])
    assert receipt.job
    return read_row(sql, "job", receipt.job.id)


def test_stores_what_a_client_sets(conn: Connection, sql: Sql) -> None:
    due = datetime.now(UTC) + timedelta(hours=1)
    assert ASKED.keys() == set(columns_of("set_by_clients"))
    assert {each.name for each in fields(NewJob)} == ASKED.keys() | {
        "run_at",
        "delay",
        "idempotency_key",
        "parsed_payload",
    }

    one = enqueued(conn, sql, run_at=due, idempotency_key="order-7")
    many = jobs.enqueue_all(conn, [jobs.draft(NewJob(**ASKED, run_at=due)) for _ in range(2)])

    assert wrong_columns(ASKED | FRESH, one, {"run_at": due, "idempotency_key": "order-7"}) == {}
    for stored in many:
        row = read_row(sql, "job", UUID(str(stored.job_id)))
        assert wrong_columns(ASKED | FRESH, row, {"run_at": due}) == {}


def test_stores_what_a_schedule_sets(conn: Connection, sql: Sql) -> None:
    plant(sql, "nightly", every_seconds=3600, seconds_ago=3600, job=ASKED)

    fire_due(conn, retention_days=30)

    [[job_id, tick]] = sql("SELECT job_id, scheduled_at FROM haulier.tick WHERE outcome = 'fired'")
    row = read_row(sql, "job", job_id)
    assert wrong_columns(ASKED | FRESH, row, {"schedule": "nightly", "scheduled_for": tick}) == {}


def test_shows_every_column_to_whoever_reads_a_job(conn: Connection, sql: Sql) -> None:
    for table, status in LIVE_AND_ENDED:
        row = new_row(sql, table, status, id=uuid4())
        only_here = {"suspect"}
        only_there = {
            "progress": None,
            "finished_at": row.get("finished_at"),
            "result": None,
            "backoff": row.get("backoff"),
        }

        shown = read_row(sql, "jobs", row["id"])
        job = search.get(conn, row["id"]).read()._asdict()

        assert wrong_columns({name: row[name] for name in row.keys() - only_here}, shown, only_there) == {}
        assert {name: (value, shown[name]) for name, value in job.items() if value != shown[name]} == {}


def test_keeps_every_column_when_it_is_claimed(conn: Connection, sql: Sql) -> None:
    row = new_row(sql, "job", "queued")
    worker = claims.register(conn, host="dock", pid=7, threads=1, queues=(), lease_seconds=30)
    claim_id = uuid4()

    [job] = queueing.claim(conn, worker_id=worker, claim_id=claim_id, queues=(), suspect=True)

    after = read_row(sql, "job", row["id"])
    written = {
        "status": "running",
        "worker_id": worker,
        "claim": claim_id,
        "attempt": row["attempt"] + 1,
        "attempts": row["attempts"] + 1,
        "started_at": is_now,
        "updated_at": is_now,
    }
    assert wrong_columns(row, after, written) == {}
    # What handlers need not know stays out of the claim.
    left_out = {"copy_of", "finished_at", "result", "progress"}
    claimed = {name: value for name, value in job._asdict().items() if name not in left_out}
    assert {name: (value, after[name]) for name, value in claimed.items() if value != after[name]} == {}


KEPT: Row = {"worker_id": None, "updated_at": is_now}
FAILED_ONCE: Row = {"last_error": ERROR, "errors": lambda errors: [each["error"] for each in errors][1:] == [ERROR]}
SETTLED: dict[str, tuple[Outcome, str, Row]] = {
    "succeeds": (
        Outcome.complete({"done": True}),
        "finished_job",
        {**ENDED, "status": "succeeded", "result": {"done": True}},
    ),
    "fails": (
        Outcome.fail(ERROR, delay=0.0, backoff=2.5),
        "job",
        {**KEPT, **FAILED_ONCE, "status": "retrying", "run_at": is_now, "backoff": 2.5, "error_id": GROUP.id},
    ),
    "fails for good": (
        Outcome.fail_for_good(ERROR),
        "finished_job",
        {**ENDED, **FAILED_ONCE, "status": "failed_permanent", "error_id": GROUP.id},
    ),
    "is given back": (
        Outcome.give_back(),
        "job",
        {**KEPT, "status": "retrying", "attempts": 4},
    ),
    "is released": (
        Outcome.release(why="the worker stops"),
        "job",
        {**KEPT, "status": "retrying", "attempts": 4, "run_at": is_now, "last_error": "the worker stops"},
    ),
    "snoozes": (
        Outcome.snooze(0.0),
        "job",
        {**KEPT, "status": "retrying", "attempts": 4, "run_at": is_now, "snoozes": 43},
    ),
    "crashes": (
        Outcome(Verb.CRASH, error=ERROR, delay=0.0),
        "job",
        {**KEPT, **FAILED_ONCE, "status": "retrying", "run_at": is_now, "crashes": 8, "error_id": GROUP.id},
    ),
}


def test_keeps_every_column_when_its_run_ends(conn: Connection, sql: Sql) -> None:
    wrong = {}
    for end, (outcome, table, written) in SETTLED.items():
        row = new_row(sql, "job", "running", id=uuid4(), snoozes=42, crashes=7)
        failure = Failure(GROUP, row["queue"], ERROR) if outcome.error == ERROR else None
        fence = Fence(row["id"], row["attempt"], row["claim"])

        assert claims.settle(conn, [Settlement(fence, outcome, failure=failure)]).keys() == {row["id"]}

        wrong[end] = wrong_columns(row, read_row(sql, table, row["id"]), written)

    assert {end: columns for end, columns in wrong.items() if columns} == {}


def test_keeps_every_column_when_a_requested_cancel_ends_it(conn: Connection, sql: Sql) -> None:
    row = new_row(sql, "job", "running", cancel_requested=True)
    fence = Fence(row["id"], row["attempt"], row["claim"])

    claims.settle(conn, [Settlement(fence, Outcome.complete({"done": True}))])

    assert wrong_columns(row, read_row(sql, "finished_job", row["id"]), CANCELLED) == {}


def test_keeps_every_column_when_it_is_cancelled(conn: Connection, sql: Sql) -> None:
    waits, runs = new_row(sql, "job", "retrying"), new_row(sql, "job", "running", id=uuid4())

    jobs.cancel(conn, waits["id"])
    jobs.cancel(conn, runs["id"])

    assert wrong_columns(waits, read_row(sql, "finished_job", waits["id"]), CANCELLED) == {}
    written = {"cancel_requested": True, "updated_at": is_now}
    assert wrong_columns(runs, read_row(sql, "job", runs["id"]), written) == {}


def test_keeps_every_column_when_it_is_retried(conn: Connection, sql: Sql) -> None:
    row = new_row(sql, "finished_job", "failed_permanent", cancel_requested=True)
    changed = new_row(sql, "finished_job", "cancelled", id=uuid4())

    retry(conn, row["id"])
    retry(conn, changed["id"], Changes.of(**CHANGES))

    assert wrong_columns(row, read_row(sql, "job", row["id"]), RETRIED) == {}
    assert wrong_columns(changed, read_row(sql, "job", changed["id"]), RETRIED | CHANGES) == {}


def test_keeps_every_column_that_a_change_does_not_name(conn: Connection, sql: Sql) -> None:
    row = new_row(sql, "job", "retrying")

    change(conn, row["id"], Changes.of(**CHANGES, delay_seconds=0))

    written = {**CHANGES, "run_at": is_now, "updated_at": is_now}
    assert wrong_columns(row, read_row(sql, "job", row["id"]), written) == {}


def test_a_copy_has_what_a_client_may_set_and_nothing_else(conn: Connection, sql: Sql) -> None:
    for table, status in LIVE_AND_ENDED:
        row = new_row(sql, table, status, id=uuid4())

        made = copy(conn, row["id"])

        like_it = {name: row[name] for name in ASKED}
        after = read_row(sql, "job", made.id)
        assert wrong_columns(like_it | FRESH, after, {"id": is_new(row["id"]), "copy_of": row["id"]}) == {}
        assert wrong_columns(row, read_row(sql, table, row["id"]), {}) == {}


def test_keeps_every_column_when_an_operation_acts_on_it(
    sql: Sql,
    start: Callable[..., Operation],  # noqa: F811
    done_by: Callable[..., Operation],  # noqa: F811
) -> None:
    def operate(action: str, row: Row, table: str, written: Row, **given: Any) -> Row:
        operation = done_by(start(action, **given))
        assert (operation.done, operation.skipped, operation.failed) == (1, 0, 0)
        return wrong_columns(row, read_row(sql, table, row["id"]), {**written, "operation_id": operation.id})

    row = new_row(sql, "job", "retrying")
    changes = {"queue": "letters", "priority": -3, "delay_seconds": 0}
    written = {"queue": "letters", "priority": -3, "run_at": is_now, "updated_at": is_now}
    assert operate("change", row, "job", written, changes=changes) == {}
    row = read_row(sql, "job", row["id"])
    assert operate("cancel", row, "finished_job", CANCELLED) == {}
    row = read_row(sql, "finished_job", row["id"])
    assert operate("retry", row, "job", RETRIED) == {}

    sql("DELETE FROM haulier.job")
    runs = new_row(sql, "job", "running")
    assert operate("cancel", runs, "job", {"cancel_requested": True, "updated_at": is_now}) == {}


def test_is_gone_once_it_is_deleted_and_its_idempotency_key_stays(
    conn: Connection,
    sql: Sql,
    start: Callable[..., Operation],  # noqa: F811
    done_by: Callable[..., Operation],  # noqa: F811
) -> None:
    one, many = (new_row(sql, "finished_job", "succeeded", id=uuid4()) for _ in range(2))
    for row in (one, many):
        sql("INSERT INTO haulier.idempotency (key, fingerprint, job_id) VALUES (%s, '', %s)", str(row["id"]), row["id"])

    delete(conn, one["id"])
    done_by(start("delete"))

    assert sql("SELECT count(*) FROM haulier.jobs") == [(0,)]
    assert sql("SELECT count(*) FROM haulier.idempotency") == [(2,)]


def test_both_tables_have_the_same_columns_but_those_of_one_state(sql: Sql) -> None:
    live, ended = new_row(sql, "job", "running").keys(), new_row(sql, "finished_job", "succeeded").keys()

    assert live - ended == LEFT_BEHIND.keys()
    assert ended - live == NOT_ENDED.keys()
    assert set(Job._fields) - live - ended == {"progress"}
