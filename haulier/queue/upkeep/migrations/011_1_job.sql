-- does: Gives each live job a place for the group of its last failed attempt.
-- locks job: ACCESS EXCLUSIVE, for a moment

SET LOCAL search_path = pg_catalog, pg_temp;
SET LOCAL lock_timeout = '5s';

-- Each table has a file of its own: while a transaction waits for a second one, nobody can use the first.
ALTER TABLE haulier.job ADD COLUMN IF NOT EXISTS error_id bigint;
