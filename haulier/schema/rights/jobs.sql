-- Jobs --------------------------------------------------------------------------------------------------------

-- The API may end, retry, copy and delete a job only as these functions do, and they record it.

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
        updated_at, finished_at, tags, copy_of, operation_id, schedule, scheduled_for)
    SELECT
        id, 'cancelled', kind, queue, priority, run_at, attempt, claim, started_at, attempts, max_attempts, crashes,
        snoozes, timeout_seconds, true, payload, idempotency_key, last_error, errors, created_at, now(), now(), tags,
        copy_of, operation_id, schedule, scheduled_for
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
        idempotency_key, last_error, errors, created_at, tags, copy_of, operation_id, schedule, scheduled_for)
    VALUES (
        ended.id, ended.kind, new_job.queue, new_job.priority, new_job.run_at, ended.attempt, ended.claim,
        ended.started_at, new_job.max_attempts, ended.crashes, new_job.timeout_seconds, new_job.payload,
        ended.idempotency_key, ended.last_error, ended.errors, ended.created_at, new_job.tags, ended.copy_of,
        ended.operation_id, ended.schedule, ended.scheduled_for)
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

-- Enqueue a new job like one of these queues, in whatever state that is, with changes, and return the new one; no row
-- where there is none, or where its payload is not the one that was seen.
CREATE OR REPLACE FUNCTION haulier.copy(
    copied uuid, changes jsonb, seen bytea, noted jsonb, by_whom text, allowed text[]
) RETURNS SETOF haulier.job LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    original record;
    old_job haulier.job;
    new_job haulier.job;
    differing jsonb;
BEGIN
    LOCK TABLE haulier.job IN ROW EXCLUSIVE MODE;
    SELECT kind, queue, priority, run_at, max_attempts, timeout_seconds, payload, tags INTO original
    FROM haulier.jobs
    WHERE id = copied AND (allowed IS NULL OR queue = ANY(allowed))
        AND (seen IS NULL OR sha256(convert_to(payload::text, 'UTF8')) = seen)
    LIMIT 1;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    old_job.queue := original.queue;
    old_job.priority := original.priority;
    old_job.run_at := now();
    old_job.max_attempts := original.max_attempts;
    old_job.timeout_seconds := original.timeout_seconds;
    old_job.payload := original.payload;
    old_job.tags := original.tags;
    new_job := haulier.with_changes(old_job, changes);
    IF new_job.run_at <> old_job.run_at THEN
        old_job.run_at := original.run_at;
    END IF;
    differing := haulier.differences(old_job, new_job, noted);
    INSERT INTO haulier.job (
        kind, queue, priority, run_at, max_attempts, timeout_seconds, payload, tags, copy_of)
    VALUES (
        original.kind, new_job.queue, new_job.priority, new_job.run_at, new_job.max_attempts, new_job.timeout_seconds,
        new_job.payload, new_job.tags, copied)
    RETURNING * INTO new_job;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'a trigger keeps job % from being copied', copied USING ERRCODE = 'check_violation';
    END IF;
    INSERT INTO haulier.audit (actor, action, job_id, details)
    VALUES (
        by_whom, 'copy', copied,
        jsonb_build_object('kind', original.kind, 'copy', new_job.id, 'changes', differing));
    RETURN NEXT new_job;
END
$$;

-- Delete a job of these queues that has ended. Return whether there was one. Its idempotency key stays: a repeated request
-- must not run it again.
CREATE OR REPLACE FUNCTION haulier.delete(deleted uuid, by_whom text, allowed text[]) RETURNS boolean LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    LOCK TABLE haulier.job IN ACCESS SHARE MODE;
    WITH gone AS (
        DELETE FROM haulier.finished_job
        WHERE id = deleted AND (allowed IS NULL OR queue = ANY(allowed))
            AND NOT EXISTS (SELECT FROM haulier.job WHERE id = deleted)
        RETURNING kind, queue, status, created_at
    )
    INSERT INTO haulier.audit (actor, action, job_id, details)
    SELECT by_whom, 'delete', deleted, jsonb_build_object(
        'kind', kind, 'queue', queue, 'status', status, 'created_at', haulier.time_text(created_at))
    FROM gone;
    RETURN FOUND;
END
$$;

REVOKE ALL ON FUNCTION haulier.cancel(uuid, text, text[]), haulier.retry(uuid, jsonb, bytea, jsonb, text, text[]),
    haulier.copy(uuid, jsonb, bytea, jsonb, text, text[]), haulier.delete(uuid, text, text[]) FROM PUBLIC;
