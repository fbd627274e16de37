-- does: Builds two indexes of what runs, which take the place of one.
-- locks job: SHARE, while all of it is read twice: nothing can be enqueued, claimed or settled

SET LOCAL search_path = pg_catalog, pg_temp;
SET LOCAL lock_timeout = '5s';

CREATE INDEX IF NOT EXISTS job_claimed ON haulier.job (worker_id, claim) WHERE status = 'running';
CREATE INDEX IF NOT EXISTS job_cancelled ON haulier.job (worker_id) WHERE status = 'running' AND cancel_requested;
