-- does: Drops the old index of the newest jobs, and has names and payloads no longer checked at each claim.
-- locks job: ACCESS EXCLUSIVE, for a moment

SET LOCAL search_path = pg_catalog, pg_temp;
SET LOCAL lock_timeout = '5s';

DROP INDEX IF EXISTS haulier.job_newest;

ALTER TABLE haulier.job
    DROP CONSTRAINT IF EXISTS kind_is_a_name,
    DROP CONSTRAINT IF EXISTS queue_is_a_name,
    DROP CONSTRAINT IF EXISTS payload_is_an_object,
    DROP CONSTRAINT IF EXISTS errors_is_an_array,
    ADD CONSTRAINT kind_is_a_name CHECK (status = 'running' OR kind ~ '^[a-z][a-z0-9_.-]{0,63}$') NOT VALID,
    ADD CONSTRAINT queue_is_a_name CHECK (status = 'running' OR queue ~ '^[a-z][a-z0-9_.-]{0,63}$') NOT VALID,
    ADD CONSTRAINT payload_is_an_object CHECK (status = 'running' OR jsonb_typeof(payload) = 'object') NOT VALID,
    ADD CONSTRAINT errors_is_an_array CHECK (status = 'running' OR jsonb_typeof(errors) = 'array') NOT VALID;
