-- Wake-ups ----------------------------------------------------------------------------------------------------

-- Notify one sleeping worker of each set of queues that includes a queue of the new jobs. Where no worker sleeps,
-- notify nobody: all commits on the server that have a NOTIFY wait for each other, so there must be none while workers
-- are busy. A worker that then claims as many jobs as it can take wakes the next one. The sleeper with the freshest
-- beat is chosen: a worker that was killed while it slept keeps its row until its lease runs out, and a random choice
-- between two would wake it for half of the jobs.
-- SECURITY DEFINER, so that an application may INSERT jobs without a right to read these tables; with a fixed
-- search_path, so that it cannot decide what the names in here mean.
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
REVOKE ALL ON FUNCTION haulier.knock() FROM PUBLIC;

CREATE OR REPLACE TRIGGER knock AFTER INSERT ON haulier.job
    REFERENCING NEW TABLE AS enqueued
    FOR EACH STATEMENT EXECUTE FUNCTION haulier.knock();
