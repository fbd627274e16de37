-- does: Builds an index of the live jobs of schedules, which no job has yet.
-- locks job: SHARE, while all of it is read once: nothing can be enqueued, claimed or settled

SET LOCAL search_path = pg_catalog, pg_temp;
SET LOCAL lock_timeout = '5s';

CREATE INDEX IF NOT EXISTS job_by_schedule ON haulier.job (schedule) WHERE schedule IS NOT NULL;
