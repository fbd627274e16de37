-- does: Adds the groups of failed attempts and their counts, and the group to the view of all jobs. A worker under a role of
--      its own may write them, and the API read and mute them, and quiet a worker. Lets the numbers keep when few jobs came.
-- locks jobs: ACCESS EXCLUSIVE, for a moment
-- locks job: ACCESS EXCLUSIVE, for a moment
-- locks finished_job: ACCESS EXCLUSIVE, for a moment
-- locks audit: ACCESS EXCLUSIVE, while it is read
-- locks rollup: ACCESS EXCLUSIVE, for a moment

SET LOCAL search_path = pg_catalog, pg_temp;
SET LOCAL lock_timeout = '5s';

-- Locks the view, which others lock before the tables beneath it.
ALTER VIEW haulier.jobs RESET (security_barrier);
ALTER TABLE haulier.job ADD COLUMN IF NOT EXISTS error_id bigint;
ALTER TABLE haulier.finished_job ADD COLUMN IF NOT EXISTS error_id bigint;

DO $do$
BEGIN
    -- Where it is there, later versions may have added columns behind it, which CREATE OR REPLACE cannot take away.
    IF NOT EXISTS (SELECT FROM pg_attribute WHERE attrelid = 'haulier.jobs'::regclass AND attname = 'error_id') THEN
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
            ) AS progress,
            error_id
        FROM haulier.job
        UNION ALL
        SELECT
            id, status, kind, queue, priority, run_at, NULL::uuid, attempt, claim, started_at, attempts, max_attempts,
            crashes, snoozes, NULL::double precision, timeout_seconds, cancel_requested, payload, idempotency_key,
            last_error, errors, created_at, updated_at, finished_at, result, NULL::jsonb, error_id
        FROM haulier.finished_job;
    END IF;
END
$do$;

ALTER TABLE haulier.rollup
    ADD COLUMN IF NOT EXISTS came_from timestamptz,
    ADD COLUMN IF NOT EXISTS came_to timestamptz;

-- The failed attempts, in groups by what their errors have in common (haulier/domain/fingerprint.py). Only a settle that
-- holds a failure writes here, in its own transaction. A group is written once.
CREATE TABLE IF NOT EXISTS haulier.error_group (
    id            bigint      NOT NULL,
    kind          text        NOT NULL,
    text          text        NOT NULL,                     -- the error without what differs from job to job
    example       text        NOT NULL,                     -- the first error, whole …
    example_job   uuid        NOT NULL,                     -- … whose job this was …
    example_queue text        NOT NULL,                     -- … in this queue
    first_seen    timestamptz NOT NULL DEFAULT now(),
    muted_until   timestamptz,
    muted_by      text,                                     -- as `actor` of the audit

    CONSTRAINT error_group_pkey PRIMARY KEY (id)
);

-- How many attempts failed, by group and time. A row for each process of the server that settles: no two transactions
-- wait for each other. After 2 minutes the worker that counts sums them into one row, and later into those of longer steps.
CREATE TABLE IF NOT EXISTS haulier.error_count (
    error_id bigint      NOT NULL,
    minute   timestamptz NOT NULL,                          -- when it began; of a longer step: when that began
    queue    text        NOT NULL,
    source   integer     NOT NULL,                          -- pg_backend_pid(); 0: all of them; -300, …: of 300 s
    failed   integer     NOT NULL,                          -- for good
    retried  integer     NOT NULL,                          -- to be tried again

    CONSTRAINT error_count_pkey PRIMARY KEY (error_id, minute, queue, source)
) WITH (
    fillfactor = 70,
    autovacuum_vacuum_scale_factor = 0,
    autovacuum_vacuum_threshold = 2000,
    autovacuum_vacuum_cost_delay = 0
);

-- list_errors: what was seen in a span; fold_error_sources, fold_error_steps: what is old
CREATE INDEX IF NOT EXISTS error_count_newest ON haulier.error_count (source, minute);

ALTER TABLE haulier.audit ADD COLUMN IF NOT EXISTS target text;
ALTER TABLE haulier.audit
    DROP CONSTRAINT IF EXISTS action_is_known,
    DROP CONSTRAINT IF EXISTS done_to_a_job_or_a_key,
    DROP CONSTRAINT IF EXISTS done_to_one_thing,
    ADD CONSTRAINT action_is_known CHECK (
        action IN (
            'cancel', 'retry', 'create_key', 'rotate_key', 'revoke_key', 'mute', 'unmute', 'quiet', 'unquiet')),
    ADD CONSTRAINT done_to_one_thing CHECK (num_nonnulls(job_id, key_id, target) = 1);

-- Mute a group of errors until then, or, with null, no longer. Return whether there is such a group.
CREATE OR REPLACE FUNCTION haulier.mute_errors(muted bigint, until timestamptz, by_whom text) RETURNS boolean
LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    UPDATE haulier.error_group
    SET muted_until = until,
        muted_by = CASE WHEN until IS NOT NULL THEN by_whom END
    WHERE id = muted;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    INSERT INTO haulier.audit (actor, action, target)
    VALUES (by_whom, CASE WHEN until IS NULL THEN 'unmute' ELSE 'mute' END, lpad(to_hex(muted), 16, '0'));
    RETURN true;
END
$$;

-- Let a worker claim no more, or claim again; what it runs goes on. Return whether there is such a worker.
CREATE OR REPLACE FUNCTION haulier.quiet_worker(quieted uuid, is_quiet boolean, by_whom text) RETURNS boolean
LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    UPDATE haulier.worker
    SET quiet = is_quiet
    WHERE id = quieted AND quiet <> is_quiet;
    IF FOUND THEN
        INSERT INTO haulier.audit (actor, action, target)
        VALUES (by_whom, CASE WHEN is_quiet THEN 'quiet' ELSE 'unquiet' END, quieted::text);
    END IF;
    PERFORM FROM haulier.worker WHERE id = quieted;
    RETURN FOUND;
END
$$;

REVOKE ALL ON FUNCTION haulier.mute_errors(bigint, timestamptz, text), haulier.quiet_worker(uuid, boolean, text) FROM PUBLIC;

-- As grants.sql does, for whoever may claim jobs and for whoever may cancel them: so programs of version 11 work before
-- it is applied again.
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
        EXECUTE format('GRANT UPDATE (error_id) ON haulier.job TO %s', caller);
        EXECUTE format('GRANT SELECT, INSERT, DELETE ON haulier.error_group TO %s', caller);
        EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON haulier.error_count TO %s', caller);
    END LOOP;
    FOR caller IN
        SELECT DISTINCT grantee
        FROM pg_proc
        CROSS JOIN aclexplode(proacl)
        WHERE pg_proc.oid = 'haulier.cancel(uuid, text)'::regprocedure AND grantee NOT IN (0, proowner)
    LOOP
        EXECUTE format('GRANT SELECT ON haulier.error_group, haulier.error_count TO %s', caller);
        EXECUTE format('GRANT EXECUTE ON FUNCTION haulier.mute_errors(bigint, timestamptz, text) TO %s', caller);
        EXECUTE format('GRANT EXECUTE ON FUNCTION haulier.quiet_worker(uuid, boolean, text) TO %s', caller);
    END LOOP;
END
$do$;
