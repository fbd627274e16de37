-- does: Looks through the rows that were there before the checks of version 3.
-- locks idempotency: SHARE UPDATE EXCLUSIVE, while it is read once: everything goes on
-- locks job: SHARE UPDATE EXCLUSIVE, while it is read once: everything goes on

SET LOCAL search_path = pg_catalog, pg_temp;
SET LOCAL lock_timeout = '5s';

ALTER TABLE haulier.idempotency VALIDATE CONSTRAINT key_from_1_to_288;
-- In one statement, which reads the table once.
ALTER TABLE haulier.job
    VALIDATE CONSTRAINT kind_is_a_name,
    VALIDATE CONSTRAINT queue_is_a_name,
    VALIDATE CONSTRAINT payload_is_an_object,
    VALIDATE CONSTRAINT errors_is_an_array;

UPDATE haulier.schema_version SET version = 3;
