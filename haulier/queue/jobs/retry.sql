-- Queue ended jobs again.

-- name: lock_jobs_first
-- Goes before a statement that would lock another table first. See lock_tables_of_jobs.
LOCK TABLE haulier.job IN ROW EXCLUSIVE MODE;

-- part: ended_then
-- If it is known when the jobs ended, few partitions are read.
finished_at BETWEEN coalesce(%(ended_from)s::timestamptz, '-infinity') AND coalesce(%(ended_to)s::timestamptz, 'infinity')

-- part: queued_again
-- A failed or cancelled job gets a full budget again. `attempt` continues growing, so that no older fence matches. A job that
-- has crashed before still runs alone.
<<given>>, old AS (
    DELETE FROM haulier.finished_job
    WHERE id = ANY(%(ids)s::uuid[]) AND status IN ('failed_permanent', 'cancelled')
        AND <<ended_then>> AND <<in_these_queues>> AND <<with_this_payload>>
    RETURNING *
), new AS MATERIALIZED (
    SELECT <<kept_by_a_retry>>, coalesce(%(operation)s::uuid, operation_id) AS operation_id, <<as_given>>,
        coalesce(<<time_given>>, now()) + <<later_by_its_place>> AS run_at
    FROM old
    CROSS JOIN given
), written AS (
    INSERT INTO haulier.job (<<kept_by_a_retry>>, suspect, operation_id, <<set_by_clients>>, run_at)
    SELECT <<kept_by_a_retry>>, crashes > 0, operation_id, <<set_by_clients>>, run_at
    FROM new
    RETURNING <<live>>
)

-- part: before_it_is_due_now
-- That a job is due now is no change on record.
before AS (
    SELECT id, <<set_by_clients>>, CASE WHEN <<time_given>> <> now() THEN run_at ELSE now() END AS run_at
    FROM old
    CROSS JOIN given
)

-- name: retry
WITH <<queued_again>>, <<before_it_is_due_now>>, <<differing>>, <<elsewhere>>, <<moved>>, recorded AS (
    -- A row without an id: a trigger keeps the job from being queued.
    INSERT INTO haulier.audit (actor, action, job_id, details)
    SELECT %(actor)s::text, 'retry', written.id,
        CASE WHEN fields IS NOT NULL THEN jsonb_build_object('kind', new.kind, 'changes', fields) END
    FROM new
    LEFT JOIN written USING (id)
    LEFT JOIN differing USING (id)
)
SELECT *
FROM written;

-- name: retry_all
WITH <<queued_again>>, <<elsewhere>>, <<moved>>
SELECT count(*) AS done
FROM written;
