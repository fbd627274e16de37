"""Everything that is known when the last job has ended: from clients, handlers, the operating system and the tables."""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from lab.chaos import ledger, witness
from lab.chaos.faults import Injected
from lab.chaos.ledger import Record
from lab.chaos.load import Accepted, Answer, Load
from lab.chaos.operators import Act
from lab.chaos.schedules import Accounts
from lab.chaos.stage import Death, Stage
from lab.chaos.witness import Witness


class Row(NamedTuple):
    """A job in the tables, or as it was when it was deleted.

    Units: finished_at is of the monotonic clock; None while the job is live.
    """

    id: str
    kind: str
    status: str
    attempt: int
    attempts: int
    max_attempts: int
    claim: str | None
    last_error: str | None
    result: Any
    n: int | None
    finished_at: float | None
    times: int = 1
    copy_of: str | None = None


class WayBack(NamedTuple):
    """A job that went back to waiting. `how` is crash, fail, snooze or release; retry if it had ended."""

    job: str
    attempt: int
    worker: str
    how: str
    at: float


class Worker(NamedTuple):
    """A worker's row as it last was. `is_buried` is None while the row is there."""

    pid: int
    beat_at: float | None
    gone_at: float | None
    is_buried: bool | None


@dataclass
class Evidence:
    """The input of the verdict. Units: all times are of the monotonic clock."""

    lease_seconds: float
    accepted: dict[str, Accepted] = field(default_factory=dict)
    conflicts: list[str] = field(default_factory=list)
    cancelled: dict[str, str] = field(default_factory=dict)
    perhaps_cancelled: set[str] = field(default_factory=set)
    answers: Sequence[Answer] = ()
    unknown: int = 0
    records: Sequence[Record] = ()
    rows: Sequence[Row] = ()
    ways_back: Sequence[WayBack] = ()
    claimed_while_paused: Sequence[str] = ()
    schedules: Accounts = field(default_factory=Accounts)
    workers: dict[str, Worker] = field(default_factory=dict)
    deaths: Sequence[Death] = ()
    stalls: Sequence[tuple[float, float]] = ()
    injected: Sequence[Injected] = ()
    miscounted: Sequence[str] = ()
    witness: Witness = field(default_factory=Witness)
    acts: Sequence[Act] = ()


JOBS = """
    SELECT id::text, kind, status, attempt, attempts, max_attempts, claim::text, last_error, NULL,
        (payload ->> 'n')::integer, NULL, coalesce((payload ->> 'times')::integer, 1), copy_of::text
    FROM haulier.job
    UNION ALL
    SELECT id::text, kind, status, attempt, attempts, max_attempts, claim::text, last_error, result,
        (payload ->> 'n')::integer, extract(epoch FROM finished_at)::double precision - %(offset)s,
        coalesce((payload ->> 'times')::integer, 1), copy_of::text
    FROM (
        SELECT * FROM haulier.finished_job
        UNION ALL
        SELECT was.* FROM chaos.deleted CROSS JOIN jsonb_populate_record(NULL::haulier.finished_job, job) AS was
    ) AS ended
"""
WAYS_BACK = """
    SELECT job_id::text, attempt, worker_id::text, how, extract(epoch FROM at)::double precision - %(offset)s
    FROM chaos.went_back
    UNION ALL
    SELECT job ->> 'id', (job ->> 'attempt')::integer, '', 'retry',
        extract(epoch FROM at)::double precision - %(offset)s
    FROM chaos.written
    WHERE what = 'retry'
"""
WORKERS = """
    SELECT id::text, pid, extract(epoch FROM beat_at)::double precision - %(offset)s,
        extract(epoch FROM gone_at)::double precision - %(offset)s, is_buried
    FROM chaos.worker
"""


def logged_errors(folder: Path) -> dict[str, int]:
    """Return the errors that the services logged, each with its count; of a traceback only the last line."""
    found: Counter[str] = Counter()
    for path in folder.glob("*.log"):
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            with suppress(ValueError):
                said = json.loads(line)
                if said["level"] in ("ERROR", "CRITICAL"):
                    # Replace numbers, so that messages that differ only in numbers count as one.
                    message = re.sub(r"[0-9]+(\.[0-9]+)?", "N", said["message"])
                    cause = said.get("traceback", "").strip().splitlines()[-1:]
                    found[": ".join([message, *cause])[:200]] += 1
    return dict(found.most_common())


def gather(
    stage: Stage, load: Load, injected: Sequence[Injected], acts: Sequence[Act] = (), *, miscounted: Sequence[str] = ()
) -> Evidence:
    """Return the evidence; nothing that changes it may run any more."""
    # The database runs on this machine, whose clock does not jump.
    offset = {"offset": time.time() - time.monotonic()}
    with closing(stage.connect()) as conn, conn.cursor() as cursor:
        cursor.execute(JOBS, offset)
        rows = [Row(*each) for each in cursor.fetchall()]
        cursor.execute(WAYS_BACK, offset)
        ways_back = [WayBack(*each) for each in cursor.fetchall()]
        cursor.execute("SELECT job_id::text FROM chaos.claimed_while_paused")
        claimed_while_paused = [job_id for (job_id,) in cursor.fetchall()]
        cursor.execute(WORKERS, offset)
        workers = {worker_id: Worker(*rest) for worker_id, *rest in cursor.fetchall()}
        seen = witness.read(conn)
    return Evidence(
        lease_seconds=stage.lease_seconds,
        accepted=load.accepted,
        conflicts=load.conflicts,
        cancelled=load.cancelled,
        perhaps_cancelled=load.perhaps_cancelled,
        answers=load.answers,
        unknown=load.unknown,
        records=ledger.read(stage.ledger),
        rows=rows,
        ways_back=ways_back,
        claimed_while_paused=claimed_while_paused,
        workers=workers,
        deaths=list(stage.deaths),
        stalls=list(stage.stalls),
        injected=injected,
        miscounted=miscounted,
        witness=seen,
        acts=acts,
    )
