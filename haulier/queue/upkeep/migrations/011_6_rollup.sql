-- does: Lets the numbers of a step keep from when to when jobs came, where these were few.
-- locks rollup: ACCESS EXCLUSIVE, for a moment

SET LOCAL search_path = pg_catalog, pg_temp;
SET LOCAL lock_timeout = '5s';

ALTER TABLE haulier.rollup
    ADD COLUMN IF NOT EXISTS came_from timestamptz,
    ADD COLUMN IF NOT EXISTS came_to timestamptz;
