-- does: Looks through the live jobs that were there before the check of tags.
-- locks job: SHARE UPDATE EXCLUSIVE, while it is read once: everything goes on

SET LOCAL search_path = pg_catalog, pg_temp;
SET LOCAL lock_timeout = '5s';

ALTER TABLE haulier.job VALIDATE CONSTRAINT tags_up_to_10_of_1_to_64;

UPDATE haulier.schema_version SET version = 12;
