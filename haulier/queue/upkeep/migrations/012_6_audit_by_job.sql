-- does: Builds an index of the record by jobs.
-- locks audit: SHARE, while it is read once: nothing can be cancelled, retried, muted or quieted

SET LOCAL search_path = pg_catalog, pg_temp;
SET LOCAL lock_timeout = '5s';

CREATE INDEX IF NOT EXISTS audit_by_job ON haulier.audit (job_id, at, id) WHERE job_id IS NOT NULL;
