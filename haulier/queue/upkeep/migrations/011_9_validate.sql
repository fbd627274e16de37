-- does: Looks through the entries of the record that were there before the checks of version 11.
-- locks audit: SHARE UPDATE EXCLUSIVE, while it is read once: everything goes on

SET LOCAL search_path = pg_catalog, pg_temp;
SET LOCAL lock_timeout = '5s';

-- In one statement, which reads the table once.
ALTER TABLE haulier.audit
    VALIDATE CONSTRAINT action_is_known,
    VALIDATE CONSTRAINT done_to_one_thing;

UPDATE haulier.schema_version SET version = 11;
