"""Fills a database with what pages show: jobs in all states, and whatever else there is, in friendly or hostile names.

Jobs are enqueued, claimed and settled by the functions that the API and the workers call. Only their times are set by
SQL, so that they lie within the last hour.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

from psycopg2.extensions import connection as Connection

from haulier.domain.api_key import Scope
from haulier.domain.claim import Failure, Fence, Settlement
from haulier.domain.fingerprint import fingerprint
from haulier.domain.job import Job, JobStatus, Json, NewJob
from haulier.domain.operation import OperationAction
from haulier.domain.outcome import Outcome
from haulier.domain.progress import Progress
from haulier.domain.schedules.schedule import Rule
from haulier.domain.vitals import IsolatedEnds, IsolatedProcess, Vitals
from haulier.postgres.connection import connect
from haulier.queue import claims, search
from haulier.queue import jobs as job_acts
from haulier.queue.access import api_keys
from haulier.queue.access.api_keys import NewKey
from haulier.queue.claims.progress import write_progress
from haulier.queue.failures import error_counts, error_groups
from haulier.queue.numbers import counts, depths
from haulier.queue.operations import operations
from haulier.queue.operations.operations import Order
from haulier.queue.operations.work_off import Worker, work_off
from haulier.queue.queues import pauses
from haulier.queue.schedules import schedules
from tests import queueing

KINDS = ("send_email", "webhook_delivery", "resize_image", "summarize_text")
# One that the kind itself would take.
PAYLOADS: dict[str, dict[str, Json]] = {
    "send_email": {"to": "ann@example.com", "subject": "Your picture", "body": "It is ready."},
    "webhook_delivery": {
        "url": "https://hooks.example.net/orders",
        "event": "order.paid",
        "body": {"order": 4711, "total": "149.00", "currency": "EUR"},
    },
    "resize_image": {"source": "https://shop.example.com/pictures/4711.jpg", "width": 640},
    "summarize_text": {"text": "The ship came in. It was late. Nobody minded."},
}
LONG = "x" * 64
# Right to left, and what turns round all that comes after it.
BACKWARDS = "\u05e9\u05dc\u05d5\u05dd\u202e(1)gpj."
NAMES_AT_WORST = (LONG, "q" + "-_." * 21, "constructor", "a")
# What is in none of them, since the database takes it in no text: NUL.
TEXTS = (
    "<script>window.ran = 1</script>",
    "</script><script>window.ran = 1</script>",
    '"><img src=x onerror="window.ran = 1">',
    "' autofocus onfocus='window.ran = 1",
    "</pre></main></body><h1>gone</h1>",
    "<!-- ",
    "]]><svg/onload=window.ran=1>",
    "javascript:window.ran=1",
    "{{ 7 * 7 }}{% raw %}",
    "&lt;b&gt; &#60;script&#62;",
    "<a href=//evil.example>click</a>",
    "\u202etxt.exe\u2066",
    "\x1b[2J\x07\r\n\t",
    "\ufeff\u200b",
    "\u05e9\u05dc\u05d5\u05dd (1) \u202eexe.gpj",
    "\u0645\u0631\u062d\u0628\u0627 <script>window.ran = 1</script> \u200f3 = 2 + 1",
    # As long as an error may become.
    "W" * 10_000,
    "m\u0300" * 500,
    "🧨" * 60,
    "﷽" * 40,
    "<base href=//evil.example/>",
    "<meta http-equiv=refresh content=0;url=//evil.example>",
    "<style>*{display:none}</style>",
    "<iframe srcdoc='<script>parent.ran=1</script>'></iframe>",
)


@dataclass(frozen=True)
class Words:
    """What things are called. Each is taken in turn; name is who acts, keys are names of API keys."""

    kinds: Sequence[str] = KINDS
    queues: Sequence[str] = ("default", "mail", "hooks", "images")
    texts: Sequence[str] = (
        "SMTPRecipientsRefused: 550 no such user here",
        "ConnectionError: hooks.example.net:443 refused the connection",
        "ValueError: the picture has no pixels\n  File resize.py, line 12, in resize",
        "ModelOverloaded: try again in 30 s",
    )
    tags: Sequence[str] = ("night", "customer:4711")
    host: str = "dock"
    name: str = "ops-anna"
    keys: Sequence[str] = ("billing", "ops-bert", "reports")
    note: str = "mails sent"
    # Where it is none, each kind of PAYLOADS has its own.
    payload: Mapping[str, Json] | None = None


FRIENDLY = Words()
HOSTILE = Words(
    kinds=(*NAMES_AT_WORST, "send_email"),
    queues=(*NAMES_AT_WORST, "default"),
    texts=TEXTS,
    tags=[text[:64] for text in TEXTS],
    # As long as a host may be called.
    host=(TEXTS[2] + BACKWARDS + LONG * 4)[:255],
    name=(TEXTS[2] + BACKWARDS + LONG)[:100],
    keys=[text[:100] for text in TEXTS if not set(text) & set("\x1b\x07\r\n\t")],
    note=(TEXTS[0] + BACKWARDS + LONG * 3)[:200],
    payload={"note": list(TEXTS), **dict.fromkeys(TEXTS, "value"), "password": TEXTS[0]},
)
HISTORY = """
    DO $$ BEGIN EXECUTE format('CREATE TABLE haulier.finished_job_before PARTITION OF haulier.finished_job
        FOR VALUES FROM (%L) TO (%L)', now() - interval '2 days',
        date_trunc('day', now() AT TIME ZONE 'UTC') AT TIME ZONE 'UTC'); END $$
"""
# Each job an instant of its own in the last hour, the end after the beginning. Counts of one error that differ in their
# minute alone move together: at random two of them would become one.
SPREAD = """
    UPDATE haulier.finished_job SET created_at = at, run_at = at, started_at = began,
        finished_at = ended, updated_at = ended,
        errors = CASE WHEN errors = '[]' THEN errors ELSE jsonb_build_array(errors -> 0 || jsonb_build_object(
            'at', to_char(ended AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
            'started_at', to_char(began AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'))) END
    FROM (SELECT id AS mine, now() - interval '58 minutes' * random() - interval '30 s' AS at FROM haulier.finished_job)
        AS spread
    CROSS JOIN LATERAL (SELECT at + interval '1 s' * (0.2 + 4 * random() ^ 4) AS began WHERE mine = mine) AS start
    CROSS JOIN LATERAL (SELECT began + interval '1 s' * (0.1 + 8 * random() ^ 3) AS ended WHERE mine = mine) AS finish
    WHERE id = mine;
    UPDATE haulier.job SET created_at = created_at - interval '58 minutes' * random();
    UPDATE haulier.error_count
        SET minute = minute - interval '1 minute' * (5 + abs(hashtext(error_id::text || queue || source)::bigint) % 36);
    UPDATE haulier.error_group SET first_seen = first_seen - interval '41 minutes'
"""


# The last job of the first schedule has succeeded, that of the second failed, that of the third is gone. Since then a
# tick of the first has passed.
FIRED = """
    INSERT INTO haulier.tick (schedule, schedule_id, scheduled_at, outcome, fired_at, decided_at, job_id)
    SELECT name, known.id, now() - interval '2 hours', 'fired', now() - interval '2 hours', now() - interval '9 days',
        coalesce(job.id, haulier.uuidv7())
    FROM (SELECT name, id, row_number() OVER (ORDER BY name) AS place FROM haulier.schedule) AS known
    LEFT JOIN LATERAL (
        SELECT id
        FROM haulier.finished_job
        WHERE status = (ARRAY['succeeded', 'failed_permanent'])[place]
        ORDER BY id
        LIMIT 1
    ) AS job ON true;
    INSERT INTO haulier.tick (schedule, schedule_id, scheduled_at, outcome)
    SELECT name, id, now() - interval '1 hour', 'skipped_paused'
    FROM haulier.schedule
    ORDER BY name
    LIMIT 1
"""


def fill(dsn: str, jobs: int, words: Words = FRIENDLY) -> dict[str, UUID]:
    """Fill the database with so many jobs, and return the id of one in each state."""
    with closing(connect(dsn)) as conn, conn.cursor() as cursor:
        cursor.execute(HISTORY)
        workers = [
            claims.register(conn, host=words.host, pid=pid, threads=400, queues=(), lease_seconds=86_400)
            for pid in (4121, 4122)
        ]
        for worker in workers:
            claims.introduce(conn, worker, kinds=[*words.kinds])
        new = list(_new(jobs, words))
        for place in range(0, jobs, 1000):
            queueing.enqueue(conn, new[place : place + 1000])
        _work(conn, workers, jobs, words)
        _around(conn, words)
        _of_workers(conn, worker, words)
        cursor.execute(FIRED)
        _operate(conn, worker, words)
        cursor.execute(SPREAD)
        count(conn)
        cursor.execute("ANALYZE")
        cursor.execute("SELECT DISTINCT ON (status) status, id FROM haulier.jobs ORDER BY status, id")
        return {status: UUID(str(found)) for status, found in cursor.fetchall()}


def _new(jobs: int, words: Words) -> Iterator[NewJob]:
    for n in range(jobs):
        kind = words.kinds[n % len(words.kinds)]
        text = words.texts[n % len(words.texts)] if words is HOSTILE else "by web-1"
        visible = "".join(letter for letter in text if "!" <= letter <= "~")[:200]
        yield NewJob(
            kind,
            {**words.payload, "order": n, "note": text} if words.payload else PAYLOADS[kind],
            queue=words.queues[n // 3 % len(words.queues)],
            # Some are for later.
            delay=timedelta(hours=1) if n % 25 == 0 else None,
            idempotency_key=f"order-{n}-{visible}" if n % 10 == 0 else None,
            tags=[words.tags[n % len(words.tags)]] if n % 5 == 0 else [],
        )


def _work(conn: Connection, workers: Sequence[UUID], jobs: int, words: Words) -> None:
    """End most of the jobs, and leave some of them waiting, some running, and some to be tried again."""
    draw = random.Random(17)
    at_once = min(1000, jobs // 4)
    for turn in range(jobs * 8 // 10 // at_once):
        worker = workers[turn % len(workers)]
        claimed = queueing.claim(conn, worker_id=worker, claim_id=uuid4(), queues=(), limit=at_once)
        left = {job.id for job in claimed if draw.random() < 0.01}
        claims.settle(conn, [_ended(job, draw, words) for job in claimed if job.id not in left])
        said = Progress(3.0, 8.0, words.note, time.monotonic())
        write_progress(conn, worker, {Fence.of(job): said for job in claimed if job.id in left}, seconds=5.0)
    waiting = search.list_jobs(conn, search.JobFilter(statuses=[JobStatus.QUEUED], limit=20)).jobs
    for job in waiting:
        job_acts.cancel(conn, job.id, actor=words.name)


def _ended(job: Job, draw: random.Random, words: Words) -> Settlement:
    # Each friendly kind fails in a way of its own.
    place = words.kinds.index(job.kind) if words is FRIENDLY else draw.randrange(len(words.texts))
    text, lot = words.texts[place % len(words.texts)], draw.random()
    if lot < 0.8:
        return Settlement(Fence.of(job), Outcome.complete({"sent": True, "note": text}))
    # Of one queue so many fail for good that attention speaks of it, of the others fewer.
    retried = 0.87 if job.queue == words.queues[0] else 0.95
    outcome = Outcome.fail(text, delay=900.0) if lot < retried else Outcome.fail_for_good(text)
    return Settlement(Fence.of(job), outcome, failure=Failure(fingerprint(job.kind, text), job.queue, text))


def _around(conn: Connection, words: Words) -> None:
    """Make one of each thing that pages show beside jobs."""
    pauses.pause(conn, words.queues[1], actor=words.name)
    for place, text in enumerate(words.texts[:3]):
        rule = Rule({"kind": words.kinds[0], "payload": {"note": text}}, cron=f"{place} 3 * * *")
        name = f"{words.queues[0][:60]}-{place}" if words is HOSTILE else f"nightly-{place}"
        schedules.put_schedule(conn, name, rule, retention_days=30, actor=words.name)
    for name in words.keys:
        api_keys.create(conn, NewKey(name, [Scope.READ]), actor=words.name)
    groups, _ = error_groups.list_errors(conn, error_groups.ErrorFilter("1h", limit=2))
    for group in groups[1:]:
        error_groups.mute(conn, group.id, datetime.now(UTC) + timedelta(hours=1), actor=words.name)


def _of_workers(conn: Connection, worker: UUID, words: Words) -> None:
    """Have a worker say how it is, and another end whose jobs were taken over."""
    kind, mb = words.kinds[0], 2**20
    vitals = Vitals(
        memory=70 * mb,
        usual_memory=44 * mb,
        # A notice on the overview.
        is_growing=words is HOSTILE,
        grew_with=[kind],
        cpu=1.25,
        busy=3.5,
        busy_minutes=[*(minute % 8 for minute in range(40)), None, 3.5],
        isolated=[IsolatedProcess(kind, 99, 60 * mb, 0.5), IsolatedProcess(kind, 98)],
        isolated_ended=2,
        ends=[IsolatedEnds(kind, words.texts[0][:100], 2)],
    )
    claims.beat(conn, worker, vitals=vitals)
    gone = claims.register(conn, host=words.host, pid=4120, threads=4, queues=(), lease_seconds=86_400)
    claims.deregister(conn, gone)
    with conn.cursor() as cursor:
        cursor.execute("SELECT id FROM haulier.jobs ORDER BY id LIMIT 3")
        claims.note_taken_over(conn, {UUID(str(job)): gone for (job,) in cursor.fetchall()})


def _operate(conn: Connection, worker: UUID, words: Words) -> None:
    """Make operations in every state."""
    wanted = search.JobFilter(kinds=[words.kinds[0]], tags=[words.tags[0]])
    by = Worker(worker, 60.0, 0.0)

    def start(action: OperationAction, seconds: float) -> UUID:
        changes = {"priority": 1} if action is OperationAction.CHANGE else {}
        order = Order(action, wanted, changes=changes, starts_in_seconds=seconds)
        return operations.start(conn, order, as_of=None, actor=words.name).id

    begun, failed, over = (start(OperationAction.CHANGE, 0.0) for _ in range(3))
    while work_off(conn, by, only=over):
        pass
    work_off(conn, by, most_jobs=1, only=begun)
    # Of itself one fails only once the database has refused it five times, half a minute apart.
    with conn.cursor() as cursor:
        cursor.execute(
            "UPDATE haulier.operation SET status = 'failed', tries = 5, finished_at = now(), started_at = now(),"
            " error = %s WHERE id = %s",
            [words.texts[0], failed],
        )
    operations.cancel_operation(conn, start(OperationAction.CANCEL, 3600.0), actor=words.name)
    for action in (OperationAction.RETRY, OperationAction.CANCEL):
        start(action, 3600.0)


def count(conn: Connection) -> None:
    """Count all jobs, as a worker does every few seconds."""
    while not counts.summarize(conn):
        pass
    counts.counting_ends_in(conn)
    counter = uuid4()
    while (counted := counts.count(conn, counter=counter)) and counted.is_behind:
        pass
    depths.count_live(conn)
    error_counts.fold(conn)
