-- does: Lets live jobs say of which job they are a copy, and which operation changed them.
-- locks job: ACCESS EXCLUSIVE, for a moment

SET LOCAL search_path = pg_catalog, pg_temp;
SET LOCAL lock_timeout = '5s';

ALTER TABLE haulier.job
    ADD COLUMN IF NOT EXISTS copy_of uuid,
    ADD COLUMN IF NOT EXISTS operation_id uuid;
