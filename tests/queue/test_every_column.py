"""Every column of a job survives every act that does not write it. The columns are read from the catalogue: it ..."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from haulier.domain.claim import Failure, Fence, Settlement
from haulier.domain.fingerprint import fingerprint
from haulier.domain.job import NewJob
from haulier.domain.outcome import Outcome, Verb
from haulier.postgres.sql_files import columns_of
from haulier.queue import claims, jobs, search
from haulier.queue.jobs.change import Changes, change
from haulier.queue.jobs.copy import copy
from haulier.queue.jobs.delete import delete
from haulier.queue.jobs.retry import retry
from haulier.queue.schedules.fire import fire_due
from tests import queueing
from tests.conftest import Sql
from tests.queue.schedules.schedules import plant

Row = dict[str, Any]

# Marks a column that the row after an act does not have.
GONE = object()
LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)
COLUMNS = """
    SELECT attname, format_type(atttypid, NULL), attgenerated <> ''
    FROM pg_attribute
    WHERE attrelid = ('haulier.' || %s)::regclass AND attnum > 0 AND NOT attisdropped
    ORDER BY attname
"""
# Columns whose values a check restricts, or that an act compares with each other.
RESTRICTED: Row = {
    "kind": "mail",
    "queue": "bulk",
    "priority": 7,
    "attempts": 5,
    "max_attempts": 900,
    "payload": {"n": 1},
    "errors": [{"attempt": 1, "error": "no luck"}],
    "result": None,
}


def new_row(sql: Sql, table: str, status: str, **values: Any) -> Row:
    """Insert a job with a value of its own in each column, except those given, and return it."""
    is_running = status == "running"
    row = {
        name: _value_of(place, name, kind)
        for place, (name, kind, is_generated) in enumerate(sql(COLUMNS, table), start=1)
        if not is_generated
    }
    row |= RESTRICTED | {"status": status, "cancel_requested": False}
    if table == "finished_job":
        row["finished_at"] = datetime.now(UTC)
    elif not is_running:
        row["worker_id"] = None
    row = {name: value for name, value in (row | values).items() if name in dict(_types(sql, table))}
    names = ", ".join(row)
    marks = ", ".join(["%s"] * len(row))
    sql(f"INSERT INTO haulier.{table} ({names}) VALUES ({marks})", *map(_as_sent, row.values()))
    return read_row(sql, table, row["id"])


def read_row(sql: Sql, table: str, job_id: UUID) -> Row:
    types = _types(sql, table)
    [values] = sql(f"SELECT {', '.join(name for name, _ in types)} FROM haulier.{table} WHERE id = %s", job_id)
    return dict(zip((name for name, _ in types), values, strict=True))


def wrong_columns(before: Row, after: Row, written: Row) -> Row:
    """Return the columns that came out wrong, each with its value before, after, and as it should be.

    Args:
        before: The row as it was. Each column of it that nothing else is said of has to stay as it is.
        after: The row as it is.
        written: What the act writes: for each column the value, a function that says if a value is right, or GONE.
    """
    wrong = {}
    for name in before.keys() | after.keys():
        expected = written.get(name, before.get(name, GONE))
        value = after.get(name, GONE)
        is_right = expected(value) if callable(expected) else expected is value or expected == value
        if not is_right:
            wrong[name] = (before.get(name, GONE), value, expected)
    return wrong


def is_now(value: object) -> bool:
    return isinstance(value, datetime) and abs(datetime.now(UTC) - value) < timedelta(minutes=1)


def is_new(*old: object) -> Callable[[object], bool]:
    return lambda value: value is not None and value not in old


def _types(sql: Sql, table: str) -> list[tuple[str, str]]:
    return [(name, kind) for name, kind, _ in sql(COLUMNS, table)]


def _value_of(place: int, name: str, kind: str) -> Any:
    """Return a value that no other column has."""
    values: dict[str, Any] = {
        "uuid": UUID(int=place << 64 | 7 << 76 | 8 << 60),
        "text": f"{name} {place}",
        "smallint": place,
        "integer": 100 + place,
        "bigint": 1000 + place,
        "double precision": 0.5 + place,
        "boolean": True,
        "timestamp with time zone": LONG_AGO + timedelta(hours=place),
        "jsonb": {name: place},
        "text[]": [f"{name} {place}"],
    }
    return values[kind]


def _as_sent(value: Any) -> Any:
    is_json = isinstance(value, dict) or (isinstance(value, list) and value and isinstance(value[0], dict))
    return json.dumps(value) if is_json else value


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
    **dict.fromkeys(("worker_id", "claim", "started_at", "backoff", "idempotency_key", "last_error", "error_id")),
    **dict.fromkeys(("copy_of", "operation_id", "schedule", "scheduled_for")),
    **dict.fromkeys(("attempt", "attempts", "crashes", "snoozes"), 0),
    **dict.fromkeys(("suspect", "cancel_requested"), False),
    **dict.fromkeys(("run_at", "created_at", "updated_at"), is_now),
    **{"id": is_new(None), "status": "queued", "errors": []},
}
CHANGES: Row = {"queue": "letters", "priority": -3, "max_attempts": 950, "timeout_seconds": 77, "tags": ["other"]}
CHANGES["payload"] = {"n": 3}
# What only a live job has, and what only an ended one has.
LEFT_BEHIND: Row = {"backoff": GONE, "suspect": GONE}
NOT_ENDED: Row = {"finished_at": GONE, "result": GONE}
# An ended job names the group of its error only if it failed for good.
ENDED: Row = {**LEFT_BEHIND, "updated_at": is_now, "finished_at": is_now, "result": None, "error_id": None}
CANCELLED: Row = {**ENDED, "status": "cancelled", "cancel_requested": True}
# A retry gives a full budget; that a job has crashed before stays known.
RETRIED: Row = {
    **NOT_ENDED,
    **{"status": "queued", "attempts": 0, "snoozes": 0, "suspect": True, "cancel_requested": False},
    **dict.fromkeys(("worker_id", "backoff", "error_id")),
    **dict.fromkeys(("run_at", "updated_at"), is_now),
}
LIVE_AND_ENDED = (("job", "running"), ("finished_job", "failed_permanent"))
ERROR = "out of luck"
GROUP = fingerprint("mail", ERROR)


def test_stores_what_a_client_sets(conn, sql):
    due = datetime.now(UTC) + timedelta(hours=1)
    assert ASKED.keys() == set(columns_of("set_by_clients"))
    others = {"run_at", "delay", "idempotency_key", "parsed_payload"}
    assert {each.name for each in fields(NewJob)} == ASKED.keys() | others

    [receipt] = queueing.enqueue(conn, [NewJob(**ASKED, run_at=due, idempotency_key="order-7")])
    one = read_row(sql, "job", receipt.job.id)
    many = jobs.enqueue_all(conn, [jobs.draft(NewJob(**ASKED, run_at=due)) for _ in range(2)])

    assert wrong_columns(ASKED | FRESH, one, {"run_at": due, "idempotency_key": "order-7"}) == {}
    for stored in many:
        row = read_row(sql, "job", UUID(str(stored.job_id)))
        assert wrong_columns(ASKED | FRESH, row, {"run_at": due}) == {}


def test_stores_what_a_schedule_sets(conn, sql):
    plant(sql, "nightly", every_seconds=3600, seconds_ago=3600, job=ASKED)

    fire_due(conn, retention_days=30)

    [[job_id, tick]] = sql("SELECT job_id, scheduled_at FROM haulier.tick WHERE outcome = 'fired'")
    row = read_row(sql, "job", job_id)
    assert wrong_columns(ASKED | FRESH, row, {"schedule": "nightly", "scheduled_for": tick}) == {}


def test_shows_every_column_to_whoever_reads_a_job(conn, sql):
    for table, status in LIVE_AND_ENDED:
        row = new_row(sql, table, status, id=uuid4())
        only_here = {"suspect"}
        only_there = {name: row.get(name) for name in ("progress", "result", "finished_at", "backoff")}

        shown = read_row(sql, "jobs", row["id"])
        job = search.get(conn, row["id"]).read()._asdict()

        assert wrong_columns({name: row[name] for name in row.keys() - only_here}, shown, only_there) == {}
        assert {name: (value, shown[name]) for name, value in job.items() if value != shown[name]} == {}


def test_keeps_every_column_when_it_is_claimed(conn, sql):
    row = new_row(sql, "job", "queued")
    worker = claims.register(conn, host="dock", pid=7, threads=1, queues=(), lease_seconds=30)
    claim_id = uuid4()

    [job] = queueing.claim(conn, worker_id=worker, claim_id=claim_id, queues=(), suspect=True)

    after = read_row(sql, "job", row["id"])
    written = {"status": "running", "worker_id": worker, "claim": claim_id, "started_at": is_now, "updated_at": is_now}
    written |= {name: row[name] + 1 for name in ("attempt", "attempts")}
    assert wrong_columns(row, after, written) == {}
    # What handlers need not know stays out of the claim.
    left_out = {"copy_of", "finished_at", "result", "progress"}
    claimed = {name: value for name, value in job._asdict().items() if name not in left_out}
    assert {name: (value, after[name]) for name, value in claimed.items() if value != after[name]} == {}


GIVEN_BACK: Row = {"status": "retrying", "worker_id": None, "attempts": 4, "updated_at": is_now}
FAILED_ONCE: Row = {
    "last_error": ERROR,
    "errors": lambda errors: [each["error"] for each in errors][1:] == [ERROR],
    "error_id": GROUP.id,
    "updated_at": is_now,
}
SETTLED: dict[str, tuple[Outcome, str, Row]] = {
    "succeeds": (Outcome.complete(7), "finished_job", ENDED | {"status": "succeeded", "result": 7}),
    "fails": (
        Outcome.fail(ERROR, delay=0.0, backoff=2.5),
        "job",
        FAILED_ONCE | {"status": "retrying", "worker_id": None, "run_at": is_now, "backoff": 2.5},
    ),
    "fails for good": (
        Outcome.fail_for_good(ERROR),
        "finished_job",
        ENDED | FAILED_ONCE | {"status": "failed_permanent"},
    ),
    "is given back": (Outcome.give_back(), "job", GIVEN_BACK),
    "is released": (
        Outcome.release(why="the worker stops"),
        "job",
        GIVEN_BACK | {"run_at": is_now, "last_error": "the worker stops"},
    ),
    "snoozes": (Outcome.snooze(0.0), "job", GIVEN_BACK | {"run_at": is_now, "snoozes": 43}),
    "crashes": (
        Outcome(Verb.CRASH, error=ERROR, delay=0.0),
        "job",
        FAILED_ONCE | {"status": "retrying", "worker_id": None, "run_at": is_now, "crashes": 8},
    ),
}


def test_keeps_every_column_when_its_run_ends(conn, sql):
    wrong = {}
    for end, (outcome, table, written) in SETTLED.items():
        row = new_row(sql, "job", "running", id=uuid4(), snoozes=42, crashes=7)
        failure = Failure(GROUP, row["queue"], ERROR) if outcome.error == ERROR else None
        fence = Fence(row["id"], row["attempt"], row["claim"])

        assert claims.settle(conn, [Settlement(fence, outcome, failure=failure)]).keys() == {row["id"]}

        wrong[end] = wrong_columns(row, read_row(sql, table, row["id"]), written)

    assert {end: columns for end, columns in wrong.items() if columns} == {}


def test_keeps_every_column_when_it_is_cancelled(conn, sql):
    waits, runs = new_row(sql, "job", "retrying"), new_row(sql, "job", "running", id=uuid4())
    requested = new_row(sql, "job", "running", id=uuid4(), cancel_requested=True)

    jobs.cancel(conn, waits["id"])
    jobs.cancel(conn, runs["id"])
    fence = Fence(requested["id"], requested["attempt"], requested["claim"])
    claims.settle(conn, [Settlement(fence, Outcome.complete({"done": True}))])

    for row in (waits, requested):
        assert wrong_columns(row, read_row(sql, "finished_job", row["id"]), CANCELLED) == {}
    written = {"cancel_requested": True, "updated_at": is_now}
    assert wrong_columns(runs, read_row(sql, "job", runs["id"]), written) == {}


def test_keeps_every_column_when_it_is_retried(conn, sql):
    row = new_row(sql, "finished_job", "failed_permanent", cancel_requested=True)
    changed = new_row(sql, "finished_job", "cancelled", id=uuid4())

    retry(conn, row["id"])
    retry(conn, changed["id"], Changes.of(**CHANGES))

    assert wrong_columns(row, read_row(sql, "job", row["id"]), RETRIED) == {}
    assert wrong_columns(changed, read_row(sql, "job", changed["id"]), RETRIED | CHANGES) == {}


def test_keeps_every_column_that_a_change_does_not_name(conn, sql):
    row = new_row(sql, "job", "retrying")

    change(conn, row["id"], Changes.of(**CHANGES, delay_seconds=0))

    written = {**CHANGES, "run_at": is_now, "updated_at": is_now}
    assert wrong_columns(row, read_row(sql, "job", row["id"]), written) == {}


def test_a_copy_has_what_a_client_may_set_and_nothing_else(conn, sql):
    for table, status in LIVE_AND_ENDED:
        row = new_row(sql, table, status, id=uuid4())

        made = copy(conn, row["id"])

        like_it = {name: row[name] for name in ASKED}
        after = read_row(sql, "job", made.id)
        assert wrong_columns(like_it | FRESH, after, {"id": is_new(row["id"]), "copy_of": row["id"]}) == {}
        assert wrong_columns(row, read_row(sql, table, row["id"]), {}) == {}


def test_keeps_every_column_when_an_operation_acts_on_it(sql, start, done_by):
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


def test_is_gone_once_it_is_deleted_and_its_idempotency_key_stays(conn, sql, start, done_by):
    one, many = (new_row(sql, "finished_job", "succeeded", id=uuid4()) for _ in range(2))
    for row in (one, many):
        sql("INSERT INTO haulier.idempotency (key, fingerprint, job_id) VALUES (%s, '', %s)", str(row["id"]), row["id"])

    delete(conn, one["id"])
    done_by(start("delete"))

    assert sql("SELECT count(*) FROM haulier.jobs") == [(0,)]
    assert sql("SELECT count(*) FROM haulier.idempotency") == [(2,)]
