-- does: Lets the API change, copy and delete jobs, and retry them with changes, all on record.
-- locks no table that is there

SET LOCAL search_path = pg_catalog, pg_temp;
SET LOCAL lock_timeout = '5s';

-- When jobs came that were moved to another queue later, to the minute: the rows above say that they came in the queue in
-- which they were when they were counted. A search in a queue looks at these times too.
CREATE TABLE IF NOT EXISTS haulier.moved (
    queue   text        NOT NULL,                           -- the one that they were moved to
    kind    text        NOT NULL,
    came_at timestamptz NOT NULL,                           -- when the minute began in which they were created

    CONSTRAINT moved_pkey PRIMARY KEY (queue, came_at, kind)
);

-- purge_moved: the oldest
CREATE INDEX IF NOT EXISTS moved_oldest ON haulier.moved (came_at);

-- A time as the record shows it.
CREATE OR REPLACE FUNCTION haulier.time_text(instant timestamptz) RETURNS text LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$ SELECT to_char(instant AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') $$;

-- The job with changes, by the names that the API gives them; what is not among them stays. A time that has passed counts
-- as now.
CREATE OR REPLACE FUNCTION haulier.with_changes(job haulier.job, changes jsonb) RETURNS haulier.job
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    job.queue := coalesce(changes ->> 'queue', job.queue);
    job.priority := coalesce((changes ->> 'priority')::smallint, job.priority);
    job.max_attempts := coalesce((changes ->> 'max_attempts')::integer, job.max_attempts);
    job.timeout_seconds := coalesce((changes ->> 'timeout_seconds')::integer, job.timeout_seconds);
    job.payload := coalesce(changes -> 'payload', job.payload);
    IF changes ?| ARRAY['run_at', 'delay_seconds'] THEN
        job.run_at := greatest(
            now(), (changes ->> 'run_at')::timestamptz,
            now() + make_interval(secs => (changes ->> 'delay_seconds')::double precision));
    END IF;
    IF changes ? 'tags' THEN
        job.tags := nullif(ARRAY(SELECT jsonb_array_elements_text(changes -> 'tags')), '{}');
    END IF;
    RETURN job;
END
$$;

-- What differs between two states of a job, each field with its old and its new value. `noted` stands for those of the
-- payload: whoever knows the kind has left out what it keeps secret.
CREATE OR REPLACE FUNCTION haulier.differences(old_job haulier.job, new_job haulier.job, noted jsonb) RETURNS jsonb
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT coalesce(jsonb_object_agg(name, CASE
        WHEN name = 'payload' THEN coalesce(noted, '{}')
        ELSE jsonb_build_object('old', was, 'new', becomes)
    END), '{}')
    FROM (
        VALUES
            ('queue', to_jsonb(old_job.queue), to_jsonb(new_job.queue)),
            ('priority', to_jsonb(old_job.priority), to_jsonb(new_job.priority)),
            ('run_at', to_jsonb(haulier.time_text(old_job.run_at)), to_jsonb(haulier.time_text(new_job.run_at))),
            ('max_attempts', to_jsonb(old_job.max_attempts), to_jsonb(new_job.max_attempts)),
            ('timeout_seconds', to_jsonb(old_job.timeout_seconds), to_jsonb(new_job.timeout_seconds)),
            ('tags', to_jsonb(coalesce(old_job.tags, '{}')), to_jsonb(coalesce(new_job.tags, '{}'))),
            ('payload', old_job.payload, new_job.payload)
    ) AS field (name, was, becomes)
    WHERE was IS DISTINCT FROM becomes
$$;

-- Tell searches that a job is in a queue in which it did not come.
CREATE OR REPLACE FUNCTION haulier.note_moved(job haulier.job) RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    INSERT INTO haulier.moved (queue, kind, came_at)
    VALUES (job.queue, job.kind, date_bin('1 minute', job.created_at, 'epoch'::timestamptz))
    ON CONFLICT DO NOTHING;
END
$$;

-- Wake workers for jobs of these queues that came into their places by no INSERT, as `knock` does.
CREATE OR REPLACE FUNCTION haulier.wake(served text[]) RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM pg_notify('haulier_job', chosen.worker_id::text)
    FROM (
        SELECT DISTINCT ON (sleeper.queues) sleeper.worker_id
        FROM haulier.sleeper
        JOIN haulier.worker ON worker.id = sleeper.worker_id AND NOT worker.quiet
        WHERE sleeper.queues IS NULL OR sleeper.queues && served
        ORDER BY sleeper.queues, worker.beat_at DESC, random()
    ) AS chosen;
END
$$;

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

-- For programs of versions before 13.
CREATE OR REPLACE FUNCTION haulier.cancel(cancelled uuid, by_whom text) RETURNS text LANGUAGE sql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$ SELECT haulier.cancel(cancelled, by_whom, NULL::text[]) $$;

-- Change a waiting job of these queues, and return it; no row where there is none, or where its payload is not the one
-- that was seen, by its hash. Wake workers as for a new job, since they do not know of its new place.
CREATE OR REPLACE FUNCTION haulier.change(
    changed uuid, changes jsonb, seen bytea, noted jsonb, by_whom text, allowed text[]
) RETURNS SETOF haulier.job LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    old_job haulier.job;
    new_job haulier.job;
    differing jsonb;
BEGIN
    LOCK TABLE haulier.job IN ROW EXCLUSIVE MODE;
    SELECT * INTO old_job
    FROM haulier.job
    WHERE id = changed AND worker_id IS NULL AND (allowed IS NULL OR queue = ANY(allowed))
        AND (seen IS NULL OR sha256(convert_to(payload::text, 'UTF8')) = seen)
    FOR UPDATE;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    new_job := haulier.with_changes(old_job, changes);
    differing := haulier.differences(old_job, new_job, noted);
    IF differing = '{}' THEN
        RETURN NEXT old_job;
        RETURN;
    END IF;
    -- Else its next attempt would be more than its budget has.
    IF differing ? 'max_attempts' AND new_job.max_attempts <= old_job.attempts THEN
        RAISE EXCEPTION 'job % has used % attempts', changed, old_job.attempts
            USING ERRCODE = 'check_violation', CONSTRAINT = 'max_attempts_above_attempts';
    END IF;
    UPDATE haulier.job
    SET queue = new_job.queue,
        priority = new_job.priority,
        run_at = new_job.run_at,
        max_attempts = new_job.max_attempts,
        timeout_seconds = new_job.timeout_seconds,
        tags = new_job.tags,
        -- As the column itself where it stays: the variable would be stored anew.
        payload = coalesce(changes -> 'payload', payload),
        updated_at = now()
    WHERE id = changed AND worker_id IS NULL
    RETURNING * INTO new_job;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    INSERT INTO haulier.audit (actor, action, job_id, details)
    VALUES (by_whom, 'change', changed, jsonb_build_object('kind', old_job.kind, 'changes', differing));
    IF differing ? 'queue' THEN
        PERFORM haulier.note_moved(new_job);
    END IF;
    IF differing ?| ARRAY['queue', 'priority', 'run_at'] THEN
        PERFORM haulier.wake(ARRAY[new_job.queue]);
    END IF;
    RETURN NEXT new_job;
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
        idempotency_key, last_error, errors, created_at, tags, copy_of)
    VALUES (
        ended.id, ended.kind, new_job.queue, new_job.priority, new_job.run_at, ended.attempt, ended.claim,
        ended.started_at, new_job.max_attempts, ended.crashes, new_job.timeout_seconds, new_job.payload,
        ended.idempotency_key, ended.last_error, ended.errors, ended.created_at, new_job.tags, ended.copy_of)
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

-- For programs of versions before 13.
CREATE OR REPLACE FUNCTION haulier.retry(retried uuid, by_whom text) RETURNS SETOF haulier.job LANGUAGE sql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$ SELECT * FROM haulier.retry(retried, '{}'::jsonb, NULL::bytea, NULL::jsonb, by_whom, NULL::text[]) $$;

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

REVOKE ALL ON FUNCTION haulier.time_text(timestamptz), haulier.with_changes(haulier.job, jsonb),
    haulier.differences(haulier.job, haulier.job, jsonb), haulier.note_moved(haulier.job), haulier.wake(text[]),
    haulier.cancel(uuid, text), haulier.cancel(uuid, text, text[]),
    haulier.change(uuid, jsonb, bytea, jsonb, text, text[]),
    haulier.retry(uuid, text), haulier.retry(uuid, jsonb, bytea, jsonb, text, text[]),
    haulier.copy(uuid, jsonb, bytea, jsonb, text, text[]), haulier.delete(uuid, text, text[]) FROM PUBLIC;

-- As grants.sql does, so that the programs work before it is applied again: the API is whoever may cancel jobs, a worker
-- whoever may claim them.
DO $do$
DECLARE
    caller regrole;
BEGIN
    FOR caller IN
        SELECT DISTINCT grantee
        FROM pg_proc
        CROSS JOIN aclexplode(proacl)
        WHERE pg_proc.oid = 'haulier.cancel(uuid, text)'::regprocedure AND grantee NOT IN (0, proowner)
    LOOP
        EXECUTE format('GRANT SELECT ON haulier.moved TO %s', caller);
        EXECUTE format(
            'GRANT EXECUTE ON FUNCTION haulier.cancel(uuid, text, text[]),'
            ' haulier.change(uuid, jsonb, bytea, jsonb, text, text[]),'
            ' haulier.retry(uuid, jsonb, bytea, jsonb, text, text[]),'
            ' haulier.copy(uuid, jsonb, bytea, jsonb, text, text[]), haulier.delete(uuid, text, text[]) TO %s', caller);
    END LOOP;
    FOR caller IN
        SELECT DISTINCT grantee
        FROM (
            SELECT relacl AS acl FROM pg_class WHERE oid = 'haulier.job'::regclass
            UNION ALL
            SELECT attacl FROM pg_attribute WHERE attrelid = 'haulier.job'::regclass AND attname = 'claim'
        ) AS given
        CROSS JOIN aclexplode(acl)
        WHERE privilege_type = 'UPDATE'
            AND grantee NOT IN (0, (SELECT relowner FROM pg_class WHERE oid = 'haulier.job'::regclass))
    LOOP
        EXECUTE format('GRANT SELECT, DELETE ON haulier.moved TO %s', caller);
    END LOOP;
END
$do$;
