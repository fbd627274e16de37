-- does: Has workers tell their version, the kinds that they know and whether they stop, and lets an operator quiet one, which
--      is then woken for no job.
-- locks worker: ACCESS EXCLUSIVE, for a moment

SET LOCAL search_path = pg_catalog, pg_temp;
SET LOCAL lock_timeout = '5s';

ALTER TABLE haulier.worker
    ADD COLUMN IF NOT EXISTS version text,
    ADD COLUMN IF NOT EXISTS kinds text[],
    ADD COLUMN IF NOT EXISTS quiet boolean NOT NULL DEFAULT false,
    ADD COLUMN IF NOT EXISTS stopping boolean NOT NULL DEFAULT false;

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
            JOIN haulier.worker ON worker.id = sleeper.worker_id AND NOT worker.quiet
            WHERE sleeper.queues IS NULL OR sleeper.queues && (SELECT array_agg(DISTINCT queue) FROM enqueued)
            ORDER BY sleeper.queues, worker.beat_at DESC, random()
        ) AS chosen;
    END IF;
    RETURN NULL;
END
$$;

UPDATE haulier.schema_version SET version = 10;
