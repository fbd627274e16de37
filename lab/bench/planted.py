"""The rows that calls are measured on: statements that make them."""

from __future__ import annotations

QUEUED = """
    INSERT INTO haulier.job (kind, payload, queue) SELECT 'noop', '{"n": 1}', %s FROM generate_series(1, %s)
    RETURNING id::text
"""
RUNNING = """
    INSERT INTO haulier.job (kind, payload, queue, status, worker_id, claim, attempt, attempts, started_at)
    SELECT 'noop', '{"n": 1}', %s, 'running', %s, %s, 1, 1, now() FROM generate_series(1, %s)
    RETURNING id::text
"""
CANCELLED = """
    INSERT INTO haulier.finished_job (
        id, status, kind, queue, priority, run_at, attempt, attempts, max_attempts, crashes, snoozes, cancel_requested,
        payload, errors, created_at, updated_at, finished_at)
    SELECT haulier.uuidv7(), 'cancelled', 'noop', 'default', 0, now(), 0, 0, 3, 0, 0, true, '{"n": 1}', '[]', now(),
        now(), now()
    RETURNING id::text
"""
WORKER = """
    INSERT INTO haulier.worker (id, host, pid, threads, lease, beat_at)
    VALUES (%s, 'bench', 1, 8, %s::interval, now() - %s::interval)
"""
COUNTED = """
    UPDATE haulier.counting
    SET through = date_bin('10 s', now() - interval '30 s', 'epoch'),
        folded = date_bin('1 minute', now() - interval '2 minutes', 'epoch'), counted_until = NULL
"""
SCHEDULE = """
    INSERT INTO haulier.schedule (
        name, every_seconds, time_zone, job, overlap, missed, counts_from, decided_to, look_at)
    VALUES ('nightly', 86400, 'UTC', '{"kind": "noop", "payload": {}}', 'skip', 'last', now(), now(), 'infinity')
    ON CONFLICT (name) DO NOTHING
"""
