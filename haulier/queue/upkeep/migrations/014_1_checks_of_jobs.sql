-- does: Has the checks of a job tell by its worker whether it runs: each statement that writes jobs reads less.
-- locks job: ACCESS EXCLUSIVE, for a moment

SET LOCAL search_path = pg_catalog, pg_temp;
SET LOCAL lock_timeout = '5s';

-- Unless it is done: the next step, which looks through the table, may be behind somebody who repeats this one.
DO $do$
BEGIN
    IF EXISTS (
        SELECT
        FROM pg_constraint
        WHERE conrelid = 'haulier.job'::regclass AND conname = 'kind_is_a_name'
            AND pg_get_constraintdef(oid) LIKE '%worker_id%'
    ) THEN
        RETURN;
    END IF;
    ALTER TABLE haulier.job
        DROP CONSTRAINT running_has_a_claim,
        DROP CONSTRAINT kind_is_a_name,
        DROP CONSTRAINT queue_is_a_name,
        DROP CONSTRAINT payload_is_an_object,
        DROP CONSTRAINT errors_is_an_array,
        DROP CONSTRAINT tags_up_to_10_of_1_to_64,
        ADD CONSTRAINT running_has_a_claim
            CHECK (worker_id IS NULL OR (claim IS NOT NULL AND started_at IS NOT NULL)) NOT VALID,
        ADD CONSTRAINT kind_is_a_name
            CHECK (worker_id IS NOT NULL OR (length(kind) <= 64 AND kind ~ '^[a-z][a-z0-9_.-]*$')) NOT VALID,
        ADD CONSTRAINT queue_is_a_name
            CHECK (worker_id IS NOT NULL OR (length(queue) <= 64 AND queue ~ '^[a-z][a-z0-9_.-]*$')) NOT VALID,
        ADD CONSTRAINT payload_is_an_object
            CHECK (worker_id IS NOT NULL OR jsonb_typeof(payload) = 'object') NOT VALID,
        ADD CONSTRAINT errors_is_an_array
            CHECK (worker_id IS NOT NULL OR jsonb_typeof(errors) = 'array') NOT VALID,
        ADD CONSTRAINT tags_up_to_10_of_1_to_64
            CHECK (worker_id IS NOT NULL OR haulier.are_tags(tags)) NOT VALID;
END
$do$;
