-- does: Shows in the view of all jobs which tick of which schedule has enqueued them, and keeps it when they end.
-- locks jobs: ACCESS EXCLUSIVE, for a moment

SET LOCAL search_path = pg_catalog, pg_temp;
SET LOCAL lock_timeout = '5s';

-- Locks the view. CREATE OR REPLACE locks the tables beneath it first, ACCESS SHARE, and would hold them while it waits
-- for readers of the view: whoever drops a partition meanwhile would wait for this, and all settles behind that.
ALTER VIEW haulier.jobs RESET (security_barrier);

DO $do$
BEGIN
    -- Where it is there, later versions may have added columns behind it, which CREATE OR REPLACE cannot take away.
    IF NOT EXISTS (SELECT FROM pg_attribute WHERE attrelid = 'haulier.jobs'::regclass AND attname = 'scheduled_for') THEN
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
            error_id, tags, copy_of, operation_id, schedule, scheduled_for
        FROM haulier.job
        UNION ALL
        SELECT
            id, status, kind, queue, priority, run_at, worker_id, attempt, claim, started_at, attempts, max_attempts,
            crashes, snoozes, NULL::double precision, timeout_seconds, cancel_requested, payload, idempotency_key, last_error,
            errors, created_at, updated_at, finished_at, result, NULL::jsonb, error_id, tags, copy_of, operation_id,
            schedule, scheduled_for
        FROM haulier.finished_job;
    END IF;
END
$do$;

-- Cancel a waiting job: it moves to history. Of a running job set the flag, and notify its worker, which also looks for
-- flags by itself. Return what the job was, waiting or running; null where no live job of these queues has this id. (No
-- queues: any. They are looked at here, since a job may be moved at any time.)
-- Filter on `worker_id`, not `status`: for `status` the planner may pick an index of what waits, which is full of dead
-- entries while somebody holds a snapshot.
CREATE OR REPLACE FUNCTION haulier.cancel(cancelled uuid, by_whom text, allowed text[]) RETURNS text LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    live record;
BEGIN
    -- Tables in the order of this file, also where it is just being applied again.
    LOCK TABLE haulier.job IN ROW EXCLUSIVE MODE;
    SELECT worker_id INTO live
    FROM haulier.job
    WHERE id = cancelled AND (allowed IS NULL OR queue = ANY(allowed))
    FOR UPDATE;
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
        updated_at, finished_at, tags, copy_of, schedule, scheduled_for)
    SELECT
        id, 'cancelled', kind, queue, priority, run_at, attempt, claim, started_at, attempts, max_attempts, crashes,
        snoozes, timeout_seconds, true, payload, idempotency_key, last_error, errors, created_at, now(), now(), tags,
        copy_of, schedule, scheduled_for
    FROM gone;
    INSERT INTO haulier.audit (actor, action, job_id) VALUES (by_whom, 'cancel', cancelled);
    RETURN 'waiting';
END
$$;

-- Queue a failed or cancelled job of these queues again with a full budget, and with changes, and return it; no row where
-- there is none, or where its payload is not the one that was seen. `attempt` goes on growing, so that no older fence
-- fits; a job that has crashed before still runs alone.
CREATE OR REPLACE FUNCTION haulier.retry(
    retried uuid, changes jsonb, seen bytea, noted jsonb, by_whom text, allowed text[]
) RETURNS SETOF haulier.job LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    ended record;
    old_job haulier.job;
    new_job haulier.job;
    differing jsonb;
BEGIN
    LOCK TABLE haulier.job IN ROW EXCLUSIVE MODE;
    DELETE FROM haulier.finished_job
    WHERE id = retried AND status IN ('failed_permanent', 'cancelled') AND (allowed IS NULL OR queue = ANY(allowed))
        AND (seen IS NULL OR sha256(convert_to(payload::text, 'UTF8')) = seen)
    RETURNING * INTO ended;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    old_job.queue := ended.queue;
    old_job.priority := ended.priority;
    old_job.run_at := now();
    old_job.max_attempts := ended.max_attempts;
    old_job.timeout_seconds := ended.timeout_seconds;
    old_job.payload := ended.payload;
    old_job.tags := ended.tags;
    new_job := haulier.with_changes(old_job, changes);
    -- A retry without changes is due now, which is no change on record.
    IF new_job.run_at <> old_job.run_at THEN
        old_job.run_at := ended.run_at;
    END IF;
    differing := haulier.differences(old_job, new_job, noted);
    INSERT INTO haulier.job (
        id, kind, queue, priority, run_at, attempt, claim, started_at, max_attempts, crashes, timeout_seconds, payload,
        idempotency_key, last_error, errors, created_at, tags, copy_of, schedule, scheduled_for)
    VALUES (
        ended.id, ended.kind, new_job.queue, new_job.priority, new_job.run_at, ended.attempt, ended.claim,
        ended.started_at, new_job.max_attempts, ended.crashes, new_job.timeout_seconds, new_job.payload,
        ended.idempotency_key, ended.last_error, ended.errors, ended.created_at, new_job.tags, ended.copy_of,
        ended.schedule, ended.scheduled_for)
    RETURNING * INTO new_job;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'a trigger keeps job % from being queued again', retried USING ERRCODE = 'check_violation';
    END IF;
    INSERT INTO haulier.audit (actor, action, job_id, details)
    VALUES (by_whom, 'retry', retried, CASE
        WHEN differing <> '{}' THEN jsonb_build_object('kind', ended.kind, 'changes', differing)
    END);
    IF differing ? 'queue' THEN
        PERFORM haulier.note_moved(new_job);
    END IF;
    RETURN NEXT new_job;
END
$$;
