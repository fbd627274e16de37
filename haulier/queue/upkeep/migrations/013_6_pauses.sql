-- does: Adds the pauses of queues. Whoever runs jobs under a role of its own may read them, and whoever may cancel jobs may
--      pause and resume queues.

SET LOCAL search_path = pg_catalog, pg_temp;
SET LOCAL lock_timeout = '5s';

CREATE TABLE IF NOT EXISTS haulier.pause (
    queue     text        NOT NULL,
    since     timestamptz NOT NULL DEFAULT now(),
    until     timestamptz,                                  -- null: until it is resumed
    paused_by text,                                         -- as `actor` of the audit

    CONSTRAINT pause_pkey PRIMARY KEY (queue),
    CONSTRAINT pause_is_a_queues CHECK (queue ~ '^[a-z][a-z0-9_.-]{0,63}$'),
    CONSTRAINT until_in_the_calendar CHECK (until >= '1970-01-01+00' AND until < '9999-12-31+00')
) WITH (
    autovacuum_vacuum_scale_factor = 0,
    autovacuum_vacuum_threshold = 50,
    autovacuum_vacuum_cost_delay = 0
);

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

REVOKE ALL ON FUNCTION haulier.pause_queue(text, timestamptz, text), haulier.resume_queue(text, text) FROM PUBLIC;

-- As grants.sql does: so programs of version 13 claim, show and pause before it is applied again.
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
    LOOP
        EXECUTE format('GRANT SELECT ON haulier.pause TO %s', caller);
    END LOOP;
    FOR caller IN
        SELECT DISTINCT grantee
        FROM pg_proc
        CROSS JOIN aclexplode(proacl)
        WHERE pg_proc.oid = 'haulier.cancel(uuid, text)'::regprocedure AND grantee NOT IN (0, proowner)
    LOOP
        EXECUTE format('GRANT SELECT ON haulier.pause TO %s', caller);
        EXECUTE format(
            'GRANT EXECUTE ON FUNCTION haulier.pause_queue(text, timestamptz, text), haulier.resume_queue(text, text) TO %s',
            caller);
    END LOOP;
END
$do$;
