-- does: Adds tags to the jobs of the history.
-- locks finished_job: ACCESS EXCLUSIVE, for a moment

SET LOCAL search_path = pg_catalog, pg_temp;
SET LOCAL lock_timeout = '5s';

ALTER TABLE haulier.finished_job ADD COLUMN IF NOT EXISTS tags text[];
