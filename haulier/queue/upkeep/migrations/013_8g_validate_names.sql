-- does: Looks through the live jobs that were there before the checks of their names were changed.
-- locks job: SHARE UPDATE EXCLUSIVE, while it is read once: everything goes on

SET LOCAL search_path = pg_catalog, pg_temp;
SET LOCAL lock_timeout = '5s';

-- In one statement, which reads the table once.
ALTER TABLE haulier.job
    VALIDATE CONSTRAINT kind_is_a_name,
    VALIDATE CONSTRAINT queue_is_a_name;
