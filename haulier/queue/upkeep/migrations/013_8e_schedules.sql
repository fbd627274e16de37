-- does: Adds schedules and their ticks, each with what became of it.

SET LOCAL search_path = pg_catalog, pg_temp;
SET LOCAL lock_timeout = '5s';

-- What is to be enqueued when. A thread of each worker looks for those that are due, one transaction for all that it
-- finds; the lock on a schedule's row is held until all is written, so that each tick is decided by one worker alone.
CREATE TABLE IF NOT EXISTS haulier.schedule (
    name                  text        NOT NULL,
    cron                  text,                             -- either this …
    every_seconds         integer,                          -- … or this
    time_zone             text        NOT NULL,
    job                   jsonb       NOT NULL,             -- what to enqueue, by the columns of haulier.job
    overlap               text        NOT NULL,
        -- allow      a tick fires whatever else is live
        -- skip       not while a job of the schedule is live
        -- queue_one  as skip, but one tick waits for that job to end
    missed                text        NOT NULL,
        -- skip  what was not fired in time does not fire
        -- last  the last of such ticks does, if nothing is due since
        -- all   the last missed_max do, if they are no older than missed_within_seconds
    missed_max            integer,
    missed_within_seconds integer,
    jitter_seconds        integer     NOT NULL DEFAULT 0,
    source                text        NOT NULL DEFAULT 'api',   -- api, or file: it came from schedules.toml
    -- The last pause. Its end is kept: a tick within it may be decided later.
    paused_since          timestamptz,
    paused_until          timestamptz,                      -- null: until somebody resumes it
    -- How far it has come
    counts_from           timestamptz NOT NULL,             -- every_seconds counts from here
    decided_to            timestamptz NOT NULL,             -- each tick up to here has its row, or is pending_at
    pending_at            timestamptz,                      -- queue_one: the tick that waits
    next_at               timestamptz,                      -- the next tick; null: there is none
    look_at               timestamptz NOT NULL,             -- when a worker looks at it next
    created_at            timestamptz NOT NULL DEFAULT now(),
    updated_at            timestamptz NOT NULL DEFAULT now(),   -- when somebody last changed what it does

    CONSTRAINT schedule_pkey PRIMARY KEY (name),
    CONSTRAINT name_is_a_schedules CHECK (length(name) <= 64 AND name ~ '^[a-z][a-z0-9_.-]*$'),
    CONSTRAINT cron_or_every_seconds CHECK (num_nonnulls(cron, every_seconds) = 1),
    CONSTRAINT every_from_1_to_31536000_seconds CHECK (every_seconds BETWEEN 1 AND 31536000),
    CONSTRAINT job_is_an_object CHECK (jsonb_typeof(job) = 'object' AND job ?& ARRAY['kind', 'payload']),
    CONSTRAINT overlap_is_known CHECK (overlap IN ('allow', 'skip', 'queue_one')),
    CONSTRAINT missed_is_known CHECK (missed IN ('skip', 'last', 'all')),
    CONSTRAINT all_has_bounds CHECK (
        (missed = 'all') = (missed_max IS NOT NULL) AND (missed = 'all') = (missed_within_seconds IS NOT NULL)),
    CONSTRAINT missed_from_1_to_1000 CHECK (missed_max BETWEEN 1 AND 1000),
    CONSTRAINT missed_within_is_positive CHECK (missed_within_seconds > 0),
    CONSTRAINT jitter_from_0_to_86400_seconds CHECK (jitter_seconds BETWEEN 0 AND 86400),
    CONSTRAINT source_is_known CHECK (source IN ('api', 'file')),
    CONSTRAINT pause_has_a_beginning CHECK (paused_since IS NOT NULL OR paused_until IS NULL)
) WITH (
    fillfactor = 50,
    autovacuum_vacuum_scale_factor = 0,
    autovacuum_vacuum_threshold = 1000,
    autovacuum_vacuum_cost_delay = 0
);

-- due_schedules: those that are due first
CREATE INDEX IF NOT EXISTS schedule_by_look ON haulier.schedule (look_at);

-- What became of each tick. No reference to the schedule: they are kept when that is deleted, RETENTION_DAYS.
CREATE TABLE IF NOT EXISTS haulier.tick (
    schedule     text        NOT NULL,
    scheduled_at timestamptz NOT NULL,
    outcome      text        NOT NULL,
    fired_at     timestamptz,                               -- null: it did not fire
    decided_at   timestamptz NOT NULL DEFAULT now(),
    job_id       uuid,                                      -- the job that it enqueued

    -- A second guard beside the lock on the schedule: no tick enqueues two jobs.
    CONSTRAINT tick_pkey PRIMARY KEY (schedule, scheduled_at),
    CONSTRAINT outcome_is_known CHECK (outcome IN ('fired', 'skipped_overlap', 'skipped_missed', 'skipped_paused')),
    CONSTRAINT fired_has_a_job CHECK (
        (outcome = 'fired') = (fired_at IS NOT NULL) AND (outcome = 'fired') = (job_id IS NOT NULL))
);

-- purge_ticks: the oldest first
CREATE INDEX IF NOT EXISTS tick_oldest ON haulier.tick (decided_at);

-- The time by which schedules go. A function, so that tests can move it.
CREATE OR REPLACE FUNCTION haulier.schedule_time() RETURNS timestamptz LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$ SELECT now() $$;

-- Write what became of ticks, enqueue the jobs of those that fire, and return how many did. A tick that is there already
-- stays as it is. The caller has locked the schedules. It can enqueue nothing but what a schedule says: so workers need
-- no right to add jobs.
CREATE OR REPLACE FUNCTION haulier.fire_ticks(names text[], ats timestamptz[], outcomes text[]) RETURNS bigint
LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    now_ CONSTANT timestamptz := haulier.schedule_time();
    fired_names text[];
    fired_ats   timestamptz[];
    fired_jobs  uuid[];
BEGIN
    WITH decided AS (
        INSERT INTO haulier.tick (schedule, scheduled_at, outcome, fired_at, job_id)
        SELECT asked.name, at, outcome,
            CASE WHEN outcome = 'fired' THEN now_ END,
            CASE WHEN outcome = 'fired' THEN haulier.uuidv7() END
        FROM unnest(names, ats, outcomes) AS asked (name, at, outcome)
        WHERE EXISTS (SELECT FROM haulier.schedule WHERE schedule.name = asked.name)
        ORDER BY asked.name, at
        ON CONFLICT (schedule, scheduled_at) DO NOTHING
        RETURNING schedule, scheduled_at, job_id
    )
    SELECT array_agg(schedule), array_agg(scheduled_at), array_agg(job_id) INTO fired_names, fired_ats, fired_jobs
    FROM decided
    WHERE job_id IS NOT NULL;
    -- An INSERT of no job would wake a worker as well.
    IF fired_jobs IS NULL THEN
        RETURN 0;
    END IF;
    INSERT INTO haulier.job (
        id, kind, payload, queue, priority, max_attempts, timeout_seconds, tags, schedule, scheduled_for)
    SELECT fired.id, job ->> 'kind', job -> 'payload', coalesce(job ->> 'queue', 'default'),
        coalesce((job ->> 'priority')::smallint, 0), coalesce((job ->> 'max_attempts')::integer, 3),
        (job ->> 'timeout_seconds')::integer,
        CASE WHEN jsonb_typeof(job -> 'tags') = 'array'
            THEN nullif(ARRAY(SELECT jsonb_array_elements_text(job -> 'tags')), '{}')
        END,
        fired.schedule, fired.at
    FROM unnest(fired_jobs, fired_names, fired_ats) AS fired (id, schedule, at)
    JOIN haulier.schedule ON schedule.name = fired.schedule
    ORDER BY fired.at, fired.schedule;
    RETURN cardinality(fired_jobs);
END
$$;

REVOKE ALL ON FUNCTION haulier.fire_ticks(text[], timestamptz[], text[]) FROM PUBLIC;

-- Write what a schedule does, with the owner's rights, as the functions below: a new one, or in the place of what it did
-- before. The caller has locked it, and has decided the ticks up to now; from now on those of the new rule count. Return
-- whether it was written: somebody else may have made it meanwhile.
CREATE OR REPLACE FUNCTION haulier.put_schedule(
    named text, rule jsonb, counted_from timestamptz, next timestamptz, look timestamptz, is_new boolean, noted jsonb,
    by_whom text
) RETURNS boolean LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    put haulier.schedule := jsonb_populate_record(NULL::haulier.schedule, rule);
BEGIN
    IF is_new THEN
        INSERT INTO haulier.schedule (
            name, cron, every_seconds, time_zone, job, overlap, missed, missed_max, missed_within_seconds,
            jitter_seconds, counts_from, decided_to, next_at, look_at)
        VALUES (
            named, put.cron, put.every_seconds, put.time_zone, put.job, put.overlap, put.missed, put.missed_max,
            put.missed_within_seconds, put.jitter_seconds, counted_from, haulier.schedule_time(), next, look)
        ON CONFLICT (name) DO NOTHING;
    ELSE
        UPDATE haulier.schedule
        SET cron = put.cron,
            every_seconds = put.every_seconds,
            time_zone = put.time_zone,
            job = put.job,
            overlap = put.overlap,
            missed = put.missed,
            missed_max = put.missed_max,
            missed_within_seconds = put.missed_within_seconds,
            jitter_seconds = put.jitter_seconds,
            counts_from = counted_from,
            -- Where the clock went back, what it has decided stays decided.
            decided_to = greatest(decided_to, haulier.schedule_time()),
            next_at = next,
            look_at = look,
            updated_at = now()
        WHERE name = named;
    END IF;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    INSERT INTO haulier.audit (actor, action, target, details) VALUES (by_whom, 'put_schedule', named, noted);
    RETURN true;
END
$$;

-- Delete a schedule; its ticks are kept, and its jobs live on. Return whether there was one.
CREATE OR REPLACE FUNCTION haulier.delete_schedule(named text, by_whom text) RETURNS boolean LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    DELETE FROM haulier.schedule WHERE name = named;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    INSERT INTO haulier.audit (actor, action, target) VALUES (by_whom, 'delete_schedule', named);
    RETURN true;
END
$$;

-- Let the ticks of a schedule pass until a time, or until it is resumed. A pause before this one, within which ticks are
-- still to be decided, becomes a part of it. Return what came of it: paused, past (that time has passed), or none.
CREATE OR REPLACE FUNCTION haulier.pause_schedule(named text, until timestamptz, by_whom text) RETURNS text
LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    old haulier.schedule;
    now_ CONSTANT timestamptz := haulier.schedule_time();
BEGIN
    SELECT * INTO old FROM haulier.schedule WHERE name = named FOR UPDATE;
    IF NOT FOUND THEN
        RETURN 'none';
    END IF;
    IF until <= now_ THEN
        RETURN 'past';
    END IF;
    IF old.paused_since IS NULL OR old.paused_until <= now_ OR old.paused_until IS DISTINCT FROM until THEN
        UPDATE haulier.schedule
        SET paused_since = CASE
                WHEN old.paused_since IS NOT NULL AND coalesce(old.paused_until > old.decided_to, true) THEN old.paused_since
                ELSE now_
            END,
            paused_until = until
        WHERE name = named;
        INSERT INTO haulier.audit (actor, action, target, details)
        VALUES (by_whom, 'pause_schedule', named, jsonb_build_object('until', haulier.time_text(until)));
    END IF;
    RETURN 'paused';
END
$$;

-- End a schedule's pause. Its time is kept, for ticks within it that are still to be decided. Return whether there is
-- such a schedule.
CREATE OR REPLACE FUNCTION haulier.resume_schedule(named text, by_whom text) RETURNS boolean LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    UPDATE haulier.schedule
    SET paused_until = haulier.schedule_time()
    WHERE name = named AND paused_since IS NOT NULL AND (paused_until IS NULL OR paused_until > haulier.schedule_time());
    IF FOUND THEN
        INSERT INTO haulier.audit (actor, action, target) VALUES (by_whom, 'resume_schedule', named);
        RETURN true;
    END IF;
    RETURN EXISTS (SELECT FROM haulier.schedule WHERE name = named);
END
$$;

-- Fire a schedule now, beside its ticks. The caller has locked it. Return the job.
CREATE OR REPLACE FUNCTION haulier.run_schedule(named text, by_whom text) RETURNS uuid LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    job uuid;
BEGIN
    PERFORM haulier.fire_ticks(ARRAY[named], ARRAY[haulier.schedule_time()], ARRAY['fired']);
    SELECT job_id INTO job FROM haulier.tick WHERE schedule = named AND scheduled_at = haulier.schedule_time();
    INSERT INTO haulier.audit (actor, action, target, details)
    VALUES (by_whom, 'run_schedule', named, jsonb_build_object('job', job));
    RETURN job;
END
$$;

REVOKE ALL ON FUNCTION haulier.put_schedule(text, jsonb, timestamptz, timestamptz, timestamptz, boolean, jsonb, text),
    haulier.delete_schedule(text, text), haulier.pause_schedule(text, timestamptz, text),
    haulier.resume_schedule(text, text), haulier.run_schedule(text, text) FROM PUBLIC;

-- As grants.sql does, for whoever may claim jobs and for whoever may cancel them: so programs of version 13 work before
-- it is applied again.
DO $do$
DECLARE
    caller regrole;
BEGIN
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
        UNION
        SELECT DISTINCT grantee
        FROM pg_proc
        CROSS JOIN aclexplode(proacl)
        WHERE pg_proc.oid = 'haulier.cancel(uuid, text)'::regprocedure AND grantee NOT IN (0, proowner)
    LOOP
        EXECUTE format('GRANT SELECT, UPDATE (decided_to, pending_at, next_at, look_at) ON haulier.schedule TO %s', caller);
        EXECUTE format('GRANT SELECT ON haulier.tick TO %s', caller);
        EXECUTE format(
            'GRANT EXECUTE ON FUNCTION haulier.fire_ticks(text[], timestamptz[], text[]), haulier.schedule_time() TO %s',
            caller);
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
        EXECUTE format('GRANT DELETE, UPDATE (decided_at) ON haulier.tick TO %s', caller);
    END LOOP;
    FOR caller IN
        SELECT DISTINCT grantee
        FROM pg_proc
        CROSS JOIN aclexplode(proacl)
        WHERE pg_proc.oid = 'haulier.cancel(uuid, text)'::regprocedure AND grantee NOT IN (0, proowner)
    LOOP
        EXECUTE format(
            'GRANT EXECUTE ON FUNCTION'
            ' haulier.put_schedule(text, jsonb, timestamptz, timestamptz, timestamptz, boolean, jsonb, text),'
            ' haulier.delete_schedule(text, text), haulier.pause_schedule(text, timestamptz, text),'
            ' haulier.resume_schedule(text, text), haulier.run_schedule(text, text) TO %s',
            caller);
    END LOOP;
END
$do$;
