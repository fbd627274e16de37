-- does: Keeps which workers there were, when each ended and whether it stopped or its lease ran out.
-- locks worker: SHARE ROW EXCLUSIVE, for a moment

SET LOCAL search_path = pg_catalog, pg_temp;
SET LOCAL lock_timeout = '5s';

-- The workers that have ended: so a job's history can say who ran it. Written when their rows are deleted, by whomever;
-- kept RETENTION_DAYS.
CREATE TABLE IF NOT EXISTS haulier.worker_past (
    id         uuid        NOT NULL,
    host       text        NOT NULL,
    pid        integer     NOT NULL,
    threads    integer     NOT NULL,
    queues     text[],
    version    text,
    started_at timestamptz NOT NULL,
    beat_at    timestamptz NOT NULL,
    lease_ends timestamptz NOT NULL,
    ended_at   timestamptz NOT NULL DEFAULT now(),
    ended_how  text        NOT NULL,
        -- stopped  its row was deleted within its lease, as it does itself when it stops
        -- buried   its lease had run out

    CONSTRAINT worker_past_pkey PRIMARY KEY (id),
    CONSTRAINT end_is_known CHECK (ended_how IN ('stopped', 'buried'))
);

-- purge_workers: the oldest first.
CREATE INDEX IF NOT EXISTS worker_past_oldest ON haulier.worker_past (ended_at);

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
    LOOP
        EXECUTE format('GRANT SELECT, DELETE, UPDATE (ended_at) ON haulier.worker_past TO %s', caller);
    END LOOP;
    FOR caller IN
        SELECT DISTINCT grantee
        FROM pg_proc
        CROSS JOIN aclexplode(proacl)
        WHERE pg_proc.oid = 'haulier.cancel(uuid, text)'::regprocedure AND grantee NOT IN (0, proowner)
    LOOP
        EXECUTE format('GRANT SELECT ON haulier.worker_past TO %s', caller);
    END LOOP;
END
$do$;

-- Note which workers have ended. A trigger, so that workers of older versions, which delete rows as well, are noted too.
-- Whatever goes wrong here, the workers have ended: a rescue must neither fail nor wait for this note. By statement and
-- not by row, so that where the table is locked it waits once, however many have ended.
-- SECURITY DEFINER, so that nobody needs a right to write what was.
CREATE OR REPLACE FUNCTION haulier.note_ended() RETURNS trigger LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '100ms'
AS $$
BEGIN
    PERFORM FROM ended LIMIT 1;
    IF FOUND THEN
        INSERT INTO haulier.worker_past (
            id, host, pid, threads, queues, version, started_at, beat_at, lease_ends, ended_how)
        SELECT id, host, pid, threads, queues, version, started_at, beat_at, beat_at + lease,
            -- As `bury` says it.
            CASE WHEN beat_at < now() - lease THEN 'buried' ELSE 'stopped' END
        FROM ended
        ON CONFLICT (id) DO NOTHING;
    END IF;
    RETURN NULL;
EXCEPTION WHEN OTHERS THEN
    RAISE WARNING 'haulier: which workers have ended is not noted: %', SQLERRM;
    RETURN NULL;
END
$$;
REVOKE ALL ON FUNCTION haulier.note_ended() FROM PUBLIC;

CREATE OR REPLACE TRIGGER note_ended AFTER DELETE ON haulier.worker
    REFERENCING OLD TABLE AS ended
    FOR EACH STATEMENT EXECUTE FUNCTION haulier.note_ended();
