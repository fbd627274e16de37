-- The rights of the two programs, each under a role of its own that is not the owner. Apply this after `migrate`, and
-- again after each `migrate` that brings a new version of the schema. It may be repeated, and needs a superuser, or a
-- role that administers the three roles.
--     psql "$DATABASE_URL" --single-transaction -v ON_ERROR_STOP=1 -v web=haulier_web -v worker=haulier_worker -f grants.sql
-- docs/database.md lists what each role can do.

-- With `-v web_makes_keys=yes` the API may also make, rotate and revoke API keys: whoever takes over a web process could
-- then make one that may do everything.
\if :{?web_makes_keys}
\else
\set web_makes_keys no
\endif

-- The role that applies this has many rights: no name below may lead to an object that somebody else made in `public`.
SET LOCAL search_path = pg_catalog, pg_temp;

-- The programs set this path in each transaction. Here it is set for what people run by hand under these roles.
ALTER ROLE :"web" SET search_path = pg_catalog, pg_temp;
ALTER ROLE :"worker" SET search_path = pg_catalog, pg_temp;

-- Take away what this file granted before: it may have granted more then.
REVOKE ALL ON ALL TABLES IN SCHEMA haulier FROM :"web", :"worker";
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA haulier FROM :"web", :"worker";

-- Both ---------------------------------------------------------------------------------------------------------

GRANT USAGE ON SCHEMA haulier TO :"web", :"worker";
-- what anybody may call, unless the owner's default privileges keep new functions from all
GRANT EXECUTE ON FUNCTION haulier.uuidv7, haulier.running, haulier.tagged, haulier.history_partitions,
    haulier.partition_to_add, haulier.detached_partitions, haulier.schedule_time TO :"web", :"worker";
GRANT SELECT ON haulier.schema_version, haulier.job, haulier.finished_job, haulier.jobs, haulier.worker, haulier.worker_past,
    haulier.idempotency, haulier.audit, haulier.queue, haulier.pause, haulier.rollup, haulier.moved, haulier.depth,
    haulier.counting, haulier.error_group, haulier.error_count, haulier.operation, haulier.preview, haulier.schedule,
    haulier.tick, haulier.progress, haulier.deployment TO :"web", :"worker";
-- enqueue, copy and retry, without the right to write a job's state, worker and used attempts
GRANT INSERT (<<set_by_clients>>, run_at, <<kept_by_a_retry>>, suspect, operation_id) ON haulier.job TO :"web", :"worker";
GRANT EXECUTE ON FUNCTION haulier.wake TO :"web", :"worker";
-- move a job to history when it ends, and back when it is retried. To lock a row takes the right to update one of its
-- columns, here as below.
GRANT DELETE ON haulier.job TO :"web", :"worker";
GRANT INSERT, DELETE, UPDATE (updated_at) ON haulier.finished_job TO :"web", :"worker";
-- that a job was moved to another queue
GRANT INSERT ON haulier.moved TO :"web", :"worker";
-- which release came when
GRANT INSERT (process, release), DELETE ON haulier.deployment TO :"web", :"worker";
-- work off operations, which the API does while no worker lives
GRANT UPDATE (status, matched, matched_is, done, skipped, failed, started_at, finished_at, error, cursor_at, cursor_id,
    walked_at, later, next_at, tries, waits_since, worked_by, worked_until, worked_at, timed_since, timed_from)
    ON haulier.operation TO :"web", :"worker";
-- decide the ticks of schedules: whoever changes a schedule decides those that are due first. The functions enqueue what
-- schedules say, no more.
GRANT UPDATE (updated_at) ON haulier.schedule TO :"web", :"worker";
GRANT EXECUTE ON FUNCTION haulier.decide_ticks, haulier.decide_apart, haulier.put_off TO :"web", :"worker";

-- The API ------------------------------------------------------------------------------------------------------

-- change and cancel jobs
GRANT UPDATE (<<updated_by_the_api>>) ON haulier.job TO :"web";
GRANT INSERT (key, fingerprint, job_id) ON haulier.idempotency TO :"web";
-- making keys takes `python -m haulier` under the owner, or `-v web_makes_keys=yes` with this file
GRANT SELECT, UPDATE (last_used_at) ON haulier.api_key TO :"web";
SELECT set_config('haulier.web', :'web', true), set_config('haulier.web_makes_keys', :'web_makes_keys', true);
DO $do$
BEGIN
    IF current_setting('haulier.web_makes_keys') = 'yes' THEN
        EXECUTE format(
            'GRANT EXECUTE ON FUNCTION haulier.create_key, haulier.rotate_key, haulier.revoke_key TO %I',
            current_setting('haulier.web'));
    ELSIF current_setting('haulier.web_makes_keys') <> 'no' THEN
        RAISE EXCEPTION 'web_makes_keys must be yes or no, not %', current_setting('haulier.web_makes_keys');
    END IF;
END
$do$;
GRANT SELECT, INSERT, UPDATE ON haulier.rate_budget TO :"web";
-- what operators did: an entry about a job, an operation or a notice is added in the transaction that does it; none is
-- changed. All other entries are added by functions, of which each writes what it did.
GRANT INSERT (actor, action, job_id, target, details) ON haulier.audit TO :"web";
GRANT EXECUTE ON FUNCTION haulier.open_session, haulier.sign_out, haulier.pause_queue, haulier.resume_queue,
    haulier.mute_errors, haulier.quiet_worker, haulier.put_schedule, haulier.delete_schedule, haulier.pause_schedule,
    haulier.resume_schedule, haulier.run_schedule TO :"web";
GRANT SELECT, UPDATE (seen_at, expires_at), DELETE ON haulier.session TO :"web";
-- notices that somebody has acknowledged
GRANT SELECT, INSERT (rule, thing, size, sight, actor), UPDATE (size, actor, at), DELETE ON haulier.acknowledged TO :"web";
-- the names of queues that it accepts; purging them is the worker's housekeeping
GRANT INSERT (name, key_id), UPDATE (used_at) ON haulier.queue TO :"web";
-- start operations: what one says is written once
GRANT INSERT (action, filter, changes, queues, spread_seconds, actor, as_of, unseen, doubted, cluster, matched, matched_is,
    starts_at, next_at) ON haulier.operation TO :"web";
GRANT INSERT (as_of, action, filter, queues, unseen, doubted, cluster), UPDATE (matched, matched_is)
    ON haulier.preview TO :"web";

-- The worker ---------------------------------------------------------------------------------------------------

-- claim, settle and work operations off, without the right to change what a live job does
GRANT UPDATE (<<updated_by_workers>>) ON haulier.job TO :"worker";
GRANT SELECT ON haulier.lane TO :"worker";
GRANT INSERT, UPDATE, DELETE ON haulier.worker TO :"worker";
GRANT SELECT, INSERT, DELETE ON haulier.sleeper TO :"worker";
GRANT INSERT, UPDATE, DELETE ON haulier.progress TO :"worker";
-- housekeeping
GRANT DELETE, UPDATE (created_at) ON haulier.idempotency TO :"worker";
GRANT DELETE, UPDATE (ended_at, taken_over, taken_over_jobs) ON haulier.worker_past TO :"worker";
GRANT DELETE, UPDATE (decided_at) ON haulier.tick TO :"worker";
GRANT DELETE, UPDATE (used_at) ON haulier.queue TO :"worker";
GRANT DELETE, UPDATE (matched) ON haulier.preview TO :"worker";
GRANT SELECT (hash, expires_at), UPDATE (seen_at), DELETE ON haulier.session TO :"worker";
GRANT DELETE ON haulier.operation, haulier.moved TO :"worker";
-- the numbers, and the failed attempts
GRANT INSERT, UPDATE, DELETE ON haulier.rollup, haulier.depth, haulier.error_count TO :"worker";
GRANT INSERT, UPDATE ON haulier.counting TO :"worker";
GRANT INSERT, DELETE ON haulier.error_group TO :"worker";
-- Only the owner of the history can make and drop its partitions. These functions run with the owner's rights, and decide
-- by themselves what is due.
GRANT EXECUTE ON FUNCTION haulier.add_partition, haulier.finish_detach, haulier.detach_partition, haulier.drop_partition,
    haulier.summarize_history, haulier.purge_audit TO :"worker";

-- Neither program may be a member of the owner: members can take the owner's role.
SELECT set_config('haulier.programs', json_build_array(:'web', :'worker')::text, true);
DO $do$
DECLARE
    owner   regrole := (SELECT relowner FROM pg_class WHERE oid = 'haulier.finished_job'::regclass);
    program regrole;
BEGIN
    IF (SELECT rolsuper FROM pg_roles WHERE oid = owner) THEN
        RAISE EXCEPTION 'the schema haulier belongs to the superuser %: its functions could do anything', owner
            USING HINT = 'Run migrate as a role of its own. See docs/database.md, "Roles of their own".';
    END IF;
    FOR program IN
        SELECT oid FROM pg_roles
        WHERE rolname IN (SELECT json_array_elements_text(current_setting('haulier.programs')::json))
    LOOP
        IF pg_has_role(program, owner, 'MEMBER') THEN
            RAISE EXCEPTION '% is the role %, or a member of it', program, owner
                USING HINT = format('Run REVOKE %s FROM %s. See docs/database.md, "Roles of their own".', owner, program);
        END IF;
    END LOOP;
END
$do$;
