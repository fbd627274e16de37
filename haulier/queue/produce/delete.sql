-- Delete jobs that have ended.

-- part: deleted
-- An idempotency key stays: a repeated request must not run its job again. An id that a live job has is not touched, but by an
-- operation, which has locked the row that it means.
live AS MATERIALIZED (
    SELECT id
    FROM haulier.job
    WHERE id = ANY(%(ids)s::uuid[])
), gone AS (
    DELETE FROM haulier.finished_job
    WHERE id = ANY(%(ids)s::uuid[]) AND <<ended_then>> AND <<in_these_queues>>
        AND (%(operation)s::uuid IS NOT NULL OR id NOT IN (SELECT id FROM live))
    RETURNING id, kind, queue, status, created_at
)

-- name: delete
WITH <<deleted>>, recorded AS (
    INSERT INTO haulier.audit (actor, action, job_id, details)
    SELECT %(actor)s::text, 'delete', id, jsonb_build_object(
        'kind', kind, 'queue', queue, 'status', status,
        'created_at', to_char(created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'))
    FROM gone
)
SELECT id
FROM gone;

-- name: delete_all
WITH <<deleted>>
SELECT count(*) AS done
FROM gone;
