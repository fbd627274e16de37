-- Queues ------------------------------------------------------------------------------------------------------

-- The API may pause at most 1,000 queues, because each claim reads all pauses; and only on record.

-- Let no job of a queue start before a time; null: before it is resumed. What runs continues. Return `paused`, or why not:
-- `past` if that time has come, `full` if a thousand others are paused.
-- A notification makes each worker give back the jobs of the queue that it has claimed and not started, and look for lanes
-- again. Workers that it does not reach do so half a second later.
CREATE OR REPLACE FUNCTION haulier.pause_queue(
    paused text, paused_until timestamptz, by_whom text, why text DEFAULT NULL) RETURNS text
LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF paused_until <= now() THEN
        RETURN 'past';
    END IF;
    IF (SELECT count(*) FROM haulier.pause WHERE queue <> paused AND (until IS NULL OR until > now())) >= 1000 THEN
        RETURN 'full';
    END IF;
    INSERT INTO haulier.pause AS present (queue, until, paused_by, reason)
    VALUES (paused, paused_until, by_whom, why)
    ON CONFLICT (queue) DO UPDATE
    SET since = CASE WHEN present.until <= now() THEN now() ELSE present.since END,
        until = paused_until,
        paused_by = by_whom,
        reason = why
    WHERE (present.until, present.reason) IS DISTINCT FROM (paused_until, why);
    IF FOUND THEN
        INSERT INTO haulier.audit (actor, action, target, details)
        VALUES (by_whom, 'pause', paused, jsonb_build_object('until', haulier.time_text(paused_until))
            || CASE WHEN why IS NULL THEN '{}'::jsonb ELSE jsonb_build_object('reason', why) END);
        PERFORM pg_notify('haulier_job', 'queue ' || paused);
    END IF;
    -- After its own row, so that whoever waits for that holds no other.
    DELETE FROM haulier.pause
    WHERE queue IN (SELECT queue FROM haulier.pause WHERE until <= now() FOR UPDATE SKIP LOCKED);
    RETURN 'paused';
END
$$;

-- Let the jobs of a queue start again, and notify every worker. Return whether it was paused.
CREATE OR REPLACE FUNCTION haulier.resume_queue(resumed text, by_whom text) RETURNS boolean LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    ended_by timestamptz;
BEGIN
    DELETE FROM haulier.pause WHERE queue = resumed RETURNING until INTO ended_by;
    IF NOT FOUND OR ended_by <= now() THEN
        RETURN false;
    END IF;
    INSERT INTO haulier.audit (actor, action, target) VALUES (by_whom, 'resume', resumed);
    PERFORM pg_notify('haulier_job', 'queue ' || resumed);
    RETURN true;
END
$$;
