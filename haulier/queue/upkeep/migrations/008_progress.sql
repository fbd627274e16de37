-- does: Adds a table for the progress of running jobs, which the view of all jobs shows. Whoever runs jobs under a role of
--      its own may write it.
-- locks jobs: ACCESS EXCLUSIVE, for a moment

SET LOCAL search_path = pg_catalog, pg_temp;
SET LOCAL lock_timeout = '5s';

CREATE TABLE IF NOT EXISTS haulier.progress (
    job_id uuid             NOT NULL,
    claim  uuid             NOT NULL,
    done   double precision NOT NULL,
    total  double precision,                                -- null: not known
    note   text,
    at     timestamptz      NOT NULL,                       -- when it was said

    CONSTRAINT progress_pkey PRIMARY KEY (job_id, claim),
    -- Up to 2^53, which every client can read. NaN is greater.
    CONSTRAINT progress_in_range CHECK (least(done, total) >= 0 AND greatest(done, total) <= 9007199254740992),
    CONSTRAINT note_up_to_200 CHECK (length(note) <= 200)
) WITH (
    fillfactor = 50,                                        -- a write updates its row in place
    autovacuum_vacuum_scale_factor = 0,
    autovacuum_vacuum_threshold = 500,
    autovacuum_vacuum_cost_delay = 0
);

DO $do$
BEGIN
    -- Where it is there, later versions may have added columns behind it, which CREATE OR REPLACE cannot take away.
    IF NOT EXISTS (SELECT FROM pg_attribute WHERE attrelid = 'haulier.jobs'::regclass AND attname = 'progress') THEN
        CREATE OR REPLACE VIEW haulier.jobs AS
        SELECT
            id, status, kind, queue, priority, run_at, worker_id, attempt, claim, started_at, attempts, max_attempts,
            crashes, snoozes, backoff, timeout_seconds, cancel_requested, payload, idempotency_key, last_error, errors,
            created_at, updated_at, NULL::timestamptz AS finished_at, NULL::jsonb AS result,
            (
                SELECT jsonb_build_object(
                    'done', done,
                    'total', total,
                    'note', note,
                    'at', to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'))
                FROM haulier.progress
                WHERE job.worker_id IS NOT NULL AND progress.job_id = job.id AND progress.claim = job.claim
            ) AS progress
        FROM haulier.job
        UNION ALL
        SELECT
            id, status, kind, queue, priority, run_at, NULL::uuid, attempt, claim, started_at, attempts, max_attempts,
            crashes, snoozes, NULL::double precision, timeout_seconds, cancel_requested, payload, idempotency_key,
            last_error, errors, created_at, updated_at, finished_at, result, NULL::jsonb
        FROM haulier.finished_job;
    END IF;
END
$do$;

-- As grants.sql does, for whoever may claim jobs: so workers of version 8 write progress before it is applied again.
DO $do$
DECLARE
    caller regrole;
BEGIN
    FOR caller IN
        SELECT DISTINCT grantee
        FROM (
            SELECT relacl AS acl FROM pg_class WHERE oid = 'haulier.job'::regclass
            UNION ALL
            SELECT attacl FROM pg_attribute WHERE attrelid = 'haulier.job'::regclass AND attname = 'claim'
        ) AS given
        CROSS JOIN aclexplode(acl)
        WHERE privilege_type = 'UPDATE'
            AND grantee NOT IN (0, (SELECT relowner FROM pg_class WHERE oid = 'haulier.job'::regclass))
    LOOP
        EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON haulier.progress TO %s', caller);
    END LOOP;
END
$do$;

UPDATE haulier.schema_version SET version = 8;
