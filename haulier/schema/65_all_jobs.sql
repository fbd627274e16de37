-- All jobs ----------------------------------------------------------------------------------------------------

-- Every job, live or finished. One statement over it is one snapshot: a job is never in neither table, nor in both.
CREATE OR REPLACE VIEW haulier.jobs AS
SELECT <<in_both_tables>>, error_id, operation_id, backoff, NULL::timestamptz AS finished_at, NULL::jsonb AS result,
    -- Not a join: the plans of whoever reads jobs in order stay as they are, and only running jobs are looked up.
    (
        SELECT jsonb_build_object(
            'done', done,
            'total', total,
            'note', note,
            'at', to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'))
        FROM haulier.progress
        WHERE job.worker_id IS NOT NULL AND progress.job_id = job.id AND progress.claim = job.claim
    ) AS progress
FROM haulier.job
UNION ALL
SELECT <<in_both_tables>>, error_id, operation_id, NULL::double precision, finished_at, result, NULL::jsonb
FROM haulier.finished_job;

-- At most this many of the jobs that have any of these tags; finished_at says in which table each is. By bitmap scans: the
-- planner does not know how common a tag is, and could read all jobs instead. One partition is read after the other, and
-- only until there are enough; but of each all entries of the tags are.
CREATE OR REPLACE FUNCTION haulier.tagged(wanted text[], most bigint) RETURNS TABLE (id uuid, finished_at timestamptz)
LANGUAGE sql STABLE ROWS 100
SET search_path = pg_catalog, pg_temp SET enable_indexscan = off SET enable_seqscan = off SET work_mem = '32MB' SET jit = off
AS $$
    SELECT id, NULL::timestamptz FROM haulier.job WHERE status IN ('queued', 'retrying') AND tags && wanted
    UNION ALL
    SELECT id, NULL::timestamptz FROM haulier.job WHERE status = 'running' AND tags && wanted
    UNION ALL
    SELECT id, finished_at FROM haulier.finished_job WHERE tags && wanted
    LIMIT most
$$;
