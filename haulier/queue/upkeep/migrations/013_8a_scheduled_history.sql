-- does: Lets the history say which tick of which schedule has enqueued a job.
-- locks finished_job: ACCESS EXCLUSIVE, for a moment

SET LOCAL search_path = pg_catalog, pg_temp;
SET LOCAL lock_timeout = '5s';

-- A partition whose detach was interrupted would not get the column, and under PostgreSQL 18 its detach could then never be
-- finished, nor another one begun. To finish it waits for whoever reads the history.
DO $do$
DECLARE
    part regclass;
BEGIN
    FOR part IN
        SELECT inhrelid FROM pg_inherits WHERE inhparent = 'haulier.finished_job'::regclass AND inhdetachpending
    LOOP
        EXECUTE format('ALTER TABLE haulier.finished_job DETACH PARTITION %s FINALIZE', part);
    END LOOP;
END
$do$;

ALTER TABLE haulier.finished_job
    ADD COLUMN IF NOT EXISTS schedule text,
    ADD COLUMN IF NOT EXISTS scheduled_for timestamptz;
