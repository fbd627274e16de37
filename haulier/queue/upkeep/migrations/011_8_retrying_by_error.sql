-- does: Builds an index of the jobs that are to be tried again, by their errors.
-- locks job: SHARE, while all of it is read once: nothing can be enqueued, claimed or settled

SET LOCAL search_path = pg_catalog, pg_temp;
SET LOCAL lock_timeout = '5s';

CREATE INDEX IF NOT EXISTS job_retrying_by_error ON haulier.job (error_id, created_at, id) WHERE status = 'retrying';
