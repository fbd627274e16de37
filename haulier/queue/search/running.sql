-- The jobs that run.

-- name: list_running
-- Longest first, each with its worker. Each is looked up by its id: see `list_jobs`.
SELECT job.*, worker.host, worker.pid
FROM (
    SELECT id
    FROM haulier.running()
    WHERE (%(queues)s::text[] IS NULL OR queue = ANY(%(queues)s::text[]))
        AND (%(kinds)s::text[] IS NULL OR kind = ANY(%(kinds)s::text[]))
        AND (%(worker)s::uuid IS NULL OR worker_id = %(worker)s::uuid)
) AS running
CROSS JOIN LATERAL (
    SELECT id, kind, queue, priority, attempts, max_attempts, timeout_seconds, created_at, started_at, cancel_requested,
        worker_id
    FROM haulier.job
    WHERE id = running.id AND worker_id IS NOT NULL
    LIMIT 1
) AS job
LEFT JOIN haulier.worker ON worker.id = job.worker_id
ORDER BY started_at, job.id
LIMIT %(limit)s;
