-- does: Builds the index of the newest jobs anew, with those alone that wait.
-- locks job: SHARE, while all of it is read once: nothing can be enqueued, claimed or settled

SET LOCAL search_path = pg_catalog, pg_temp;
SET LOCAL lock_timeout = '5s';

CREATE INDEX IF NOT EXISTS job_waiting_newest ON haulier.job (created_at, id) WHERE status IN ('queued', 'retrying');
