-- Workers are declared dead, and their jobs found.

-- name: lapsed
-- Who has let its lease run out.
SELECT id
FROM haulier.worker
WHERE beat_at < now() - lease
ORDER BY id;

-- name: bury
-- Declare dead whoever of these, or of all, has let its lease run out. A beat that comes while this is under way waits,
-- then finds no row.
DELETE FROM haulier.worker
WHERE id IN (
    SELECT id
    FROM haulier.worker
    WHERE beat_at < now() - lease AND (%(workers)s::uuid[] IS NULL OR id = ANY(%(workers)s::uuid[]))
    ORDER BY id
    FOR UPDATE SKIP LOCKED
)
RETURNING id, host, pid;

-- name: orphans
-- The running jobs whose worker has no row: of these workers, or of all. `company` counts the jobs that went down together.
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
    SELECT id, attempt, claim, worker_id, crashes, pg_column_size(payload) AS bytes
    FROM haulier.job
    WHERE id = orphan.id AND worker_id IS NOT NULL
    LIMIT 1
) AS job
ORDER BY id;
