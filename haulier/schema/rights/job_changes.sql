-- Changes of jobs ---------------------------------------------------------------------------------------------

-- The API may change a job only as these functions do, and they record it.

-- The job with changes, by the names that the API gives them; what is not among them stays. A time that has passed counts
-- as now.
CREATE OR REPLACE FUNCTION haulier.with_changes(job haulier.job, changes jsonb) RETURNS haulier.job
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF jsonb_typeof(changes) <> 'object' THEN
        RAISE EXCEPTION 'the changes of a job are an object' USING ERRCODE = 'invalid_parameter_value';
    END IF;
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
        WHEN name = 'payload' THEN CASE jsonb_typeof(noted) WHEN 'object' THEN noted ELSE '{}' END
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

REVOKE ALL ON FUNCTION haulier.with_changes(haulier.job, jsonb),
    haulier.differences(haulier.job, haulier.job, jsonb), haulier.note_moved(haulier.job), haulier.wake(text[]),
    haulier.change(uuid, jsonb, bytea, jsonb, text, text[]) FROM PUBLIC;
