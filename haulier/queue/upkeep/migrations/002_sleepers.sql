-- does: Adds the workers that sleep, of which an INSERT of jobs wakes one by name; before, it woke all.
-- locks worker: SHARE ROW EXCLUSIVE, for a moment
-- locks job: SHARE ROW EXCLUSIVE, for a moment

SET LOCAL search_path = pg_catalog, pg_temp;
SET LOCAL lock_timeout = '5s';

CREATE TABLE IF NOT EXISTS haulier.sleeper (
    worker_id uuid NOT NULL,
    queues    text[],                                       -- the worker's
    since     timestamptz NOT NULL DEFAULT now(),

    CONSTRAINT sleeper_pkey PRIMARY KEY (worker_id),
    CONSTRAINT sleeper_is_a_worker FOREIGN KEY (worker_id) REFERENCES haulier.worker ON DELETE CASCADE
) WITH (
    autovacuum_vacuum_scale_factor = 0,
    autovacuum_vacuum_threshold = 50,
    autovacuum_vacuum_cost_delay = 0
);

CREATE OR REPLACE FUNCTION haulier.knock() RETURNS trigger LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM FROM haulier.sleeper LIMIT 1;
    IF FOUND THEN
        PERFORM pg_notify('haulier_job', chosen.worker_id::text)
        FROM (
            SELECT DISTINCT ON (queues) worker_id
            FROM haulier.sleeper
            WHERE queues IS NULL OR queues && (SELECT array_agg(DISTINCT queue) FROM enqueued)
            ORDER BY queues, random()
        ) AS chosen;
    END IF;
    RETURN NULL;
END
$$;
REVOKE ALL ON FUNCTION haulier.knock() FROM PUBLIC;

CREATE OR REPLACE TRIGGER knock AFTER INSERT ON haulier.job
    REFERENCING NEW TABLE AS enqueued
    FOR EACH STATEMENT EXECUTE FUNCTION haulier.knock();

UPDATE haulier.schema_version SET version = 2;
