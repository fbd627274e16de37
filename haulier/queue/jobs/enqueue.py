"""Enqueue: one job in one round trip, or thousands by COPY, and what becomes of their idempotency keys."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

from haulier.domain.errors import KeyMoved, Refusal, RefusedForNow, RowRefused
from haulier.domain.job import Job, JobStatus
from haulier.postgres.errors import translated
from haulier.postgres.halves import by_halves, is_slow
from haulier.postgres.prepared import Prepared
from haulier.postgres.statements import Connection, Row, copy, rows, savepoint, transaction
from haulier.postgres.values import array, utc
from haulier.queue.jobs.draft import COLUMNS, Draft, Enqueued, Receipt, Stored
from haulier.queue.jobs.idempotency import Holder, take_idempotency
from haulier.queue.rows import StoredJob
from haulier.queue.search.job_list import get_jobs

# A batch of 10,000 jobs takes a quarter of a second; routers give up a request after 30.
BULK_SECONDS = 20.0

# Parsed and planned each time, an INSERT takes a fifth longer.
prepared = Prepared(("enqueue", "enqueue_in_cell", "enqueue_keyed", "enqueue_keyed_in_cell"))


def enqueue_one(conn: Connection, asked: Draft) -> Enqueued:
    """Store one job and return what became of it, in one round trip unless its idempotency key is taken.

    Inside the caller's own transaction the job is stored when that transaction commits.
    Raises: RowRefused if a trigger drops the job; KeyMoved if another cell takes the new jobs of its API key.
    """
    suffix, values = _sent(asked)
    scoped_key = asked.scoped_key
    if scoped_key is None:
        row = prepared.first_row(conn, f"enqueue{suffix}", **values)
        if row is None:
            _check_moved(conn, asked.scope)
            raise RowRefused("a trigger drops the job")
        return Enqueued(Receipt.CREATED, _new_job(asked, row))
    # A key that is purged between the two statements is neither inserted nor found: by then it is free, so try again.
    while True:
        if created := prepared.first_row(
            conn,
            f"enqueue_keyed{suffix}",
            **values,
            idempotency_key=asked.idempotency_key,
            fingerprint=asked.fingerprint,
            scoped_key=scoped_key,
        ):
            return Enqueued(Receipt.CREATED, _new_job(asked, created))
        if holders := rows(conn, "find_idempotency", keys=[scoped_key]):
            break
        _check_moved(conn, asked.scope)
    [holder] = holders
    if bytes(holder["fingerprint"]) != asked.fingerprint:
        return Enqueued(Receipt.MISMATCH, None)
    if holder["cell"] is not None:
        return Enqueued(Receipt.REPLAYED, _as_accepted(asked, holder))
    found = get_jobs(conn, [holder["job_id"]])
    return Enqueued(Receipt.REPLAYED, found[0]) if found else Enqueued(Receipt.GONE, None)


def _sent(asked: Draft) -> tuple[str, dict[str, Any]]:
    """Return how the names of the statements end that store the job, and their parameters."""
    values = {**asked.columns, "payload": asked.payload.decode(), "run_at": asked.run_at, "delay": asked.delay}
    return ("_in_cell", {**values, "scope": asked.scope}) if asked.in_cell else ("", values)


def _check_moved(conn: Connection, scope: str | None) -> None:
    for row in rows(conn, "moved_to", scope=scope):
        raise KeyMoved(row["moved_to"])


# The defaults of schema.sql, which every new job has.
_NEW = StoredJob(
    **{
        **dict.fromkeys(Job._fields),
        **Job._field_defaults,
        "status": JobStatus.QUEUED,
        "cancel_requested": False,
        **dict.fromkeys(("attempts", "attempt", "crashes", "snoozes"), 0),
        "errors": b"[]",
    }
)
# By position: by name it would take several times as long.
_PLACES = [
    Job._fields.index(name) for name in (*COLUMNS, "idempotency_key", "id", "run_at", "created_at", "updated_at")
]


def _new_job(asked: Draft, row: tuple[Any, ...]) -> StoredJob:
    # Only three columns are read back: all others are as asked for, or a default. JSON stays text.
    job_id, run_at, created_at = row
    created_at = utc(created_at)
    values: list[Any] = [*_NEW]
    for place, value in zip(
        _PLACES, (*asked.values, asked.idempotency_key, job_id, utc(run_at), created_at, created_at), strict=True
    ):
        values[place] = value
    return StoredJob._make(values)


def _as_accepted(asked: Draft, holder: Row) -> StoredJob:
    """Return a job of another cell as it was accepted there: the same request, at the time of the record."""
    accepted_at = holder["created_at"]
    due = max(accepted_at + (asked.delay or timedelta()), asked.run_at or accepted_at)
    return _new_job(asked, (holder["job_id"], due, accepted_at))


def enqueue_all(conn: Connection, drafts: Sequence[Draft], *, atomic: bool = True) -> list[Stored]:
    """Store many jobs and return a receipt for each, in the order given.

    With atomic, one MISMATCH or GONE leaves nothing stored: receipts that say CREATED are then for jobs that do not
    exist. Without, the others are stored. If a key is given twice, the second receipt is REPLAYED or MISMATCH.

    Inside the caller's own transaction the jobs are stored when it commits, and atomic rolls nothing back.
    All drafts have the same scope. Raises: KeyMoved if another cell takes the new jobs of that API key.
    """
    stored: list[Stored] = []
    try:
        with transaction(conn, seconds=BULK_SECONDS):
            stored = _store(conn, drafts)
            if atomic and any(each.job_id is None for each in stored):
                raise _Refused
    except _Refused:
        pass
    return stored


class _Refused(Exception):
    pass


def enqueue_each(conn: Connection, drafts: Sequence[Draft], *, is_trial: bool = False) -> list[Stored | Refusal]:
    """Store each job that the database accepts, and return its receipt, or else the error with which it is refused.

    With is_trial nothing is stored: it only says which jobs would be refused.
    Raises: DatabaseUnavailable, also if all jobs are refused for now.
    """
    began_at = time.monotonic()
    if not is_trial:
        try:
            with translated():
                return [*enqueue_all(conn, drafts, atomic=False)]
        except Refusal as refused:
            if is_slow(refused, began_at):
                raise

    done = 0

    def store(some: Sequence[Draft]) -> list[Stored]:
        nonlocal done
        with savepoint(conn, seconds=BULK_SECONDS):
            stored = _store(conn, some, first=done)
        done += len(some)
        return stored

    became: list[Stored | Refusal] = []
    with suppress(_Refused), transaction(conn, seconds=BULK_SECONDS):
        became = by_halves(drafts, store)
        if is_trial:
            raise _Refused
    waiting = [each for each in became if isinstance(each, RefusedForNow)]
    if waiting and len(waiting) == len(drafts):
        raise waiting[0]
    return became


def _store(conn: Connection, drafts: Sequence[Draft], *, first: int = 0) -> list[Stored]:
    # COPY returns nothing and computes nothing, so the ids are made, and the time is fetched, first.
    times = _times(conn, drafts)
    now, ids = times["now"], _new_ids(first, len(drafts), times["clock"], times["cell"])
    wanted: dict[str, Holder] = {}
    for job_id, asked in zip(ids, drafts, strict=True):
        if (key := asked.scoped_key) is not None:
            wanted.setdefault(key, Holder(asked.fingerprint, job_id))
    if not wanted:
        copy(conn, "copy_jobs", _lines(zip(ids, drafts, strict=True), now), seconds=BULK_SECONDS)
        return [Stored(Receipt.CREATED, job_id) for job_id in ids]
    holders = take_idempotency(conn, wanted)

    def is_new(job_id: str, asked: Draft) -> bool:
        return (key := asked.scoped_key) is None or holders[key].job_id == job_id

    new = ((job_id, asked) for job_id, asked in zip(ids, drafts, strict=True) if is_new(job_id, asked))
    copy(conn, "copy_jobs", _lines(new, now), seconds=BULK_SECONDS)

    known = [holder.job_id for key, holder in holders.items() if holder != wanted[key] and holder.cell is None]
    kept = {row["id"] for row in rows(conn, "which_jobs", ids=array(known))} if known else set()
    kept.update(holder.job_id for key, holder in holders.items() if holder == wanted[key] or holder.cell is not None)

    def receipt(job_id: str, asked: Draft) -> Stored:
        if is_new(job_id, asked):
            return Stored(Receipt.CREATED, job_id)
        holder = holders[asked.scoped_key or ""]
        if holder.fingerprint != asked.fingerprint:
            return Stored(Receipt.MISMATCH, None)
        return Stored(Receipt.REPLAYED, holder.job_id) if holder.job_id in kept else Stored(Receipt.GONE, None)

    return [receipt(job_id, asked) for job_id, asked in zip(ids, drafts, strict=True)]


def _times(conn: Connection, drafts: Sequence[Draft]) -> Row:
    """Return the times for these jobs, of one API key. Raises: KeyMoved if another cell takes its new jobs."""
    [times] = rows(conn, "times", scope=drafts[0].scope)
    if times["moved_to"] is not None:
        raise KeyMoved(times["moved_to"])
    return times


def _new_ids(first: int, count: int, clock: datetime, cell: int | None) -> list[str]:
    """Return ids as haulier.uuidv7 makes them, of which Postgres makes 10,000 in 30 ms.

    Args:
        first: Number of the first job in its batch: the jobs run in the order of their numbers.
        cell: The last byte, and so version 8; None: version 7.
    """
    # 48 bits of milliseconds, the version and the variant.
    base = int(clock.timestamp() * 1000) << 80 | (0x8 if cell else 0x7) << 76 | 0x2 << 62
    end, last = (30, f"{cell:02x}") if cell else (32, "")
    # Not by `random`: a module of kinds that seeds it would have all processes make the same ids.
    noise = os.urandom(8 * count)
    ids: list[str] = []
    for place in range(count):
        # Between version and variant, and beside them, 14 bits of the number; below them 60 random bits.
        high, low = divmod((first + place) % 2**14, 4)
        bits = int.from_bytes(noise[8 * place : 8 * place + 8], "big") >> 4
        digits = f"{base | high << 64 | low << 60 | bits:032x}"
        ids.append(f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:end]}{last}")
    return ids


def _lines(jobs: Iterable[tuple[str, Draft]], now: datetime) -> Iterator[str]:
    # Written once: most jobs of a batch are due now, and writing a time takes as long as the rest of a line.
    due_now = str(now)
    texts = _Texts()
    for job_id, asked in jobs:
        due = due_now
        if asked.delay is not None or asked.run_at is not None:
            due = str(max(now + (asked.delay or timedelta()), asked.run_at or now))
        values = "\t".join([texts[value] if type(value) in _SHARED else _text(value) for value in asked.values])
        yield f"{values}\t{job_id}\t{_text(asked.idempotency_key)}\t{due}\n"


# Most jobs of a batch have the same few values of these types.
_SHARED = {str, int, type(None)}


class _Texts(dict[object, str]):
    """The texts of values that many jobs share, each made once."""

    def __missing__(self, value: object) -> str:
        text = self[value] = _text(value)
        return text


def _text(value: object) -> str:
    """Return the value as COPY reads it. `bytes` are JSON, lists arrays of text."""
    if value is None:
        return r"\N"
    if type(value) is int:
        return str(value)
    if type(value) is bytes:
        # JSON writes its control characters as escapes.
        return value.decode().replace("\\", r"\\")
    text = array(value) if type(value) is list else str(value)
    if text.isalnum():
        return text
    return text.replace("\\", r"\\").replace("\t", r"\t").replace("\n", r"\n").replace("\r", r"\r")
