-- does: Writes the checks of a job's times and counters shorter.
-- locks job: ACCESS EXCLUSIVE, for a moment

SET LOCAL search_path = pg_catalog, pg_temp;
SET LOCAL lock_timeout = '5s';

ALTER TABLE haulier.job
    DROP CONSTRAINT IF EXISTS times_in_the_calendar,
    DROP CONSTRAINT IF EXISTS counters_in_range,
    ADD CONSTRAINT times_in_the_calendar CHECK (
        least(created_at, updated_at, started_at) >= '1970-01-01+00'
        AND greatest(created_at, updated_at, started_at) < '9999-12-31+00') NOT VALID,
    ADD CONSTRAINT counters_in_range CHECK (
        least(attempt, attempts, crashes, snoozes) >= 0
        AND greatest(attempt, attempts, crashes, snoozes) <= 2000000000) NOT VALID;
