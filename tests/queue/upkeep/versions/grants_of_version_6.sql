-- The rights of the two programs, each under a role of its own and none of them the owner's: apply it after `migrate`,
-- and after each `migrate` that brings a new version of the schema. It may be repeated, and needs a superuser or who
-- administers the three roles.
--     psql "$DATABASE_URL" --single-transaction -v ON_ERROR_STOP=1 -v web=haulier_web -v worker=haulier_worker -f grants.sql
-- `web` accepts jobs, shows them, cancels and retries; `worker` runs them. Neither reads a table that is not Haulier's.

-- Whoever applies it may do much: no name in here is to mean what somebody else made in `public`.
SET LOCAL search_path = pg_catalog, pg_temp;

-- The programs say so in each transaction. This is for what is said by hand, under one of the two roles.
ALTER ROLE :"web" SET search_path = pg_catalog, pg_temp;
ALTER ROLE :"worker" SET search_path = pg_catalog, pg_temp;

-- What an earlier version gave.
REVOKE ALL ON ALL TABLES IN SCHEMA haulier FROM :"web", :"worker";
GRANT USAGE ON SCHEMA haulier TO :"web", :"worker";
GRANT SELECT ON haulier.schema_version TO :"web", :"worker";

-- The API ------------------------------------------------------------------------------------------------------

-- enqueue, retry; a job's state, fence and attempts are not its to write
GRANT INSERT (id, kind, payload, queue, priority, run_at, max_attempts, timeout_seconds, idempotency_key, attempt,
    claim, started_at, crashes, last_error, errors, created_at) ON haulier.job TO :"web";
GRANT SELECT ON haulier.job, haulier.jobs TO :"web";
-- cancel: one that waits leaves for history, of one that runs the flag is raised
GRANT DELETE, UPDATE (cancel_requested, updated_at) ON haulier.job TO :"web";
GRANT SELECT, INSERT, DELETE ON haulier.finished_job TO :"web";
GRANT SELECT, INSERT ON haulier.idempotency TO :"web";
GRANT SELECT ON haulier.worker TO :"web";
-- keys are made, and the record is read, by `python -m app`, as the owner
GRANT SELECT, UPDATE (last_used_at) ON haulier.api_key TO :"web";
GRANT SELECT, INSERT, UPDATE ON haulier.rate_budget TO :"web";
GRANT INSERT (actor, action, job_id) ON haulier.audit TO :"web";

-- The worker ---------------------------------------------------------------------------------------------------

-- claim and settle; what is to be done it neither adds nor changes
GRANT SELECT, DELETE ON haulier.job TO :"worker";
GRANT UPDATE (status, worker_id, claim, attempt, attempts, started_at, updated_at, crashes, snoozes, backoff, run_at,
    last_error, errors) ON haulier.job TO :"worker";
GRANT SELECT ON haulier.jobs, haulier.lane TO :"worker";
GRANT INSERT ON haulier.finished_job TO :"worker";
GRANT SELECT, INSERT, UPDATE, DELETE ON haulier.worker TO :"worker";
GRANT SELECT, INSERT, DELETE ON haulier.sleeper TO :"worker";
-- housekeeping; to lock a row takes the right to change one of its columns
GRANT SELECT, DELETE, UPDATE (created_at) ON haulier.idempotency TO :"worker";
GRANT SELECT, DELETE, UPDATE (at) ON haulier.audit TO :"worker";

-- History's partitions are made and dropped by the worker, which Postgres lets their owner alone do. So the worker is a
-- member of the owner, but NOINHERIT: it has the owner's rights only in those statements, where it takes its role.
SELECT set_config('haulier.worker', :'worker', true);
DO $do$
DECLARE
    owner  text := (SELECT pg_get_userbyid(relowner) FROM pg_class WHERE oid = 'haulier.finished_job'::regclass);
    worker text := current_setting('haulier.worker');
BEGIN
    IF (SELECT rolsuper FROM pg_roles WHERE rolname = owner) THEN
        RAISE EXCEPTION 'the schema haulier belongs to %, a superuser: its members could do anything', owner
            USING HINT = 'Run migrate as a role of its own. See docs/operations.md, "Roles of their own".';
    END IF;
    EXECUTE format('ALTER ROLE %I NOINHERIT', worker);
    EXECUTE format('GRANT %I TO %I', owner, worker);
END
$do$;
