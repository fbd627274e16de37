"""Whether the database is well: each check with its number, what it means for jobs, and the fix in words."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

from haulier.domain.checks import Check, Found, Threshold, judged
from haulier.domain.errors import Refusal, RefusedForNow, reason
from haulier.domain.text import count, number, size
from haulier.postgres.errors import translated
from haulier.postgres.limits import limits
from haulier.postgres.statements import Connection, Row, rows, transaction
from haulier.postgres.values import utc
from haulier.queue.lane_scan import scan
from haulier.queue.schedules.schedule_health import MOST_OVERDUE, overdue
from haulier.queue.upkeep.partitions import days_ahead

# What one check may take, and all of them.
CHECK_SECONDS, ALL_SECONDS = 2.0, 5.0
LOOK_SECONDS = 0.1
# A worker that sleeps for this long, while a job is due for this long, was not woken.
ASLEEP_SECONDS, DUE_SECONDS = 300.0, 5.0
# A session that has sent nothing for this long within a transaction was forgotten, or its program hangs.
IDLE_SECONDS = 60.0
# The statistics of a smaller table do not matter.
MANY_ROWS = 10_000

THRESHOLDS: Mapping[str, Threshold] = {
    "transactions": Threshold("seconds", 300, 1800),
    "idle_transactions": Threshold("seconds", 120, 1800),
    "prepared_transactions": Threshold("seconds", 300, 1800),
    "slots": Threshold("seconds", 300, 1800),
    # Of a standby only this is known: 5 and 30 minutes of 3,000 transactions a second.
    "standbys": Threshold("transactions", 1_000_000, 6_000_000),
    "vacuum": Threshold("dead rows", 100_000, 1_000_000),
    "bloat": Threshold("times", 4, 20),
    "partitions_ahead": Threshold("days", 5, 3, is_least=True),
    "partitions_behind": Threshold("partitions", 2, 10),
    "size": Threshold("bytes"),
    "connections": Threshold("percent", 85, 95),
    "wraparound": Threshold("transactions", 500_000_000, 1_500_000_000),
    "locks": Threshold("seconds", 1, 10),
    "wake_ups": Threshold("workers", 1),
    "statistics": Threshold("days", 7),
    "numbers": Threshold("seconds", 60),
    # A worker that is replaced is away for less; later than that the rule for missed ticks decides.
    "schedules": Threshold("seconds", 60, 300),
}

EFFECTS: Mapping[str, str] = {
    "transactions": "Vacuum keeps dead rows that the open transaction may still see, so each claim reads more of them.",
    "idle_transactions": "It keeps its locks, and vacuum keeps dead rows that it may still see, so jobs start later.",
    "prepared_transactions": "It keeps its locks and its snapshot, even across a restart, so dead rows pile up.",
    "slots": "The server keeps its write-ahead log for the slot until the disk is full and nothing can be stored.",
    "standbys": "Vacuum keeps dead rows that a query on a standby may still see, so each claim reads more of them.",
    "vacuum": "Each claim has to skip the dead rows, so jobs start later and later.",
    "bloat": "Claims and lists read more pages than they need to.",
    "partitions_ahead": "Without a partition for the current time, jobs cannot end: they wait until one is made.",
    "partitions_behind": "Finished jobs are kept longer than RETENTION_DAYS, and the disk fills up.",
    "size": "None.",
    "connections": "When none is left, requests get 503 and workers cannot claim jobs.",
    "wraparound": "At 2 billion the server stops accepting writes: jobs can no longer be enqueued, start or end.",
    "locks": "The jobs or requests of the waiting process are delayed.",
    "wake_ups": "Jobs may start up to POLL_SECONDS late.",
    "statistics": "The server may choose slow plans for lists and searches.",
    "numbers": "GET /stats, GET /queues and queue metrics are out of date. Jobs run normally.",
    "schedules": "Scheduled jobs are enqueued late, or skipped if the schedule's `missed` says so.",
}


@dataclass(frozen=True, slots=True)
class Checkup:
    """The state of the database. `version` is the server's."""

    at: datetime
    version: str
    checks: Sequence[Check]


def check_database(
    conn: Connection,
    *,
    retention_days: int,
    thresholds: Mapping[str, Threshold] = THRESHOLDS,
    seconds: float | None = None,
) -> Checkup:
    """Return all checks. One that the database refuses, or that takes too long, is unknown, with the reason.

    Units: seconds is what each statement may take, and after twice as much no further check begins; None:
           CHECK_SECONDS, and ALL_SECONDS.
    Raises: DatabaseUnavailable.
    """
    [server] = rows(conn, "server_version")
    hint = f"Allow the role of the API to read this: {server['remedy']}"
    looks: Mapping[str, Callable[[Connection], Found]] = {
        **_LOOKS,
        "partitions_behind": partial(_partitions_behind, retention_days=retention_days),
    }
    until, checks = time.monotonic() + (ALL_SECONDS if seconds is None else 2 * seconds), []
    for name, threshold in thresholds.items():
        is_late = time.monotonic() >= until
        found = NO_TIME if is_late else _look(conn, looks[name], hint, seconds)
        checks.append(judged(name, found, threshold, EFFECTS[name]))
    return Checkup(utc(server["at"]), server["version"], checks)


NO_TIME = Found(None, "", "Try again.", "there was no time left for this check", is_late=True)


def _look(conn: Connection, look: Callable[[Connection], Found], hint: str, seconds: float | None) -> Found:
    # Each by itself: in one transaction a check that is late would take all after it with it.
    bounds: AbstractContextManager[None] = nullcontext()
    if seconds is not None:
        bounds = transaction(conn, seconds=seconds, lock_seconds=seconds)
    try:
        with translated(), bounds:
            found = look(conn)
    except Refusal as error:
        is_late = isinstance(error, RefusedForNow)
        return Found(None, "", hint, f"could not be read: {reason(error)}", is_late=is_late)
    return Found(found.number, found.message, hint, found.hidden) if _is_hidden_alone(found) else found


def _is_hidden_alone(found: Found) -> bool:
    return found.hidden is not None and not found.number


def _ask(conn: Connection, name: str, **parameters: Any) -> Row | None:
    found = rows(conn, name, seconds=CHECK_SECONDS, **parameters)
    return found[0] if found else None


def _transactions(conn: Connection, *, is_idle: bool = False) -> Found:
    found = _ask(conn, "open_transactions", is_idle=is_idle, idle=IDLE_SECONDS)
    row = found or {"seconds": None, "hidden": 0}
    hidden = _hidden(row, "session of another role hides its", "sessions of other roles hide their")
    if row["seconds"] is None:
        return Found(0.0, "no transaction is idle" if is_idle else "no transaction is open", "", hidden)
    what = f"server process {row['pid']} ({row['application_name'] or 'without a name'}, {row['state']})"
    message = f"a transaction has been open for {_time(row['seconds'])}: {what}"
    # The command ends this session only; the setting ends the next one too.
    limit = "idle_in_transaction_session_timeout ends such sessions by itself. " if is_idle else ""
    return Found(row["seconds"], message, f"{limit}Commit or end it: {row['remedy']}", hidden)


def _hidden(row: Row, one: str, many: str) -> str | None:
    return f"{count(row['hidden'], one, many)} transactions from this role" if row["hidden"] else None


def _prepared(conn: Connection) -> Found:
    row = _ask(conn, "prepared_transactions")
    if row is None:
        return Found(0.0, "there are no prepared transactions", "")
    fix = f"Roll it back as its owner, or commit it: {row['remedy']}"
    return Found(row["seconds"], f"the transaction {row['gid']} has been prepared for {_time(row['seconds'])}", fix)


def _slots(conn: Connection) -> Found:
    row = _ask(conn, "idle_slots")
    if row is None:
        return Found(0.0, "all replication slots are in use", "")
    # Before PostgreSQL 17 nobody knows since when: then it counts as long.
    seconds = THRESHOLDS["slots"].warn if row["seconds"] is None else row["seconds"]
    since = "" if row["seconds"] is None else f" for {_time(row['seconds'])}"
    kept = "" if row["bytes"] is None else f"; the server keeps {size(row['bytes'])} of write-ahead log for it"
    fix = f"Start the standby or consumer that uses it, or drop it: {row['remedy']}"
    return Found(seconds, f"the slot {row['slot_name']} has been unused{since}{kept}", fix)


def _standbys(conn: Connection) -> Found:
    row = _ask(conn, "standby_snapshots") or {"name": None, "hidden": 0}
    hidden = _hidden(row, "standby hides its", "standbys hide their")
    if row["name"] is None:
        return Found(0.0, "no standby holds a snapshot", "", hidden)
    old = count(row["transactions"], "transaction")
    who = f"the standby {row['name']}" if row["name"] else "a standby without a name"
    message = f"{who} holds a snapshot that is {old} old"
    fix = f"End the oldest query on the standby, or set hot_standby_feedback = off. To find it: {row['remedy']}"
    return Found(row["transactions"], message, fix, hidden)


def _vacuum(conn: Connection) -> Found:
    row = _ask(conn, "dead_rows")
    if row is None:
        return Found(None, "", "", "the server has no statistics about the tables")
    bad = THRESHOLDS["vacuum"].bad
    if not row["is_on"]:
        return Found(bad, "autovacuum is off", f"Turn it on: {row['remedy_for_all']}")
    if row["is_off_here"]:
        return Found(bad, f"autovacuum is off for haulier.{row['name']}", f"Turn it on: {row['remedy_here']}")
    dead = row["dead"] if row["matters"] else 0
    fix = f"End the oldest transaction (see the check transactions), then {row['remedy']}"
    beside = count(row["live"], "live row")
    return Found(dead, f"the table {row['name']} has {count(row['dead'], 'dead row')} and {beside}", fix)


def _bloat(conn: Connection) -> Found:
    row = _ask(conn, "bloat")
    if row is None:
        return Found(0.0, "the table of live jobs and its indexes are small", "")
    if row["left_over"]:
        message = f"the index {row['name']} is left over from a REINDEX that failed"
        return Found(THRESHOLDS["bloat"].warn, message, f"Drop it: {row['remedy']}")
    if row["times"] is None:
        return Found(None, "", row["remedy"], "the widths of the columns cannot be seen")
    what = "the table job" if row["name"] == "job" else f"the index {row['name']}"
    times = f"{row['times']:.1f} times " if row["times"] >= 1.05 else ""
    return Found(row["times"], f"{what} is about {times}as large as its rows need", row["remedy"])


def _partitions_ahead(conn: Connection) -> Found:
    days = days_ahead(conn)
    fix = "Run `haulier migrate` or start a worker. If a worker is running, its log says why housekeeping fails."
    return Found(days, f"history partitions exist for the next {days:.1f} days", fix)


def _partitions_behind(conn: Connection, *, retention_days: int) -> Found:
    row = _ask(conn, "oldest_partition", retention_days=retention_days)
    if row is None or row["late"] <= 0:
        return Found(0.0, "no history partition is older than RETENTION_DAYS", "")
    fix = "End transactions that read the history for hours. Workers drop partitions hourly; their logs say why not."
    message = f"the partition {row['name']} is overdue for dropping by {row['late']:.1f} partitions"
    return Found(row["late"], message, fix)


def _size(conn: Connection) -> Found:
    row = _ask(conn, "sizes") or {"bytes": 0, "history": 0}
    message = f"the tables take {size(row['bytes'])}, of which {size(row['history'] or 0)} are history"
    return Found(row["bytes"], message, "")


def _connections(conn: Connection) -> Found:
    found = limits(conn)
    if not found:
        return Found(None, "", "Run SHOW POOLS in the pooler.", "a connection pooler hides the limits of the server")
    worst = max(found, key=lambda limit: (limit.open + 1) / max(limit.most, 1))
    percent = 100 * (worst.open + 1) / max(worst.most, 1)
    fix = "Lower DB_CONNECTION_LIMIT, WEB_CONCURRENCY or WORKER_PROCESSES, or use a connection pooler."
    return Found(
        percent, f"{number(worst.open + 1)} of the {number(worst.most)} connections of {worst.whose} are used", fix
    )


def _wraparound(conn: Connection) -> Found:
    row = _ask(conn, "wraparound") or {"age": None, "oldest": []}
    fix = f"VACUUM (FREEZE) the oldest tables: {', '.join(row['oldest'])}"
    return Found(row["age"], f"the oldest row is {count(row['age'] or 0, 'transaction')} old", fix)


def _locks(conn: Connection) -> Found:
    row = _ask(conn, "waits_for_locks")
    if row is None:
        return Found(0.0, "no process waits for a lock", "")
    blockers = ", ".join(map(str, row["blockers"])) or "a process that has ended"
    fix = f"End the process that holds the lock, unless it is about to finish: {row['remedy']}"
    message = f"server process {row['pid']} has waited {_time(row['seconds'])} for a lock held by {blockers}"
    return Found(row["seconds"], message, fix)


def _wake_ups(conn: Connection) -> Found:
    waits = {"asleep": ASLEEP_SECONDS, "due_for": DUE_SECONDS}
    row = _ask(conn, "unheard_sleepers", **waits, **scan(suspect=False, seconds=LOOK_SECONDS)) or {"workers": 0}
    fix = "If a pooler in transaction mode is in use, set DATABASE_DIRECT_URL. Otherwise see the workers' logs."
    if not row["workers"]:
        return Found(0.0, "no worker is idle while jobs of its queues are due", fix)
    asleep = count(row["workers"], "worker is", "workers are")
    whose = "its" if row["workers"] == 1 else "their"
    return Found(row["workers"], f"{asleep} idle while jobs of {whose} queues are due", fix)


def _statistics(conn: Connection) -> Found:
    row = _ask(conn, "age_of_statistics", rows=MANY_ROWS)
    if row is None:
        return Found(0.0, "the tables are small", "")
    fix = row["remedy"]
    if row["days"] is None:
        return Found(THRESHOLDS["statistics"].warn, f"there are no statistics of haulier.{row['name']}", fix)
    return Found(row["days"], f"the statistics of haulier.{row['name']} are {row['days']:.1f} days old", fix)


def _numbers(conn: Connection) -> Found:
    row = _ask(conn, "age_of_numbers")
    if row is None:
        return Found(0.0, "nothing has been counted yet: no worker with COUNTING=on has run", "")
    who = "see the workers' logs" if row["workers"] else "start a worker: none is running"
    return Found(row["seconds"], f"the last count is {_time(row['seconds'])} old", f"Set COUNTING=on, or {who}.")


def _schedules(conn: Connection) -> Found:
    found = overdue(conn)
    if not found.schedules:
        return Found(found.oldest_seconds, "no tick is overdue", "")
    many = f"{number(MOST_OVERDUE)} or more schedules have"
    have = many if found.schedules >= MOST_OVERDUE else count(found.schedules, "schedule has", "schedules have")
    message = f"{have} overdue ticks, the oldest by {_time(found.oldest_seconds)}"
    if found.refused:
        message += f"; the database refuses the jobs of {number(found.refused)} of them"
    if not found.workers:
        return Found(found.oldest_seconds, message, "Start a worker: none is running that fires schedules.")
    fix = "See GET /schedules/{name}/explain, and the workers' logs, which name the schedules."
    return Found(found.oldest_seconds, message, fix)


def _time(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


_LOOKS: Mapping[str, Callable[[Connection], Found]] = {
    "transactions": _transactions,
    "idle_transactions": partial(_transactions, is_idle=True),
    "prepared_transactions": _prepared,
    "slots": _slots,
    "standbys": _standbys,
    "vacuum": _vacuum,
    "bloat": _bloat,
    "partitions_ahead": _partitions_ahead,
    "size": _size,
    "connections": _connections,
    "wraparound": _wraparound,
    "locks": _locks,
    "wake_ups": _wake_ups,
    "statistics": _statistics,
    "numbers": _numbers,
    "schedules": _schedules,
}
