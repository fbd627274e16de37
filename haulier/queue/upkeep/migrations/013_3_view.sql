-- does: Shows in the view of all jobs who ran them, of which they are copies, and which operation changed them.
-- locks jobs: ACCESS EXCLUSIVE, for a moment

SET LOCAL search_path = pg_catalog, pg_temp;
SET LOCAL lock_timeout = '5s';

-- Locks the view. CREATE OR REPLACE locks the tables beneath it first, ACCESS SHARE, and would hold them while it waits
-- for readers of the view: whoever drops a partition meanwhile would wait for this, and all settles behind that.
ALTER VIEW haulier.jobs RESET (security_barrier);

DO $do$
BEGIN
    -- Where it is there, later versions may have added columns behind it, which CREATE OR REPLACE cannot take away.
    IF NOT EXISTS (SELECT FROM pg_attribute WHERE attrelid = 'haulier.jobs'::regclass AND attname = 'operation_id') THEN
        CREATE OR REPLACE VIEW haulier.jobs AS
        SELECT
            id, status, kind, queue, priority, run_at, worker_id, attempt, claim, started_at, attempts, max_attempts,
            crashes, snoozes, backoff, timeout_seconds, cancel_requested, payload, idempotency_key, last_error, errors,
            created_at, updated_at, NULL::timestamptz AS finished_at, NULL::jsonb AS result,
            (
                SELECT jsonb_build_object(
                    'done', done,
                    'total', total,
                    'note', note,
                    'at', to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'))
                FROM haulier.progress
                WHERE job.worker_id IS NOT NULL AND progress.job_id = job.id AND progress.claim = job.claim
            ) AS progress,
            error_id, tags, copy_of, operation_id
        FROM haulier.job
        UNION ALL
        SELECT
            id, status, kind, queue, priority, run_at, worker_id, attempt, claim, started_at, attempts, max_attempts,
            crashes, snoozes, NULL::double precision, timeout_seconds, cancel_requested, payload, idempotency_key, last_error,
            errors, created_at, updated_at, finished_at, result, NULL::jsonb, error_id, tags, copy_of, operation_id
        FROM haulier.finished_job;
    END IF;
END
$do$;
