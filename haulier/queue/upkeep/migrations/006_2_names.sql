-- does: Drops the old index of what runs; makes ids by names that nobody can give another meaning; wakes the sleeper whose
--      beat is the freshest.
-- locks job: ACCESS EXCLUSIVE, for a moment

SET LOCAL search_path = pg_catalog, pg_temp;
SET LOCAL lock_timeout = '5s';

-- No SET clause, with which a function is not inlined: each INSERT would call it.
DO $do$
BEGIN
    IF current_setting('server_version_num')::integer >= 180000 THEN
        -- A text, of which every name is qualified: a dump then also goes into an older server, which lacks that function.
        CREATE OR REPLACE FUNCTION haulier.uuidv7() RETURNS uuid LANGUAGE sql VOLATILE PARALLEL SAFE
        AS 'SELECT pg_catalog.uuidv7()';
    ELSE
        -- 48 bits of milliseconds over a random (version 4) uuid, whose version bits 0100 become 0111.
        -- Not a text, whose names would be looked up in the path of whoever inserts: parsed here and now.
        CREATE OR REPLACE FUNCTION haulier.uuidv7() RETURNS uuid LANGUAGE sql VOLATILE PARALLEL SAFE
        RETURN encode(
            set_bit(set_bit(
                overlay(uuid_send(gen_random_uuid())
                        PLACING substring(int8send((extract(epoch FROM clock_timestamp()) * 1000)::bigint) FROM 3)
                        FROM 1 FOR 6),
                52, 1), 53, 1),
            'hex')::uuid;
    END IF;
END
$do$;

CREATE OR REPLACE FUNCTION haulier.knock() RETURNS trigger LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM FROM haulier.sleeper LIMIT 1;
    IF FOUND THEN
        PERFORM pg_notify('haulier_job', chosen.worker_id::text)
        FROM (
            SELECT DISTINCT ON (sleeper.queues) sleeper.worker_id
            FROM haulier.sleeper
            JOIN haulier.worker ON worker.id = sleeper.worker_id
            WHERE sleeper.queues IS NULL OR sleeper.queues && (SELECT array_agg(DISTINCT queue) FROM enqueued)
            ORDER BY sleeper.queues, worker.beat_at DESC, random()
        ) AS chosen;
    END IF;
    RETURN NULL;
END
$$;

DROP INDEX IF EXISTS haulier.job_held;

UPDATE haulier.schema_version SET version = 6;
