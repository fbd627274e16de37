-- Schedules ---------------------------------------------------------------------------------------------------

-- The API may write the rules of schedules that are not of schedules.toml, on record, but not how far each has come.

-- Write a new schedule, or another rule of a schedule. The caller has locked it, and has decided the ticks up to now; from
-- now on the new rule counts. Return whether it was written: another caller may have made it meanwhile. Only the actor
-- `file` writes the schedules of schedules.toml.
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
            put.missed_within_seconds, put.jitter_seconds, counted_from, haulier.schedule_time(), next,
            least(look, haulier.schedule_time()))
        ON CONFLICT (name) DO NOTHING;
    ELSE
        UPDATE haulier.schedule
        SET (cron, every_seconds, time_zone, job, overlap, missed, missed_max, missed_within_seconds, jitter_seconds) = ROW (
                put.cron, put.every_seconds, put.time_zone, put.job, put.overlap, put.missed, put.missed_max,
                put.missed_within_seconds, put.jitter_seconds),
            counts_from = counted_from,
            -- If the clock went back, what is decided stays decided.
            decided_to = greatest(decided_to, haulier.schedule_time()),
            next_at = next,
            look_at = least(look, haulier.schedule_time()),
            refused_since = NULL,
            refusals = 0,
            refusal = NULL,
            updated_at = now()
        WHERE name = named AND (source = 'file') = (by_whom IS NOT DISTINCT FROM 'file');
    END IF;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    INSERT INTO haulier.audit (actor, action, target, details) VALUES (by_whom, 'put_schedule', named, noted);
    RETURN true;
END
$$;

-- Delete a schedule; its ticks and jobs stay. Return whether there was one.
CREATE OR REPLACE FUNCTION haulier.delete_schedule(named text, by_whom text) RETURNS boolean LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    DELETE FROM haulier.schedule WHERE name = named AND (source = 'file') = (by_whom IS NOT DISTINCT FROM 'file');
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    INSERT INTO haulier.audit (actor, action, target) VALUES (by_whom, 'delete_schedule', named);
    RETURN true;
END
$$;

-- Let the ticks of a schedule pass until a time, or until it is resumed. An earlier pause with ticks that are still to be
-- decided becomes a part of this one. Return `paused`, `past` (that time has passed), or `none` (no such schedule).
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

-- End a schedule's pause. Its time is kept, for ticks within it that are still to be decided. Return whether there is such
-- a schedule.
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
    IF NOT EXISTS (
        SELECT
        FROM haulier.schedule
        WHERE name = named
            AND (overlap = 'allow' OR NOT EXISTS (SELECT FROM haulier.job AS live WHERE live.schedule = named)))
    THEN
        RAISE EXCEPTION 'schedule % does not exist, or a job of it is live', left(named, 64)
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    PERFORM haulier.fire_ticks(ARRAY[named], ARRAY[haulier.schedule_time()], ARRAY['fired']);
    SELECT job_id INTO job
    FROM haulier.tick
    JOIN haulier.schedule ON schedule.name = tick.schedule AND schedule.id = tick.schedule_id
    WHERE tick.schedule = named AND scheduled_at = haulier.schedule_time();
    -- The database accepts its job again, so ticks that are due need not wait any longer.
    UPDATE haulier.schedule
    SET look_at = least(look_at, haulier.schedule_time()),
        refused_since = NULL,
        refusals = 0,
        refusal = NULL
    WHERE name = named AND refusals > 0;
    INSERT INTO haulier.audit (actor, action, target, details)
    VALUES (by_whom, 'run_schedule', named, jsonb_build_object('job', job));
    RETURN job;
END
$$;
