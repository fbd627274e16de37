-- does: Looks through the live jobs that were there before their checks were changed.
-- locks job: SHARE UPDATE EXCLUSIVE, while it is read once: everything goes on

SET LOCAL search_path = pg_catalog, pg_temp;
SET LOCAL lock_timeout = '5s';

-- In one statement, which reads the table once.
ALTER TABLE haulier.job
    VALIDATE CONSTRAINT running_has_a_claim,
    VALIDATE CONSTRAINT kind_is_a_name,
    VALIDATE CONSTRAINT queue_is_a_name,
    VALIDATE CONSTRAINT payload_is_an_object,
    VALIDATE CONSTRAINT errors_is_an_array,
    VALIDATE CONSTRAINT tags_up_to_10_of_1_to_64;

UPDATE haulier.schema_version SET version = 14;
