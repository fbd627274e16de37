-- Workers are declared dead, and their jobs found.

-- name: lapsed
SELECT id
FROM haulier.worker
WHERE beat_at < now() - lease
ORDER BY id;

-- name: next_lapse
-- The seconds until the next lease runs out; null if none is left.
SELECT extract(epoch FROM min(beat_at + lease) - now())::double precision AS seconds
FROM haulier.worker
WHERE beat_at >= now() - lease;

-- name: bury
-- Declare dead the workers whose lease has run out, of these or of all. A beat that comes meanwhile waits for the lock,
-- then finds no row. Declare nobody dead if this worker's own beat looks old: it has just beaten, so the clock jumped.
DELETE FROM haulier.worker
WHERE id IN (
    SELECT id
    FROM haulier.worker
    WHERE beat_at < now() - lease AND (%(workers)s::uuid[] IS NULL OR id = ANY(%(workers)s::uuid[]))
        AND NOT EXISTS (SELECT FROM haulier.worker AS me WHERE me.id = %(worker)s AND me.beat_at < now() - me.lease / 3)
    ORDER BY id
    FOR UPDATE SKIP LOCKED
)
RETURNING id, host, pid;

-- name: note_taken_over
-- Count the jobs that were taken from workers that have ended, and keep the first ids.
UPDATE haulier.worker_past AS past
SET taken_over = past.taken_over + taken.jobs, taken_over_jobs = (past.taken_over_jobs || taken.ids)[1:%(most)s]
FROM (
    SELECT worker, count(*)::integer AS jobs, (array_agg(id))[1:%(most)s] AS ids
    FROM unnest(%(workers)s::uuid[], %(ids)s::uuid[]) AS taken (worker, id)
    GROUP BY worker
) AS taken
WHERE past.id = taken.worker;

-- name: end_without_payload
-- Let an orphan fail permanently whose payload could not be moved to the history. The payload is not read.
WITH gone AS (
    DELETE FROM haulier.job
    WHERE id = %(id)s AND worker_id IS NOT NULL
        AND NOT EXISTS (SELECT FROM haulier.worker WHERE worker.id = job.worker_id)
    RETURNING *, pg_size_pretty(pg_column_size(payload)::bigint) AS size
)
INSERT INTO haulier.finished_job (<<into_history>>)
SELECT jsonb_build_object(), <<kept_of_any_size>>,
    CASE WHEN cancel_requested THEN 'cancelled' ELSE 'failed_permanent' END, attempts, crashes + 1, cancel_requested,
    operation_id, 'its worker died, and its payload of ' || size || ' could not be moved to the history: it was dropped',
    errors, now(), now(), NULL
FROM gone
RETURNING id, status;

-- name: orphans
-- The running jobs whose worker has no row, of these workers or of all. `company` counts those of the same worker.
WITH orphan AS MATERIALIZED (
    SELECT id, count(*) OVER (PARTITION BY worker_id) AS company
    FROM (
        SELECT id, worker_id
        FROM haulier.running()
        WHERE %(workers)s::uuid[] IS NULL
        UNION ALL
        SELECT id, worker_id
        FROM haulier.job
        WHERE status = 'running' AND worker_id = ANY(%(workers)s::uuid[])
    ) AS running
    WHERE NOT EXISTS (SELECT FROM haulier.worker WHERE worker.id = running.worker_id)
        AND id <> ALL(%(passed_over)s::uuid[])
    ORDER BY id
    LIMIT %(limit)s
)
SELECT job.*, company
FROM orphan
CROSS JOIN LATERAL (
    SELECT id, kind, queue, attempt, claim, worker_id, crashes, pg_column_size(payload) AS bytes
    FROM haulier.job
    WHERE id = orphan.id AND worker_id IS NOT NULL
    LIMIT 1
) AS job
ORDER BY id;
