-- does: Gives each job of the history a place for the group of its last failed attempt.
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

ALTER TABLE haulier.finished_job ADD COLUMN IF NOT EXISTS error_id bigint;

-- Of no partition yet, for a moment only: 011_7 attaches theirs one by one, and so never waits for this table while it holds
-- partitions, for which a retry waits that holds this table.
CREATE INDEX IF NOT EXISTS finished_job_failed_by_error ON ONLY haulier.finished_job (error_id, created_at, id)
    WHERE status = 'failed_permanent';
