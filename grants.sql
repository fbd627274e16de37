-- The rights of the two programs, each under a role of its own that is not the owner. Apply this after `migrate`, and
-- again after each `migrate` that brings a new version of the schema. It may be repeated, and needs a superuser, or a
-- role that administers the three roles.
--     psql "$DATABASE_URL" --single-transaction -v ON_ERROR_STOP=1 -v web=haulier_web -v worker=haulier_worker -f grants.sql
-- `web` accepts jobs, shows, changes, cancels, retries, copies and deletes them; `worker` runs them. Neither reads a table that is not Haulier's.

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
GRANT USAGE ON SCHEMA haulier TO :"web", :"worker";
GRANT SELECT ON haulier.schema_version TO :"web", :"worker";
-- what anybody may call, unless the owner's default privileges keep new functions from all
GRANT EXECUTE ON FUNCTION haulier.uuidv7(), haulier.running(), haulier.tagged(text[], bigint),
    haulier.history_partitions(), haulier.partition_to_add(text, integer), haulier.detached_partitions()
    TO :"web", :"worker";

-- The API ------------------------------------------------------------------------------------------------------

-- enqueue, copy and retry, without the right to write a job's state, worker and used attempts
GRANT INSERT (id, kind, payload, queue, priority, run_at, max_attempts, timeout_seconds, idempotency_key, tags, copy_of,
    attempt, claim, started_at, crashes, last_error, errors, created_at, operation_id, schedule, scheduled_for)
    ON haulier.job TO :"web";
GRANT SELECT ON haulier.job, haulier.finished_job, haulier.jobs TO :"web";
GRANT SELECT, INSERT (key, fingerprint, job_id) ON haulier.idempotency TO :"web";
-- change and cancel; a job that is cancelled moves to history, one that is retried moves back
GRANT UPDATE (payload, queue, priority, run_at, max_attempts, timeout_seconds, tags, cancel_requested, operation_id,
    updated_at), DELETE ON haulier.job TO :"web";
GRANT INSERT, DELETE ON haulier.finished_job TO :"web";
-- to lock a row takes the right to update one of its columns
GRANT UPDATE (updated_at) ON haulier.finished_job TO :"web";
GRANT EXECUTE ON FUNCTION haulier.wake(text[]) TO :"web", :"worker";
GRANT SELECT ON haulier.worker, haulier.worker_past TO :"web";
-- making keys takes `python -m haulier` under the owner, or `-v web_makes_keys=yes` with this file
GRANT SELECT, UPDATE (last_used_at) ON haulier.api_key TO :"web";
SELECT set_config('haulier.web', :'web', true), set_config('haulier.web_makes_keys', :'web_makes_keys', true);
DO $do$
BEGIN
    IF current_setting('haulier.web_makes_keys') = 'yes' THEN
        EXECUTE format(
            'GRANT EXECUTE ON FUNCTION'
            ' haulier.create_key(text, text, bytea, text[], text[], double precision, interval, text),'
            ' haulier.rotate_key(text, bytea, interval, text), haulier.revoke_key(text, text) TO %I',
            current_setting('haulier.web'));
    ELSIF current_setting('haulier.web_makes_keys') <> 'no' THEN
        RAISE EXCEPTION 'web_makes_keys is yes or no, and not %', current_setting('haulier.web_makes_keys');
    END IF;
END
$do$;
-- what operators did: an entry about a job or an operation is added in the transaction that does it, at that time; none is changed
GRANT SELECT, INSERT (actor, action, job_id, target, details) ON haulier.audit TO :"web";
GRANT SELECT, INSERT, UPDATE ON haulier.rate_budget TO :"web";
-- the sessions of the dashboard; to lock a row takes the right to update one of its columns. Functions open one, and
-- record that somebody signs in or out.
GRANT SELECT, UPDATE (seen_at, expires_at), DELETE ON haulier.session TO :"web";
GRANT EXECUTE ON FUNCTION haulier.open_session(bytea, text, bytea, interval, bigint), haulier.sign_out(bytea) TO :"web";
GRANT SELECT (hash, expires_at), UPDATE (seen_at), DELETE ON haulier.session TO :"worker";
-- the names of queues that it accepts; purging them is the worker's housekeeping
GRANT SELECT, INSERT (name, key_id), UPDATE (used_at) ON haulier.queue TO :"web";
-- the queues that are paused: only by these functions, which record it
GRANT SELECT ON haulier.pause TO :"web";
GRANT EXECUTE ON FUNCTION haulier.pause_queue(text, timestamptz, text), haulier.resume_queue(text, text) TO :"web";
-- the numbers, which a worker counts
GRANT SELECT ON haulier.rollup, haulier.moved, haulier.depth, haulier.counting TO :"web";
-- that a job was moved to another queue
GRANT INSERT ON haulier.moved TO :"web";
-- the failed attempts, which workers note; muting is recorded, as above
GRANT SELECT ON haulier.error_group, haulier.error_count TO :"web";
GRANT EXECUTE ON FUNCTION haulier.mute_errors(bigint, timestamptz, text) TO :"web";
GRANT EXECUTE ON FUNCTION haulier.quiet_worker(uuid, boolean, text) TO :"web";
-- operations: what one says is written once. Where no worker lives, the API works them off.
GRANT SELECT, INSERT (action, filter, changes, queues, spread_seconds, actor, as_of, unseen, doubted, cluster, matched,
    matched_is, starts_at, next_at) ON haulier.operation TO :"web";
GRANT SELECT, INSERT (as_of, action, filter, queues, unseen, doubted, cluster), UPDATE (matched, matched_is)
    ON haulier.preview TO :"web";
GRANT UPDATE (status, matched, matched_is, done, skipped, failed, started_at, finished_at, error, cursor_at, cursor_id,
    walked_at, later, next_at, tries, waits_since, worked_by, worked_until, worked_at)
    ON haulier.operation TO :"web", :"worker";
-- schedules: whoever changes one decides the ticks that are due first; the functions enqueue what schedules say, no more
-- To lock a row takes the right to update one of its columns.
GRANT SELECT, UPDATE (updated_at) ON haulier.schedule TO :"web", :"worker";
GRANT SELECT ON haulier.tick TO :"web", :"worker";
GRANT EXECUTE ON FUNCTION
    haulier.put_schedule(text, jsonb, timestamptz, timestamptz, timestamptz, boolean, jsonb, text),
    haulier.delete_schedule(text, text), haulier.pause_schedule(text, timestamptz, text),
    haulier.resume_schedule(text, text), haulier.run_schedule(text, text) TO :"web";
GRANT EXECUTE ON FUNCTION haulier.schedule_time(), haulier.put_off(text, text, boolean),
    haulier.decide_ticks(
        text[], integer[], timestamptz[], timestamptz[], timestamptz[], timestamptz[], integer[], timestamptz[], text[]),
    haulier.decide_apart(
        integer, text[], integer[], timestamptz[], timestamptz[], timestamptz[], timestamptz[], integer[], timestamptz[],
        text[])
    TO :"web", :"worker";

-- The worker ---------------------------------------------------------------------------------------------------

-- claim, settle and work operations off, without the right to change what a live job does
GRANT SELECT, DELETE ON haulier.job TO :"worker";
GRANT UPDATE (status, worker_id, claim, attempt, attempts, started_at, updated_at, crashes, snoozes, backoff, run_at,
    last_error, errors, error_id, queue, priority, cancel_requested, operation_id) ON haulier.job TO :"worker";
GRANT INSERT (id, kind, payload, queue, priority, run_at, max_attempts, timeout_seconds, idempotency_key, tags, copy_of,
    attempt, claim, started_at, crashes, last_error, errors, created_at, operation_id, schedule, scheduled_for)
    ON haulier.job TO :"worker";
GRANT SELECT ON haulier.jobs, haulier.lane, haulier.pause TO :"worker";
GRANT SELECT, INSERT, DELETE, UPDATE (updated_at) ON haulier.finished_job TO :"worker";
GRANT SELECT, INSERT, UPDATE, DELETE ON haulier.worker TO :"worker";
GRANT SELECT, INSERT, DELETE ON haulier.sleeper TO :"worker";
GRANT SELECT, INSERT, UPDATE, DELETE ON haulier.progress TO :"worker";
-- housekeeping; to lock a row takes the right to update one of its columns
GRANT SELECT, DELETE, UPDATE (created_at) ON haulier.idempotency TO :"worker";
GRANT SELECT, DELETE, UPDATE (at) ON haulier.audit TO :"worker";
GRANT SELECT, DELETE, UPDATE (ended_at) ON haulier.worker_past TO :"worker";
GRANT DELETE, UPDATE (decided_at) ON haulier.tick TO :"worker";
GRANT SELECT, DELETE, UPDATE (used_at) ON haulier.queue TO :"worker";
GRANT SELECT, DELETE ON haulier.operation TO :"worker";
GRANT SELECT, DELETE, UPDATE (matched) ON haulier.preview TO :"worker";
-- the numbers: what it counts it reads from the tables above
GRANT SELECT, INSERT, UPDATE, DELETE ON haulier.rollup, haulier.depth TO :"worker";
GRANT SELECT, INSERT, UPDATE ON haulier.counting TO :"worker";
GRANT SELECT, INSERT, DELETE ON haulier.moved TO :"worker";
GRANT EXECUTE ON FUNCTION haulier.summarize_history() TO :"worker";
-- the failed attempts
GRANT SELECT, INSERT, DELETE ON haulier.error_group TO :"worker";
GRANT SELECT, INSERT, UPDATE, DELETE ON haulier.error_count TO :"worker";

-- The worker makes and drops history's partitions, which Postgres lets only their owner do. So it calls functions that
-- run with the owner's rights, and that decide by themselves what is due.
GRANT EXECUTE ON FUNCTION haulier.add_partition(text, integer), haulier.finish_detach(oid),
    haulier.detach_partition(oid, integer), haulier.drop_partition(oid) TO :"worker";

-- Neither program may be a member of the owner: members can take the owner's role.
SELECT set_config('haulier.programs', json_build_array(:'web', :'worker')::text, true);
DO $do$
DECLARE
    owner   regrole := (SELECT relowner FROM pg_class WHERE oid = 'haulier.finished_job'::regclass);
    program regrole;
BEGIN
    IF (SELECT rolsuper FROM pg_roles WHERE oid = owner) THEN
        RAISE EXCEPTION 'the schema haulier belongs to %, a superuser: its functions could do anything', owner
            USING HINT = 'Run migrate as a role of its own. See docs/database.md, "Roles of their own".';
    END IF;
    FOR program IN
        SELECT oid FROM pg_roles
        WHERE rolname IN (SELECT json_array_elements_text(current_setting('haulier.programs')::json))
    LOOP
        IF pg_has_role(program, owner, 'MEMBER') THEN
            RAISE EXCEPTION '% is %, or a member of it', program, owner
                USING HINT = format('Run REVOKE %s FROM %s. See docs/database.md, "Roles of their own".', owner, program);
        END IF;
    END LOOP;
END
$do$;
