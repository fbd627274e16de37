-- Delete jobs that have ended.

-- name: delete
-- The idempotency key stays: a repeated request must not run its job again. The id of a live job is skipped.
WITH live AS MATERIALIZED (
    SELECT id
    FROM haulier.job
    WHERE id = ANY(%(ids)s::uuid[])
), gone AS (
    DELETE FROM haulier.finished_job
    WHERE id = ANY(%(ids)s::uuid[]) AND <<in_these_queues>> AND id NOT IN (SELECT id FROM live)
    RETURNING id, kind, queue, status, created_at
), recorded AS (
    INSERT INTO haulier.audit (actor, action, job_id, details)
    SELECT %(actor)s::text, 'delete', id, jsonb_build_object(
        'kind', kind, 'queue', queue, 'status', status,
        'created_at', to_char(created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'))
    FROM gone
)
SELECT id
FROM gone;

-- name: delete_all
-- Delete jobs that are locked, whether or not a live job has such an id.
WITH gone AS (
    DELETE FROM haulier.finished_job
    WHERE id = ANY(%(ids)s::uuid[]) AND <<ended_then>>
    RETURNING id
)
SELECT count(*) AS done
FROM gone;
