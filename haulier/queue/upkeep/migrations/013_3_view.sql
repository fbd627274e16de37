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

-- Cancel a waiting job: it moves to history. Of a running job set the flag, and notify its worker, which also looks for
-- flags by itself. Return what the job was, waiting or running; null where no live job has this id.
-- Filter on `worker_id`, not `status`: for `status` the planner may pick an index of what waits, which is full of dead
-- entries while somebody holds a snapshot.
CREATE OR REPLACE FUNCTION haulier.cancel(cancelled uuid, by_whom text) RETURNS text LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    live record;
BEGIN
    -- Tables in the order of this file, also where it is just being applied again.
    LOCK TABLE haulier.job IN ROW EXCLUSIVE MODE;
    SELECT worker_id INTO live FROM haulier.job WHERE id = cancelled FOR UPDATE;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    IF live.worker_id IS NOT NULL THEN
        UPDATE haulier.job
        SET cancel_requested = true,
            updated_at = CASE WHEN cancel_requested THEN updated_at ELSE now() END
        WHERE id = cancelled AND worker_id IS NOT NULL;
        INSERT INTO haulier.audit (actor, action, job_id) VALUES (by_whom, 'cancel', cancelled);
        PERFORM pg_notify('haulier_cancel', live.worker_id::text);
        RETURN 'running';
    END IF;
    WITH gone AS (
        DELETE FROM haulier.job
        WHERE id = cancelled AND worker_id IS NULL
        RETURNING *
    )
    INSERT INTO haulier.finished_job (
        id, status, kind, queue, priority, run_at, attempt, claim, started_at, attempts, max_attempts, crashes,
        snoozes, timeout_seconds, cancel_requested, payload, idempotency_key, last_error, errors, created_at,
        updated_at, finished_at, tags, copy_of)
    SELECT
        id, 'cancelled', kind, queue, priority, run_at, attempt, claim, started_at, attempts, max_attempts, crashes,
        snoozes, timeout_seconds, true, payload, idempotency_key, last_error, errors, created_at, now(), now(), tags,
        copy_of
    FROM gone;
    INSERT INTO haulier.audit (actor, action, job_id) VALUES (by_whom, 'cancel', cancelled);
    RETURN 'waiting';
END
$$;

-- Queue a failed or cancelled job again with a full budget. `attempt` goes on growing, so that no older fence fits; a
-- job that has crashed before still runs alone.
CREATE OR REPLACE FUNCTION haulier.retry(retried uuid, by_whom text) RETURNS SETOF haulier.job LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    LOCK TABLE haulier.job IN ROW EXCLUSIVE MODE;
    RETURN QUERY
    WITH back AS (
        DELETE FROM haulier.finished_job
        WHERE id = retried AND status IN ('failed_permanent', 'cancelled')
        RETURNING *
    ), noted AS (
        INSERT INTO haulier.audit (actor, action, job_id)
        SELECT by_whom, 'retry', id FROM back
    )
    INSERT INTO haulier.job (
        id, kind, queue, priority, attempt, claim, started_at, max_attempts, crashes, timeout_seconds, payload,
        idempotency_key, last_error, errors, created_at, tags, copy_of)
    SELECT
        id, kind, queue, priority, attempt, claim, started_at, max_attempts, crashes, timeout_seconds, payload,
        idempotency_key, last_error, errors, created_at, tags, copy_of
    FROM back
    RETURNING *;
END
$$;
