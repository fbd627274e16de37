-- does: Looks through the rows that were there before the checks of version 5.
-- locks job: SHARE UPDATE EXCLUSIVE, while it is read once: everything goes on

SET LOCAL search_path = pg_catalog, pg_temp;
SET LOCAL lock_timeout = '5s';

ALTER TABLE haulier.job
    VALIDATE CONSTRAINT times_in_the_calendar,
    VALIDATE CONSTRAINT counters_in_range;

UPDATE haulier.schema_version SET version = 5;
