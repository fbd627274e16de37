-- Wake-ups ----------------------------------------------------------------------------------------------------

-- Notify one sleeping worker of each set of queues that includes one of these: for `knock`, and for jobs that change their
-- place. A role that may add or change jobs may wake workers, but needs no right to read who sleeps.
-- If no worker sleeps, this notifies nobody: all commits on the server that have a NOTIFY wait for each other, so there must
-- be none while workers are busy. A worker that then claims as many jobs as it can take wakes the next one. The sleeper with
-- the freshest beat is chosen: a worker that was killed while it slept keeps its row until its lease runs out, and a random
-- choice between two would wake it for half of the jobs.
CREATE OR REPLACE FUNCTION haulier.wake(served text[]) RETURNS void LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM pg_notify('haulier_job', chosen.worker_id::text)
    FROM (
        SELECT DISTINCT ON (sleeper.queues) sleeper.worker_id
        FROM haulier.sleeper
        JOIN haulier.worker ON worker.id = sleeper.worker_id AND NOT worker.quiet
        WHERE sleeper.queues IS NULL OR sleeper.queues && served
        ORDER BY sleeper.queues, worker.beat_at DESC, random()
    ) AS chosen;
END
$$;
