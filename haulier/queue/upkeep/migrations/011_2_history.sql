-- does: Gives each job of the history a place for the group of its last failed attempt.
-- locks finished_job: ACCESS EXCLUSIVE, for a moment

SET LOCAL search_path = pg_catalog, pg_temp;
SET LOCAL lock_timeout = '5s';

ALTER TABLE haulier.finished_job ADD COLUMN IF NOT EXISTS error_id bigint;
