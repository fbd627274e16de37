-- What is kept of one job: who ran it, who enqueued it, what operators did to it.

-- part: operation_at
-- When the last operation changed the job. The audit has the operation once, not for each job: if nothing shows the exact
-- time, this is when the operation began. No run that is kept lies between, because an operation acts on no job that has
-- changed since its preview.
CASE
    WHEN operation.action = 'cancel' AND job.status = 'cancelled' AND job.worker_id IS NULL THEN job.finished_at
    WHEN operation.action = 'retry' AND job.status = 'queued'
        AND (job.started_at IS NULL OR job.started_at < operation.started_at)
        AND NOT EXISTS (SELECT FROM haulier.audit WHERE job_id = %(id)s AND at >= operation.started_at)
    THEN job.updated_at
    ELSE operation.started_at
END

-- name: read_timeline
-- One statement, and so one snapshot: no retry lies between the job and its acts. The newest acts, oldest first. The id of
-- the API key that enqueued the job stands before its idempotency key, which is looked up for each API key, and for `env`,
-- the setting HAULIER_API_KEY.
WITH job AS MATERIALIZED (
    SELECT *
    FROM haulier.jobs
    WHERE id = %(id)s
), done AS MATERIALIZED (
    (
        SELECT id, at, action, actor
        FROM haulier.audit
        WHERE job_id = %(id)s
        ORDER BY at DESC, id DESC
        LIMIT %(limit)s
    )
    UNION ALL
    SELECT 0, <<operation_at>>, operation.action, operation.actor
    FROM job
    JOIN haulier.operation ON operation.id = job.operation_id
    WHERE operation.started_at IS NOT NULL
    ORDER BY at DESC, id DESC
    LIMIT %(limit)s
)
SELECT job.*,
    coalesce(worker.host, past.host) AS host,
    coalesce(worker.pid, past.pid) AS pid,
    enqueued.key_id AS enqueued_by,
    said.done AS progress_done, said.total AS progress_total, said.note AS progress_note, said.at AS progress_at,
    said.first_done AS progress_first_done, said.first_at AS progress_first_at,
    ARRAY(SELECT at FROM done ORDER BY at, id) AS done_at,
    ARRAY(SELECT action FROM done ORDER BY at, id) AS actions,
    ARRAY(SELECT actor FROM done ORDER BY at, id) AS actors
FROM job
LEFT JOIN haulier.worker ON worker.id = job.worker_id
LEFT JOIN haulier.worker_past AS past ON past.id = job.worker_id
LEFT JOIN haulier.progress AS said
    ON job.worker_id IS NOT NULL AND job.finished_at IS NULL AND said.job_id = job.id AND said.claim = job.claim
LEFT JOIN LATERAL (
    SELECT asked.key_id
    FROM (SELECT id AS key_id FROM haulier.api_key UNION ALL SELECT 'env') AS asked
    CROSS JOIN LATERAL (
        SELECT job_id
        FROM haulier.idempotency
        WHERE key = asked.key_id || ' ' || job.idempotency_key
        LIMIT 1
    ) AS kept
    WHERE kept.job_id = job.id
    LIMIT 1
) AS enqueued ON job.idempotency_key IS NOT NULL;
