-- The jobs that run.

-- name: list_running
-- Longest first, each with its worker. Each is looked up by its id: see `list_jobs`.
SELECT job.*, worker.host, worker.pid,
    progress.done AS progress_done, progress.total AS progress_total, progress.note AS progress_note,
    progress.at AS progress_at, progress.first_done AS progress_first_done, progress.first_at AS progress_first_at
FROM (
    SELECT id
    FROM haulier.running()
    WHERE (%(queues)s::text[] IS NULL OR queue = ANY(%(queues)s::text[]))
        AND (%(kinds)s::text[] IS NULL OR kind = ANY(%(kinds)s::text[]))
        AND (%(worker)s::uuid IS NULL OR worker_id = %(worker)s::uuid)
) AS running
CROSS JOIN LATERAL (
    SELECT id, kind, queue, priority, attempts, max_attempts, timeout_seconds, created_at, started_at, cancel_requested,
        worker_id, claim
    FROM haulier.job
    WHERE id = running.id AND worker_id IS NOT NULL
    LIMIT 1
) AS job
LEFT JOIN haulier.worker ON worker.id = job.worker_id
LEFT JOIN LATERAL (
    SELECT *
    FROM haulier.progress
    WHERE job_id = job.id AND claim = job.claim
    LIMIT 1
) AS progress ON true
ORDER BY started_at, job.id
LIMIT %(limit)s;
