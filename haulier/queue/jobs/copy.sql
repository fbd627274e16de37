-- Enqueue a copy of a job.

-- name: copy
WITH <<given>>, old AS MATERIALIZED (
    SELECT id, run_at, <<set_by_clients>>
    FROM haulier.jobs
    WHERE id = ANY(%(ids)s::uuid[]) AND <<in_these_queues>> AND <<with_this_payload>>
    LIMIT 1
), new AS MATERIALIZED (
    SELECT id, <<as_given>>, coalesce(<<time_given>>, now()) AS run_at
    FROM old
    CROSS JOIN given
), written AS (
    INSERT INTO haulier.job (<<set_by_clients>>, run_at, copy_of)
    SELECT <<set_by_clients>>, run_at, id
    FROM new
    RETURNING <<live>>
), <<before_it_is_due_now>>, <<differing>>, recorded AS (
    -- A row without an id: a trigger keeps the copy from being queued.
    INSERT INTO haulier.audit (actor, action, job_id, details)
    SELECT %(actor)s::text, 'copy', written.copy_of,
        jsonb_build_object('kind', new.kind, 'copy', written.id, 'changes', coalesce(fields, jsonb_build_object()))
    FROM new
    LEFT JOIN written ON copy_of = new.id
    LEFT JOIN differing ON differing.id = new.id
)
SELECT *
FROM written;
