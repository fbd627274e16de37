-- Queues ------------------------------------------------------------------------------------------------------

-- The API may pause at most 1,000 queues, because each claim reads all pauses, and it is on record.

-- Let no job of a queue start before then; with null, before it is resumed. What runs goes on. Return `paused`, or why not:
-- `past`, where that time has come, `full`, where a thousand others are paused: each claim reads them all.
-- A notification has each worker give back what it has claimed of it and not started, and look at the queues anew: those
-- that it does not reach do so by themselves, half a second later.
CREATE OR REPLACE FUNCTION haulier.pause_queue(paused text, paused_until timestamptz, by_whom text) RETURNS text
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
    INSERT INTO haulier.pause AS present (queue, until, paused_by)
    VALUES (paused, paused_until, by_whom)
    ON CONFLICT (queue) DO UPDATE
    SET since = CASE WHEN present.until <= now() THEN now() ELSE present.since END,
        until = paused_until,
        paused_by = by_whom
    WHERE present.until IS DISTINCT FROM paused_until;
    IF FOUND THEN
        INSERT INTO haulier.audit (actor, action, target, details)
        VALUES (by_whom, 'pause', paused, jsonb_build_object('until', haulier.time_text(paused_until)));
        PERFORM pg_notify('haulier_job', 'queue ' || paused);
    END IF;
    -- After its own row: who waits for that holds no other.
    DELETE FROM haulier.pause
    WHERE queue IN (SELECT queue FROM haulier.pause WHERE until <= now() FOR UPDATE SKIP LOCKED);
    RETURN 'paused';
END
$$;

-- Let the jobs of a queue start again, and have every worker look. Return whether it was paused.
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
