-- does: Builds an index of the waiting jobs by tags, which no job has yet.
-- locks job: SHARE, while all of it is read once: nothing can be enqueued, claimed or settled

SET LOCAL search_path = pg_catalog, pg_temp;
SET LOCAL lock_timeout = '5s';

CREATE INDEX IF NOT EXISTS job_waiting_by_tag ON haulier.job USING gin (tags) WITH (fastupdate = off)
    WHERE tags IS NOT NULL AND status IN ('queued', 'retrying');
