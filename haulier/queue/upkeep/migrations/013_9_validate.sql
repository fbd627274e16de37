-- does: Looks through the entries of the record that were there before version 13.
-- locks audit: SHARE UPDATE EXCLUSIVE, while it is read once: everything goes on

SET LOCAL search_path = pg_catalog, pg_temp;
SET LOCAL lock_timeout = '5s';

ALTER TABLE haulier.audit VALIDATE CONSTRAINT action_is_known;

UPDATE haulier.schema_version SET version = 13;
