-- Built from haulier/schema by `make schema`: change the files there, not this one.

-- Haulier's schema: tables, constraints and functions. (The statements that use them are in the .sql files of
-- haulier/queue.)
-- Apply it with `python -m haulier migrate`, or with `psql --single-transaction -f schema.sql`.
-- It fills an empty database, may be applied again and by several at once, refuses a database of another version, and
-- needs only CREATE on the database. PostgreSQL 14 to 18.

-- The names below are looked up in pg_catalog, now and when the code runs. On the caller's own search_path a function
-- that somebody made in `public` could fit an expression better, and would run with the rights of the inserting role.
SET LOCAL search_path = pg_catalog, pg_temp;

-- The version of this file, and the oldest program's version that works with it.
SELECT set_config('haulier.version', '1', true), set_config('haulier.compatible_from', '1', true);

-- Two processes that apply this file at once take turns, by a lock on a table, which only the owner can take. Before
-- the table exists it is an advisory lock, which anybody can hold: so the wait for it is limited.
SELECT set_config('lock_timeout', '30s', true) WHERE current_setting('lock_timeout') = '0';
DO $do$
DECLARE
    wanted  CONSTANT integer := current_setting('haulier.version');
    present record;
BEGIN
    IF to_regclass('haulier.schema_version') IS NULL THEN
        PERFORM pg_advisory_xact_lock(7236837241);
    END IF;
    -- Not to_regclass again: its cache is not refreshed by the wait for that lock.
    IF EXISTS (
        SELECT FROM pg_class
        JOIN pg_namespace ON pg_namespace.oid = relnamespace
        WHERE nspname = 'haulier' AND relname = 'schema_version'
    ) THEN
        LOCK TABLE haulier.schema_version IN SHARE ROW EXCLUSIVE MODE;
        -- Nothing below would change an existing table.
        SELECT version, to_jsonb(schema_version) ? 'fingerprint' AS is_known INTO present FROM haulier.schema_version;
        IF NOT present.is_known THEN  -- null, and so no, if there is no row
            RAISE EXCEPTION 'this schema was made by a development build before version 1'
                USING HINT = 'Create it again after DROP SCHEMA haulier CASCADE, which deletes all jobs.';
        ELSIF present.version <> wanted THEN
            RAISE EXCEPTION 'the database has schema version %, but this file has version %', present.version, wanted
                USING HINT = CASE
                    WHEN present.version < wanted THEN 'Run `haulier migrate`.'
                    ELSE 'A newer release made it.'
                END;
        END IF;
    END IF;
END
$do$;

CREATE SCHEMA IF NOT EXISTS haulier;

-- Tables are locked below in the order in which running programs lock them (keys, workers, jobs, history), so that the
-- two never deadlock.

-- Version -----------------------------------------------------------------------------------------------------

CREATE TABLE IF NOT EXISTS haulier.schema_version (
    version         integer NOT NULL,                       -- of the schema in this database
    compatible_from integer NOT NULL,                       -- the oldest program's schema version that still works
    fingerprint     text,                                   -- of the schema.sql that `migrate` had; null: psql ran it
    cell            integer CHECK (cell BETWEEN 1 AND 255), -- with which ids end; null: this is the only database
    one_row         boolean PRIMARY KEY DEFAULT true CHECK (one_row)
);


-- Ids ---------------------------------------------------------------------------------------------------------

-- UUIDv7: new ids go to the right edge of every index. PostgreSQL 18 makes them itself. The function has no SET clause,
-- since with one it would not be inlined, and each INSERT would have to call it.
DO $do$
BEGIN
    IF current_setting('server_version_num')::integer >= 180000 THEN
        -- The body is a string with qualified names: a dump can then be restored also into an older server, which lacks
        -- pg_catalog.uuidv7().
        CREATE OR REPLACE FUNCTION haulier.uuidv7() RETURNS uuid LANGUAGE sql VOLATILE PARALLEL SAFE
        AS 'SELECT pg_catalog.uuidv7()';
    ELSE
        -- 48 bits of milliseconds over a random (version 4) uuid, whose version bits 0100 become 0111.
        -- The body is no string, so its names are looked up now. Those of a string would be looked up at each INSERT,
        -- on the search_path of the inserting role.
        CREATE OR REPLACE FUNCTION haulier.uuidv7() RETURNS uuid LANGUAGE sql VOLATILE PARALLEL SAFE
        RETURN encode(
            set_bit(set_bit(
                overlay(uuid_send(gen_random_uuid())
                        PLACING substring(int8send((extract(epoch FROM clock_timestamp()) * 1000)::bigint) FROM 3)
                        FROM 1 FOR 6),
                52, 1), 53, 1),
            'hex')::uuid;
    END IF;
END
$do$;

-- Make this database the cell of this number, which it stays, under a lock on haulier.schema_version. Its ids are
-- UUIDv8: as above, but the last byte is the number, a constant of the body, which is inlined.
CREATE OR REPLACE FUNCTION haulier.set_cell(number integer) RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    last_byte CONSTANT text := lpad(to_hex(number), 2, '0');
BEGIN
    UPDATE haulier.schema_version SET cell = number WHERE coalesce(cell, number) = number;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'this database is another cell, whose number is in the ids of its jobs and cannot change'
            USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    IF current_setting('server_version_num')::integer >= 180000 THEN
        EXECUTE format(
            $do$
            CREATE OR REPLACE FUNCTION haulier.uuidv7() RETURNS uuid LANGUAGE sql VOLATILE PARALLEL SAFE
            AS $body$
                SELECT overlay(overlay(pg_catalog.uuidv7()::pg_catalog.text PLACING '8' FROM 15) PLACING %L FROM 35)
                    ::pg_catalog.uuid
            $body$
            $do$, last_byte);
    ELSE
        EXECUTE format(
            $do$
            CREATE OR REPLACE FUNCTION haulier.uuidv7() RETURNS uuid LANGUAGE sql VOLATILE PARALLEL SAFE
            RETURN overlay(overlay(
                encode(
                    overlay(uuid_send(gen_random_uuid())
                            PLACING substring(int8send((extract(epoch FROM clock_timestamp()) * 1000)::bigint) FROM 3)
                            FROM 1 FOR 6),
                    'hex')
                PLACING '8' FROM 13) PLACING %L FROM 31)::uuid
            $do$, last_byte);
    END IF;
END
$$;
SELECT haulier.set_cell((to_jsonb(schema_version) ->> 'cell')::integer)
FROM haulier.schema_version
WHERE to_jsonb(schema_version) ->> 'cell' IS NOT NULL;


-- API keys ----------------------------------------------------------------------------------------------------

-- Who may call the API. While there is no row and HAULIER_API_KEY is not set, it is open only to its own machine.
CREATE TABLE IF NOT EXISTS haulier.api_key (
    id             text             NOT NULL,               -- as in hlr_<id>_<secret>
    name           text             NOT NULL,               -- for people
    hash           bytea            NOT NULL,               -- SHA-256 of the token, which is kept nowhere
    previous_hash  bytea,                                   -- of the token before the last rotation …
    previous_until timestamptz,                             -- … which is good until then
    scopes         text[]           NOT NULL,
    queues         text[],                                  -- null: every queue
    rate_limit     double precision,                        -- requests a second; null: no limit
    created_at     timestamptz      NOT NULL DEFAULT now(),
    expires_at     timestamptz,                             -- null: never
    last_used_at   timestamptz,                             -- to the minute
    revoked_at     timestamptz,
    moved_to       smallint,                                -- the cell that takes its new jobs; null: this one

    CONSTRAINT api_key_pkey PRIMARY KEY (id),
    CONSTRAINT id_is_of_letters_and_digits CHECK (id ~ '^[a-z0-9]{1,32}$'),
    CONSTRAINT name_from_1_to_100 CHECK (length(name) BETWEEN 1 AND 100),
    CONSTRAINT hash_is_a_sha_256 CHECK (length(hash) = 32 AND length(previous_hash) = 32),
    CONSTRAINT previous_hash_has_an_end CHECK ((previous_hash IS NULL) = (previous_until IS NULL)),
    CONSTRAINT scopes_are_known CHECK (
        cardinality(scopes) > 0 AND scopes <@ '{enqueue,read,operate,admin}'::text[]),
    CONSTRAINT queues_are_some CHECK (cardinality(queues) > 0),
    CONSTRAINT moved_to_a_cell CHECK (moved_to BETWEEN 1 AND 255),
    CONSTRAINT rate_limit_is_positive CHECK (rate_limit > 0 AND rate_limit <= 1000000),
    -- No program could read a key with a time outside these years.
    CONSTRAINT key_times_in_the_calendar CHECK (
        least(created_at, expires_at, previous_until, last_used_at, revoked_at) >= '1970-01-01+00'
        AND greatest(created_at, expires_at, previous_until, last_used_at, revoked_at) < '9999-12-31+00')
);

-- What is left of a key's rate. Each web process borrows from it, a second's worth at a time: a row for each request
-- would cost more than the request.
CREATE TABLE IF NOT EXISTS haulier.rate_budget (
    key_id    text             NOT NULL,
    tokens    double precision NOT NULL,
    granted   integer          NOT NULL,                    -- to the last borrower
    filled_at timestamptz      NOT NULL DEFAULT now(),

    CONSTRAINT rate_budget_pkey PRIMARY KEY (key_id),
    CONSTRAINT budget_is_a_keys FOREIGN KEY (key_id) REFERENCES haulier.api_key ON DELETE CASCADE
) WITH (
    fillfactor = 50,
    autovacuum_vacuum_scale_factor = 0,
    autovacuum_vacuum_threshold = 200,
    autovacuum_vacuum_cost_delay = 0
);


-- Sessions ----------------------------------------------------------------------------------------------------

-- The sessions of the dashboard. A session ends with its API key, and with the secret that opened it.
CREATE TABLE IF NOT EXISTS haulier.session (
    hash       bytea       NOT NULL,                        -- SHA-256 of the token, which is kept nowhere
    key_id     text        NOT NULL,                        -- with which it was opened; `env`: HAULIER_API_KEY
    key_hash   bytea       NOT NULL,                        -- SHA-256 of the key's token: rotated, it ends the session
    created_at timestamptz NOT NULL DEFAULT now(),
    seen_at    timestamptz NOT NULL DEFAULT now(),          -- to the minute
    expires_at timestamptz NOT NULL,

    CONSTRAINT session_pkey PRIMARY KEY (hash),
    CONSTRAINT session_hashes_are_sha_256 CHECK (length(hash) = 32 AND length(key_hash) = 32),
    CONSTRAINT session_key_id_from_1_to_100 CHECK (length(key_id) BETWEEN 1 AND 100),
    -- In hours: a day may have 23 or 25 of them.
    CONSTRAINT session_lasts_168_hours CHECK (expires_at <= created_at + interval '168 hours'),
    CONSTRAINT session_times_in_the_calendar CHECK (
        least(created_at, seen_at, expires_at) >= '1970-01-01+00'
        AND greatest(created_at, seen_at) < '9999-12-31+00')
);

CREATE INDEX IF NOT EXISTS session_key ON haulier.session (key_id);
CREATE INDEX IF NOT EXISTS session_expiry ON haulier.session (expires_at);


-- Idempotency keys --------------------------------------------------------------------------------------------

-- Written in the transaction that inserts the job; kept IDEMPOTENCY_DAYS, and longer while the job is live.
-- Each API key has its own key space, and callers without an API key share another. All are in this one column: a
-- client's key holds no space, so that the id of the API key and a space in front of it keep the key spaces apart.
CREATE TABLE IF NOT EXISTS haulier.idempotency (
    -- 'order-7', or 'hx3k9 order-7' from the API key hx3k9; in byte order, so that those of an API key are a range
    key         text        NOT NULL COLLATE "C",
    fingerprint bytea       NOT NULL,                       -- of the request, without its key
    job_id      uuid        NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now(),
    cell        smallint,                                   -- that has the job; null: this one

    CONSTRAINT idempotency_pkey PRIMARY KEY (key),
    CONSTRAINT key_from_1_to_288 CHECK (length(key) BETWEEN 1 AND 288),
    CONSTRAINT job_is_in_a_cell CHECK (cell BETWEEN 1 AND 255)
);

-- purge_idempotency: the oldest first
CREATE INDEX IF NOT EXISTS idempotency_oldest ON haulier.idempotency (created_at);


-- Queues ------------------------------------------------------------------------------------------------------

-- The names that the API has recently accepted, so that their number can be bounded: each name and priority is a lane
-- that every worker looks at. A plain INSERT of jobs needs no row here. A name is deleted after a while without use or
-- live jobs.
CREATE TABLE IF NOT EXISTS haulier.queue (
    name       text        NOT NULL,
    key_id     text,                                        -- the API key that first used it; null: no key was needed
    created_at timestamptz NOT NULL DEFAULT now(),
    used_at    timestamptz NOT NULL DEFAULT now(),          -- to some minutes

    CONSTRAINT queue_pkey PRIMARY KEY (name),
    CONSTRAINT name_is_a_queues CHECK (name ~ '^[a-z][a-z0-9_.-]{0,63}$')
) WITH (
    fillfactor = 50,                                        -- each addition of a name updates the row of `default`
    autovacuum_vacuum_scale_factor = 0,
    autovacuum_vacuum_threshold = 500,
    autovacuum_vacuum_cost_delay = 0
);

-- The queues of which no job starts: rows that every claim reads, so there must be few. An end that has passed is as no
-- row; the next pause of any queue deletes it.
CREATE TABLE IF NOT EXISTS haulier.pause (
    queue     text        NOT NULL,
    since     timestamptz NOT NULL DEFAULT now(),
    until     timestamptz,                                  -- null: until it is resumed
    paused_by text,                                         -- as `actor` of the audit
    reason    text,                                         -- what they gave as the reason

    CONSTRAINT pause_pkey PRIMARY KEY (queue),
    CONSTRAINT pause_is_a_queues CHECK (queue ~ '^[a-z][a-z0-9_.-]{0,63}$'),
    CONSTRAINT reason_from_1_to_200 CHECK (length(reason) BETWEEN 1 AND 200),
    CONSTRAINT until_in_the_calendar CHECK (until >= '1970-01-01+00' AND until < '9999-12-31+00')
) WITH (
    autovacuum_vacuum_scale_factor = 0,
    autovacuum_vacuum_threshold = 50,
    autovacuum_vacuum_cost_delay = 0
);


-- Workers -----------------------------------------------------------------------------------------------------

-- One row a worker process. Its jobs are its own for as long as it beats within its lease.
CREATE TABLE IF NOT EXISTS haulier.worker (
    id         uuid        NOT NULL DEFAULT haulier.uuidv7(),
    host       text        NOT NULL,
    pid        integer     NOT NULL,
    threads    integer     NOT NULL,
    queues     text[],                                      -- null: every queue
    lease      interval    NOT NULL,
    started_at timestamptz NOT NULL DEFAULT now(),
    beat_at    timestamptz NOT NULL DEFAULT now(),
    scans_fail boolean     NOT NULL DEFAULT false,          -- its last scan for lanes failed
    version    text,                                        -- of its program; null: it has not said yet
    kinds      text[],                                      -- the kinds that it knows; null: as above
    release    text,                                        -- of the team's program (RELEASE); null: nothing names it
    vitals     jsonb,                                       -- memory, CPU, threads (domain/vitals.py); null: no beat yet
    quiet      boolean     NOT NULL DEFAULT false,          -- an operator wants it to claim no more
    stopping   boolean     NOT NULL DEFAULT false,          -- it was told to stop, and claims no more

    CONSTRAINT worker_pkey PRIMARY KEY (id),
    CONSTRAINT lease_is_positive CHECK (lease > interval '0')
) WITH (fillfactor = 50);                                   -- a beat updates its row in place

-- The workers that have ended: so a job's history can say who ran it. Written when their rows are deleted, by whomever;
-- kept RETENTION_DAYS.
CREATE TABLE IF NOT EXISTS haulier.worker_past (
    id         uuid        NOT NULL,
    host       text        NOT NULL,
    pid        integer     NOT NULL,
    threads    integer     NOT NULL,
    queues     text[],
    version    text,
    release    text,
    started_at timestamptz NOT NULL,
    beat_at    timestamptz NOT NULL,
    lease_ends timestamptz NOT NULL,
    ended_at   timestamptz NOT NULL DEFAULT now(),
    ended_how  text        NOT NULL,
        -- stopped  its row was deleted within its lease, as it does itself when it stops
        -- buried   its lease had run out
    taken_over integer     NOT NULL DEFAULT 0,              -- how many jobs others have taken from it
    taken_over_jobs uuid[] NOT NULL DEFAULT '{}',           -- the first of them

    CONSTRAINT worker_past_pkey PRIMARY KEY (id),
    CONSTRAINT end_is_known CHECK (ended_how IN ('stopped', 'buried'))
);

-- Note which workers have ended: a trigger, because several statements delete workers.
-- Whatever goes wrong here, the workers have ended: a rescue must neither fail nor wait for this note. By statement and
-- not by row, so that if the table is locked it waits once, however many have ended.
-- SECURITY DEFINER, so that nobody needs a right to write what was.
CREATE OR REPLACE FUNCTION haulier.note_ended() RETURNS trigger LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '100ms'
AS $$
BEGIN
    PERFORM FROM ended LIMIT 1;
    IF FOUND THEN
        INSERT INTO haulier.worker_past (
            id, host, pid, threads, queues, version, release, started_at, beat_at, lease_ends, ended_how)
        SELECT id, host, pid, threads, queues, version, release, started_at, beat_at, beat_at + lease,
            -- As `bury` says it.
            CASE WHEN beat_at < now() - lease THEN 'buried' ELSE 'stopped' END
        FROM ended
        ON CONFLICT (id) DO NOTHING;
        -- A trigger that is deferred to the commit would keep the workers from ending.
        SET CONSTRAINTS ALL IMMEDIATE;
    END IF;
    RETURN NULL;
EXCEPTION WHEN OTHERS THEN
    RAISE WARNING 'haulier: cannot note which workers have ended: %', SQLERRM;
    RETURN NULL;
END
$$;
CREATE OR REPLACE TRIGGER note_ended AFTER DELETE ON haulier.worker
    REFERENCING OLD TABLE AS ended
    FOR EACH STATEMENT EXECUTE FUNCTION haulier.note_ended();

-- purge_workers: the oldest first. Behind the trigger: who deletes a worker locks that table before this one.
CREATE INDEX IF NOT EXISTS worker_past_oldest ON haulier.worker_past (ended_at);

-- Which release of the web processes and of the workers came when: a row each time that one starts which brings another
-- than the last. Whoever starts deletes the rows of more than 31 days, but for the last of each process.
CREATE TABLE IF NOT EXISTS haulier.deployment (
    process text        NOT NULL,
    release text        NOT NULL,
    at      timestamptz NOT NULL DEFAULT now(),

    CONSTRAINT deployment_pkey PRIMARY KEY (process, at, release),
    CONSTRAINT process_is_known CHECK (process IN ('web', 'worker'))
);

-- The workers that have nothing to do and ask to be woken. Every INSERT of jobs reads this table: it must stay tiny.
CREATE TABLE IF NOT EXISTS haulier.sleeper (
    worker_id uuid NOT NULL,
    queues    text[],                                       -- the worker's
    since     timestamptz NOT NULL DEFAULT now(),

    CONSTRAINT sleeper_pkey PRIMARY KEY (worker_id),
    CONSTRAINT sleeper_is_a_worker FOREIGN KEY (worker_id) REFERENCES haulier.worker ON DELETE CASCADE
) WITH (
    autovacuum_vacuum_scale_factor = 0,
    autovacuum_vacuum_threshold = 50,
    autovacuum_vacuum_cost_delay = 0
);


-- Schedules ---------------------------------------------------------------------------------------------------

-- What is to be enqueued when. A thread of each worker looks for those that are due, one transaction for all that it
-- finds; the lock on a schedule's row is held until all is written, so that only one worker decides each tick.
CREATE TABLE IF NOT EXISTS haulier.schedule (
    name                  text        NOT NULL,
    -- A schedule that is deleted and made again has a new id, and ticks of its own.
    id                    bigint      NOT NULL GENERATED ALWAYS AS IDENTITY,
    cron                  text,                             -- either this …
    every_seconds         integer,                          -- … or this
    time_zone             text        NOT NULL,
    job                   jsonb       NOT NULL,             -- what to enqueue, by the columns of haulier.job
    overlap               text        NOT NULL,
        -- allow      a tick fires whatever else is live
        -- skip       not while a job of the schedule is live
        -- queue_one  as skip, but one tick waits for that job to end
    missed                text        NOT NULL,
        -- skip  what was not fired in time does not fire
        -- last  the last of such ticks does, if nothing is due since
        -- all   the last missed_max do, if they are no older than missed_within_seconds
    missed_max            integer,
    missed_within_seconds integer,
    jitter_seconds        integer     NOT NULL DEFAULT 0,
    source                text        NOT NULL DEFAULT 'api',   -- api, or file: it came from schedules.toml
    -- The last pause. Its end is kept: a tick within it may be decided later.
    paused_since          timestamptz,
    paused_until          timestamptz,                      -- null: until somebody resumes it
    -- How far it has come
    counts_from           timestamptz NOT NULL,             -- every_seconds counts from here
    decided_to            timestamptz NOT NULL,             -- each tick up to here has its row, or is pending_at
    pending_at            timestamptz,                      -- queue_one: the tick that waits
    next_at               timestamptz,                      -- the next tick; null: there is none
    look_at               timestamptz NOT NULL,             -- when a worker looks at it next
    -- While it cannot fire: since when, how often one after the other, and why the last time. Workers put it off, until
    -- look_at. Here, so that all workers know, also after a restart.
    refused_since         timestamptz,
    refusals              integer     NOT NULL DEFAULT 0,
    refusal               text,
    created_at            timestamptz NOT NULL DEFAULT now(),
    updated_at            timestamptz NOT NULL DEFAULT now(),   -- when somebody last changed what it does

    CONSTRAINT schedule_pkey PRIMARY KEY (name),
    CONSTRAINT name_is_a_schedules CHECK (length(name) <= 64 AND name ~ '^[a-z][a-z0-9_.-]*$'),
    CONSTRAINT cron_or_every_seconds CHECK (num_nonnulls(cron, every_seconds) = 1),
    CONSTRAINT cron_up_to_200_time_zone_up_to_64 CHECK (length(cron) <= 200 AND length(time_zone) <= 64),
    CONSTRAINT every_from_1_to_31536000_seconds CHECK (every_seconds BETWEEN 1 AND 31536000),
    CONSTRAINT job_is_an_object CHECK (jsonb_typeof(job) = 'object' AND job ?& ARRAY['kind', 'payload']),
    CONSTRAINT overlap_is_known CHECK (overlap IN ('allow', 'skip', 'queue_one')),
    CONSTRAINT missed_is_known CHECK (missed IN ('skip', 'last', 'all')),
    CONSTRAINT all_has_bounds CHECK (
        (missed = 'all') = (missed_max IS NOT NULL) AND (missed = 'all') = (missed_within_seconds IS NOT NULL)),
    CONSTRAINT missed_from_1_to_1000 CHECK (missed_max BETWEEN 1 AND 1000),
    CONSTRAINT missed_within_is_positive CHECK (missed_within_seconds > 0),
    CONSTRAINT jitter_from_0_to_86400_seconds CHECK (jitter_seconds BETWEEN 0 AND 86400),
    CONSTRAINT source_is_known CHECK (source IN ('api', 'file')),
    CONSTRAINT pause_has_a_beginning CHECK (paused_since IS NOT NULL OR paused_until IS NULL),
    CONSTRAINT refusals_have_a_reason CHECK (
        (refusals > 0) = (refused_since IS NOT NULL) AND (refusals > 0) = (refusal IS NOT NULL)),
    -- No worker could read a schedule with a time outside these years, nor any other in the same turn.
    CONSTRAINT schedule_times_in_the_calendar CHECK (
        least(paused_until, counts_from, next_at, look_at) >= '1970-01-01+00'
        AND greatest(paused_until, counts_from, next_at, look_at) < '9999-12-31+00')
) WITH (
    fillfactor = 50,
    autovacuum_vacuum_scale_factor = 0,
    autovacuum_vacuum_threshold = 1000,
    autovacuum_vacuum_cost_delay = 0
);

-- due_schedules: those that are due first
CREATE INDEX IF NOT EXISTS schedule_by_look ON haulier.schedule (look_at);

-- overdue_schedules: those that cannot fire
CREATE INDEX IF NOT EXISTS schedule_refused ON haulier.schedule (refused_since) WHERE refused_since IS NOT NULL;

-- What became of each tick. No reference to the schedule: they are kept when that is deleted, RETENTION_DAYS.
CREATE TABLE IF NOT EXISTS haulier.tick (
    schedule     text        NOT NULL,                      -- its name …
    schedule_id  bigint      NOT NULL,                      -- … and which schedule of this name it was
    scheduled_at timestamptz NOT NULL,
    outcome      text        NOT NULL,
    fired_at     timestamptz,                               -- null: it did not fire
    decided_at   timestamptz NOT NULL DEFAULT now(),
    job_id       uuid,                                      -- the job that it enqueued

    -- A second guard beside the lock on the schedule: no tick enqueues two jobs.
    CONSTRAINT tick_pkey PRIMARY KEY (schedule, schedule_id, scheduled_at),
    CONSTRAINT outcome_is_known CHECK (
        outcome IN ('fired', 'skipped_overlap', 'skipped_missed', 'skipped_paused', 'skipped_refused')),
    CONSTRAINT fired_has_a_job CHECK (
        (outcome = 'fired') = (fired_at IS NOT NULL) AND (outcome = 'fired') = (job_id IS NOT NULL))
);

-- purge_ticks: the oldest first
CREATE INDEX IF NOT EXISTS tick_oldest ON haulier.tick (decided_at);

-- The time by which schedules go. A function, so that tests can move it.
CREATE OR REPLACE FUNCTION haulier.schedule_time() RETURNS timestamptz LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$ SELECT now() $$;


-- Live work ---------------------------------------------------------------------------------------------------

-- Whether a job may have these tags. For a row without tags no check calls it: written out, each statement that writes
-- jobs would read the twenty lengths again.
CREATE OR REPLACE FUNCTION haulier.are_tags(tags text[]) RETURNS boolean LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN cardinality(tags) <= 10
        AND coalesce(array_ndims(tags), 1) = 1
        AND coalesce((SELECT bool_and(coalesce(length(tag), 0) BETWEEN 1 AND 64) FROM unnest(tags) AS tag), true);
END
$$;
-- A check calls it with the rights of whoever writes the job: default privileges must not take it away.
GRANT EXECUTE ON FUNCTION haulier.are_tags(text[]) TO PUBLIC;

-- The jobs that are still to end: queued, running, retrying. A job that ends moves to finished_job.
--
-- This table is an API. An application may run, in its own transaction,
--     INSERT INTO haulier.job (kind, payload) VALUES ('send_email', '{"to": "a@b.c", "subject": "Hi", "body": "…"}');
-- with the rights that docs/database.md grants: USAGE on the schema and INSERT on the columns it may set.
CREATE TABLE IF NOT EXISTS haulier.job (
    -- identity
    id               uuid        NOT NULL DEFAULT haulier.uuidv7(),
    status           text        NOT NULL DEFAULT 'queued',
        -- queued    enqueued, not yet claimed (or given back before it was ever charged)
        -- running   claimed by worker_id
        -- retrying  an attempt failed; due again at run_at
    kind             text        NOT NULL,
    queue            text        NOT NULL DEFAULT 'default',

    -- schedule
    priority         smallint    NOT NULL DEFAULT 0,        -- higher first
    run_at           timestamptz NOT NULL DEFAULT now(),

    -- ownership: the fence (id, attempt, claim) is what a settle must show
    worker_id        uuid,
    attempt          integer     NOT NULL DEFAULT 0,        -- counts every claim, only grows
    claim            uuid,                                  -- new for each claim statement; the last one is kept
    started_at       timestamptz,                           -- of the last claim

    -- budget
    attempts         integer     NOT NULL DEFAULT 0,        -- charged attempts, as clients see them
    max_attempts     integer     NOT NULL DEFAULT 3,
    crashes          integer     NOT NULL DEFAULT 0,        -- times its worker died under it
    suspect          boolean     NOT NULL DEFAULT false,    -- crashes > 0: runs alone in its process
    snoozes          integer     NOT NULL DEFAULT 0,
    backoff          double precision,                      -- previous sleep, seconds: decorrelated jitter needs it
    timeout_seconds  integer,                               -- null: the kind's own
    cancel_requested boolean     NOT NULL DEFAULT false,

    -- payload
    payload          jsonb       NOT NULL,
    idempotency_key  text,

    -- history
    last_error       text,
    errors           jsonb       NOT NULL DEFAULT '[]',     -- the last 20 failed attempts
    created_at       timestamptz NOT NULL DEFAULT now(),
    updated_at       timestamptz NOT NULL DEFAULT now(),
    error_id         bigint,                                -- of a retrying job: the group of its last error (error_group)
    tags             text[],                                -- null: none
    copy_of          uuid,                                  -- the job that this is a copy of
    operation_id     uuid,                                  -- the operation that last changed it
    schedule         text,                                  -- the schedule whose tick enqueued it …
    scheduled_for    timestamptz,                           -- … and the tick

    CONSTRAINT job_pkey PRIMARY KEY (id),
    CONSTRAINT status_is_live CHECK (status IN ('queued', 'running', 'retrying')),
    CONSTRAINT worker_iff_running CHECK ((status = 'running') = (worker_id IS NOT NULL)),
    CONSTRAINT running_has_a_claim CHECK (worker_id IS NULL OR (claim IS NOT NULL AND started_at IS NOT NULL)),
    -- Not checked while a job runs: a claim rewrites the row but none of these columns, and the next five checks would
    -- be a third of its cost. By its worker: each statement reads the text of every check again, and this is half as long
    -- as status = 'running'. Names are not checked by {0,63}, which takes ten times as long as length and *.
    CONSTRAINT kind_is_a_name CHECK (worker_id IS NOT NULL OR (length(kind) <= 64 AND kind ~ '^[a-z][a-z0-9_.-]*$')),
    CONSTRAINT queue_is_a_name CHECK (worker_id IS NOT NULL OR (length(queue) <= 64 AND queue ~ '^[a-z][a-z0-9_.-]*$')),
    CONSTRAINT payload_is_an_object CHECK (worker_id IS NOT NULL OR jsonb_typeof(payload) = 'object'),
    CONSTRAINT errors_is_an_array CHECK (worker_id IS NOT NULL OR jsonb_typeof(errors) = 'array'),
    CONSTRAINT tags_up_to_10_of_1_to_64 CHECK (worker_id IS NOT NULL OR haulier.are_tags(tags)),
    CONSTRAINT priority_from_minus_100_to_100 CHECK (priority BETWEEN -100 AND 100),
    -- The date types of clients hold no date outside these years, nor 'infinity'.
    CONSTRAINT run_at_in_the_calendar CHECK (run_at >= '1970-01-01+00' AND run_at < '9999-12-31+00'),
    CONSTRAINT max_attempts_from_1_to_1000 CHECK (max_attempts BETWEEN 1 AND 1000),
    CONSTRAINT timeout_from_1_to_86400_seconds CHECK (timeout_seconds BETWEEN 1 AND 86400),
    -- Each UPDATE reads every constraint again: with one for each column, the next two would be a third of that cost.
    CONSTRAINT times_in_the_calendar CHECK (
        least(created_at, updated_at, started_at) >= '1970-01-01+00'
        AND greatest(created_at, updated_at, started_at) < '9999-12-31+00'),
    -- Below the largest integer, beyond which the next claim could not count.
    CONSTRAINT counters_in_range CHECK (
        least(attempt, attempts, crashes, snoozes) >= 0
        AND greatest(attempt, attempts, crashes, snoozes) <= 2000000000),
    -- Not a generated column: each UPDATE of the other columns would read its expression again for every row, an eighth of
    -- what a claim costs.
    CONSTRAINT suspect_after_a_crash CHECK (suspect = (crashes > 0)),
    CONSTRAINT idempotency_key_from_1_to_255 CHECK (length(idempotency_key) BETWEEN 1 AND 255)
) WITH (
    fillfactor = 80,                            -- room for the claimed version beside the queued one
    autovacuum_vacuum_scale_factor = 0,         -- by count, not by share: a queue is small and churns
    autovacuum_vacuum_threshold = 2000,
    autovacuum_analyze_scale_factor = 0,
    autovacuum_analyze_threshold = 5000,
    autovacuum_vacuum_cost_delay = 0
);

-- claim: per lane (suspect, queue, priority), in the order in which jobs are due
CREATE INDEX IF NOT EXISTS job_claim ON haulier.job (suspect, queue, priority DESC, run_at, id)
    WHERE status IN ('queued', 'retrying');
-- held: what a worker runs under some claims; rescue: what a dead one held
CREATE INDEX IF NOT EXISTS job_claimed ON haulier.job (worker_id, claim) WHERE status = 'running';
-- cancelled: what a worker is to stop
CREATE INDEX IF NOT EXISTS job_cancelled ON haulier.job (worker_id) WHERE status = 'running' AND cancel_requested;
-- list_jobs: newest first. Without the running jobs, which are few: an entry for each would make claims a tenth dearer.
CREATE INDEX IF NOT EXISTS job_waiting_newest ON haulier.job (created_at, id) WHERE status IN ('queued', 'retrying');
-- list_jobs: those of a group of errors that are to be retried. A job that has not failed has no entry.
CREATE INDEX IF NOT EXISTS job_retrying_by_error ON haulier.job (error_id, created_at, id) WHERE status = 'retrying';
-- list_tagged: those of rare tags. Without the running jobs, which are few: claims of tagged jobs write nothing here.
-- Without a list of pending entries: each look would read it, and now and then one INSERT would have to sort it in.
CREATE INDEX IF NOT EXISTS job_waiting_by_tag ON haulier.job USING gin (tags) WITH (fastupdate = off)
    WHERE tags IS NOT NULL AND status IN ('queued', 'retrying');
-- live_of_schedules: whether a job of a schedule is live. No other job has an entry.
CREATE INDEX IF NOT EXISTS job_by_schedule ON haulier.job (schedule) WHERE schedule IS NOT NULL;


-- Progress ----------------------------------------------------------------------------------------------------

-- How far running jobs have come, as their handlers last said. A row for each claim, which only the worker that holds
-- the claim writes, once a second at most. Its own table: as a column of `job` each write would leave a copy of the
-- payload behind, and settles would skip the row while it is locked. It survives no longer than the claim: who
-- reads it asks for the job's present one.
CREATE TABLE IF NOT EXISTS haulier.progress (
    job_id     uuid             NOT NULL,
    claim      uuid             NOT NULL,
    done       double precision NOT NULL,
    total      double precision,                            -- null: not known
    note       text,
    at         timestamptz      NOT NULL,                   -- when it was said
    first_done double precision NOT NULL,                   -- what was said first, from which the rate is known …
    first_at   timestamptz      NOT NULL,                   -- … and when

    CONSTRAINT progress_pkey PRIMARY KEY (job_id, claim),
    -- Up to 2^53, which every client can read. NaN is greater.
    CONSTRAINT progress_in_range CHECK (
        least(done, total, first_done) >= 0 AND greatest(done, total, first_done) <= 9007199254740992),
    CONSTRAINT note_up_to_200 CHECK (length(note) <= 200)
) WITH (
    fillfactor = 50,                                        -- a write updates its row in place
    autovacuum_vacuum_scale_factor = 0,
    autovacuum_vacuum_threshold = 500,
    autovacuum_vacuum_cost_delay = 0
);


-- Running jobs and lanes --------------------------------------------------------------------------------------

-- The running jobs, by a bitmap scan, which reads each page of the table once at most. While somebody holds a snapshot
-- the index has a dead entry for each job that has run since. The planner counts only live rows: it would choose a
-- plain index scan, which reads a page for each of millions of dead entries.
CREATE OR REPLACE FUNCTION haulier.running() RETURNS TABLE (id uuid, worker_id uuid, kind text, queue text, created_at timestamptz)
LANGUAGE sql STABLE ROWS 100
SET search_path = pg_catalog, pg_temp SET enable_indexscan = off SET enable_seqscan = off SET work_mem = '32MB'
AS $$ SELECT id, worker_id, kind, queue, created_at FROM haulier.job WHERE status = 'running' $$;

-- The lanes that have waiting jobs, each with its first job and when that is due. A loose index scan: it reads a few
-- entries a lane, however many jobs wait in it.
CREATE OR REPLACE VIEW haulier.lane AS
WITH RECURSIVE lane AS (
    (
        SELECT suspect, queue, priority, run_at, id
        FROM haulier.job
        WHERE status IN ('queued', 'retrying')
        ORDER BY suspect, queue, priority DESC, run_at, id
        LIMIT 1
    )
    UNION ALL
    SELECT next.*
    FROM lane
    CROSS JOIN LATERAL (
        (
            SELECT suspect, queue, priority, run_at, id
            FROM haulier.job
            WHERE status IN ('queued', 'retrying')
                AND suspect = lane.suspect AND queue = lane.queue AND priority < lane.priority
            ORDER BY suspect, queue, priority DESC, run_at, id
            LIMIT 1
        )
        UNION ALL
        (
            SELECT suspect, queue, priority, run_at, id
            FROM haulier.job
            WHERE status IN ('queued', 'retrying') AND suspect = lane.suspect AND queue > lane.queue
            ORDER BY suspect, queue, priority DESC, run_at, id
            LIMIT 1
        )
        UNION ALL
        (
            SELECT suspect, queue, priority, run_at, id
            FROM haulier.job
            WHERE status IN ('queued', 'retrying') AND suspect > lane.suspect
            ORDER BY suspect, queue, priority DESC, run_at, id
            LIMIT 1
        )
        LIMIT 1
    ) AS next
)
SELECT suspect, queue, priority, run_at AS first_run_at, id AS first_id
FROM lane;


-- Wake-ups ----------------------------------------------------------------------------------------------------

-- Wake workers for new jobs; see haulier.wake. Every INSERT of jobs runs this, so it first looks whether anybody sleeps.
-- SECURITY DEFINER, so that an application may INSERT jobs without a right to read these tables; with a fixed
-- search_path, so that it cannot decide what the names in here mean.
CREATE OR REPLACE FUNCTION haulier.knock() RETURNS trigger LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM FROM haulier.sleeper LIMIT 1;
    IF FOUND THEN
        PERFORM haulier.wake(ARRAY(SELECT DISTINCT queue FROM enqueued));
    END IF;
    RETURN NULL;
END
$$;
CREATE OR REPLACE TRIGGER knock AFTER INSERT ON haulier.job
    REFERENCING NEW TABLE AS enqueued
    FOR EACH STATEMENT EXECUTE FUNCTION haulier.knock();


-- History -----------------------------------------------------------------------------------------------------

-- The jobs that have ended, partitioned by when they did. Rows leave this table only by an operator's retry or delete, or
-- with their partition. Partitions are made by `migrate` and by the workers, days ahead; without one nothing could settle.
CREATE TABLE IF NOT EXISTS haulier.finished_job (
    id               uuid        NOT NULL,
    status           text        NOT NULL,
        -- succeeded         its handler returned
        -- failed_permanent  its budget was spent, or an attempt failed permanently
        -- cancelled         somebody cancelled it
    kind             text        NOT NULL,
    queue            text        NOT NULL,
    priority         smallint    NOT NULL,
    run_at           timestamptz NOT NULL,
    attempt          integer     NOT NULL,
    claim            uuid,
    started_at       timestamptz,
    attempts         integer     NOT NULL,
    max_attempts     integer     NOT NULL,
    crashes          integer     NOT NULL,
    snoozes          integer     NOT NULL,
    timeout_seconds  integer,
    cancel_requested boolean     NOT NULL,
    payload          jsonb       NOT NULL,
    idempotency_key  text,
    last_error       text,
    errors           jsonb       NOT NULL,
    created_at       timestamptz NOT NULL,
    updated_at       timestamptz NOT NULL,
    finished_at      timestamptz NOT NULL,
    result           jsonb,
    error_id         bigint,                                -- of a failed_permanent one: its group (error_group)
    tags             text[],
    worker_id        uuid,                                  -- which ran the last attempt; null: none did, or not known
    copy_of          uuid,
    operation_id     uuid,
    schedule         text,
    scheduled_for    timestamptz,

    CONSTRAINT finished_job_pkey PRIMARY KEY (id, finished_at),
    CONSTRAINT status_is_final CHECK (status IN ('succeeded', 'failed_permanent', 'cancelled')),
    CONSTRAINT result_iff_succeeded CHECK (result IS NULL OR status = 'succeeded')
) PARTITION BY RANGE (finished_at);

-- list_jobs: newest first; most jobs succeed, so the others need their own index to be found among them
CREATE INDEX IF NOT EXISTS finished_job_newest ON haulier.finished_job (created_at, id);
CREATE INDEX IF NOT EXISTS finished_job_not_succeeded ON haulier.finished_job (created_at, id)
    WHERE status <> 'succeeded';
-- numbers: what ended recently. One entry for 16 pages, since jobs are stored in the order in which they end.
CREATE INDEX IF NOT EXISTS finished_job_ended ON haulier.finished_job USING brin (finished_at)
    WITH (pages_per_range = 16);
-- list_jobs: those of a group of errors that have failed permanently. No other job has an entry.
CREATE INDEX IF NOT EXISTS finished_job_failed_by_error ON haulier.finished_job (error_id, created_at, id)
    WHERE status = 'failed_permanent';
-- list_tagged: those of rare tags. A job without tags has no entry.
CREATE INDEX IF NOT EXISTS finished_job_by_tag ON haulier.finished_job USING gin (tags) WITH (fastupdate = off)
    WHERE tags IS NOT NULL;


-- Partitions --------------------------------------------------------------------------------------------------

-- The partitions in any schema, oldest first, with their bounds from the catalogue.
CREATE OR REPLACE FUNCTION haulier.history_partitions() RETURNS TABLE (
    "table" oid, schema name, name name, detaching boolean, is_default boolean, lower timestamptz, upper timestamptz,
    in_the_way boolean
) LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp SET datestyle = 'ISO' SET timezone = 'UTC'
AS $function$
    SELECT child.oid, nspname, child.relname, inhdetachpending, bound.text = 'DEFAULT', bound.lower, bound.upper,
        inhdetachpending AND coalesce(bound.upper > now(), true)
    FROM pg_inherits
    JOIN pg_class AS child ON child.oid = inhrelid
    JOIN pg_namespace ON pg_namespace.oid = child.relnamespace
    CROSS JOIN LATERAL (
        SELECT text,
            substring(text FROM $$FROM \('([^']+)'\)$$)::timestamptz AS lower,
            substring(text FROM $$TO \('([^']+)'\)$$)::timestamptz AS upper
        FROM pg_get_expr(child.relpartbound, child.oid) AS text
    ) AS bound
    WHERE inhparent = 'haulier.finished_job'::regclass
    ORDER BY bound.upper
$function$;

-- The bounds of the next partition: from the first instant, today or later, that no partition covers, to the end of its
-- day, week or month, or to where the following partition begins. No row when history reaches far enough. A partition
-- that is being detached counts: it takes no rows any more, but no other can have its range yet.
CREATE OR REPLACE FUNCTION haulier.partition_to_add(step text, days_ahead integer) RETURNS TABLE (
    lower timestamptz, upper timestamptz, name text
) LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp SET datestyle = 'ISO' SET timezone = 'UTC'
AS $$
    WITH today AS (
        SELECT date_trunc('day', now() AT TIME ZONE 'UTC') AT TIME ZONE 'UTC' AS today
    ), present AS (
        SELECT coalesce(partition.lower, '-infinity') AS lower, coalesce(partition.upper, 'infinity') AS upper
        FROM haulier.history_partitions() AS partition
        WHERE NOT is_default
    ), gap AS (
        SELECT min(instant) AS lower
        FROM (
            SELECT today AS instant FROM today
            UNION ALL
            SELECT present.upper FROM present JOIN today ON present.upper > today
        ) AS candidate
        WHERE NOT EXISTS (SELECT FROM present WHERE present.lower <= instant AND instant < present.upper)
    ), added AS (
        SELECT gap.lower,
            least(
                (date_trunc($1, gap.lower AT TIME ZONE 'UTC') + ('1 ' || $1)::interval) AT TIME ZONE 'UTC',
                (SELECT min(present.lower) FROM present WHERE present.lower > gap.lower)) AS upper,
            'finished_job_' || to_char(gap.lower AT TIME ZONE 'UTC', 'YYYYMMDD_HH24MISS') AS name
        FROM gap
        WHERE gap.lower < now() + make_interval(days => $2)
    )
    SELECT added.lower, added.upper,
        -- A partition that an operator detached keeps its name.
        added.name || CASE
            WHEN to_regclass('haulier.' || added.name) IS NULL THEN ''
            ELSE to_char(now() AT TIME ZONE 'UTC', '"_again_"YYYYMMDD_HH24MISS_US')
        END
    FROM added
$$;

-- The tables that were marked when they were partitions. Not found by their names, which other tables may have taken.
CREATE OR REPLACE FUNCTION haulier.detached_partitions() RETURNS TABLE ("table" oid, schema name, name name)
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT pg_class.oid, nspname, relname
    FROM pg_class
    JOIN pg_namespace ON pg_namespace.oid = relnamespace
    WHERE relkind = 'r' AND NOT relispartition AND obj_description(pg_class.oid, 'pg_class') = 'expired'
        AND relowner = (SELECT relowner FROM pg_class WHERE oid = 'haulier.finished_job'::regclass)
        AND EXISTS (SELECT FROM pg_constraint WHERE conrelid = pg_class.oid AND conname = 'status_is_final')
$$;


-- All jobs ----------------------------------------------------------------------------------------------------

-- Every job, live or finished. One statement over it is one snapshot: a job is never in neither table, nor in both.
CREATE OR REPLACE VIEW haulier.jobs AS
SELECT id, status, kind, payload, queue, priority, max_attempts, timeout_seconds, tags, run_at, worker_id, attempt,
    claim, started_at, attempts, crashes, snoozes, cancel_requested, idempotency_key, last_error, errors, created_at,
    updated_at, copy_of, schedule, scheduled_for, error_id, operation_id, backoff, NULL::timestamptz AS finished_at,
    NULL::jsonb AS result,
    -- Not a join: the plans of whoever reads jobs in order stay as they are, and only running jobs are looked up.
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
SELECT id, status, kind, payload, queue, priority, max_attempts, timeout_seconds, tags, run_at, worker_id, attempt,
    claim, started_at, attempts, crashes, snoozes, cancel_requested, idempotency_key, last_error, errors, created_at,
    updated_at, copy_of, schedule, scheduled_for, error_id, operation_id, NULL::double precision, finished_at, result,
    NULL::jsonb
FROM haulier.finished_job;

-- At most this many of the jobs that have any of these tags; finished_at says in which table each is. By bitmap scans: the
-- planner does not know how common a tag is, and could read all jobs instead. One partition is read after the other, and
-- only until there are enough; but of each all entries of the tags are.
CREATE OR REPLACE FUNCTION haulier.tagged(wanted text[], most bigint) RETURNS TABLE (id uuid, finished_at timestamptz)
LANGUAGE sql STABLE ROWS 100
SET search_path = pg_catalog, pg_temp SET enable_indexscan = off SET enable_seqscan = off SET work_mem = '32MB' SET jit = off
AS $$
    SELECT id, NULL::timestamptz FROM haulier.job WHERE status IN ('queued', 'retrying') AND tags && wanted
    UNION ALL
    SELECT id, NULL::timestamptz FROM haulier.job WHERE status = 'running' AND tags && wanted
    UNION ALL
    SELECT id, finished_at FROM haulier.finished_job WHERE tags && wanted
    LIMIT most
$$;


-- Numbers -----------------------------------------------------------------------------------------------------

-- How many jobs arrived and ended, by queue and kind. One worker process at a time counts them, from what the tables
-- above hold in order of time (haulier/queue/numbers/counts.sql); no statement that enqueues, claims or settles writes
-- here. The newest rows are of 10 s; older ones are summed into longer steps, so that a span of any length has few
-- rows.
CREATE TABLE IF NOT EXISTS haulier.rollup (
    step      integer     NOT NULL,                         -- seconds: 10, 60, 300, 900, 3600 or 21600
    at        timestamptz NOT NULL,                         -- when it began
    queue     text        NOT NULL,                         -- '*': of all pairs of queue and kind beyond the first 500
    kind      text        NOT NULL,
    arrived   integer     NOT NULL DEFAULT 0,               -- jobs created
    succeeded integer     NOT NULL DEFAULT 0,
    failed    integer     NOT NULL DEFAULT 0,               -- permanently
    cancelled integer     NOT NULL DEFAULT 0,
    attempts  bigint      NOT NULL DEFAULT 0,               -- of the jobs that ended
    -- Histograms of those that succeeded or failed, each a number whose digits, taken by twelves, say how many jobs are in
    -- each bucket (haulier/domain/histogram.py): so they add up as numbers do.
    waited    numeric     NOT NULL DEFAULT 0,               -- from due to the start of the last run
    ran       numeric     NOT NULL DEFAULT 0,               -- the last run
    -- The most due jobs that were counted within the step, and the jobs that ran when it was last counted; null: they were
    -- not counted, or there were none before either.
    due       integer,
    running   integer,
    oldest    real,                                         -- seconds since the first of the due jobs was due
    came_from timestamptz,                                  -- in which part of the step those that arrived did so …
    came_to   timestamptz,                                  -- … up to here; null: in any

    CONSTRAINT rollup_pkey PRIMARY KEY (step, at, queue, kind)
) WITH (
    fillfactor = 70,
    autovacuum_vacuum_scale_factor = 0,
    autovacuum_vacuum_threshold = 5000,
    autovacuum_vacuum_cost_delay = 0
);

-- The live jobs, as they were last counted. A row that would be 0 is deleted.
CREATE TABLE IF NOT EXISTS haulier.depth (
    queue        text        NOT NULL,                      -- '*': of all pairs beyond the first 10,000
    kind         text        NOT NULL,
    status       text        NOT NULL,
    jobs         bigint      NOT NULL,
    due          bigint      NOT NULL,
    first_run_at timestamptz,                               -- when the first of those that wait is or was due

    CONSTRAINT depth_pkey PRIMARY KEY (queue, kind, status)
) WITH (
    fillfactor = 50,
    autovacuum_vacuum_scale_factor = 0,
    autovacuum_vacuum_threshold = 2000,
    autovacuum_vacuum_cost_delay = 0
);

-- When jobs came that were moved to another queue later, to the minute: the rows above say that they came in the queue in
-- which they were when they were counted. A search in a queue looks at these times too.
CREATE TABLE IF NOT EXISTS haulier.moved (
    queue   text        NOT NULL,                           -- the one that they were moved to
    kind    text        NOT NULL,
    came_at timestamptz NOT NULL,                           -- when the minute began in which they were created

    CONSTRAINT moved_pkey PRIMARY KEY (queue, came_at, kind)
);

-- purge_moved: the oldest
CREATE INDEX IF NOT EXISTS moved_oldest ON haulier.moved (came_at);

-- Who counts, and how far. Steps of 60 s and more reach up to `folded`, those of 10 s from there to `through`.
CREATE TABLE IF NOT EXISTS haulier.counting (
    one_row       boolean          NOT NULL DEFAULT true CHECK (one_row),
    counted_by    uuid,                                     -- the process, which nobody else relieves …
    counted_until timestamptz,                              -- … before this
    through       timestamptz      NOT NULL,                -- what came or ended before this is counted
    folded        timestamptz      NOT NULL,
    recounted     timestamptz      NOT NULL,                -- what did before this was counted again, an hour later
    depth_at      timestamptz,                              -- when the live jobs were last counted …
    depth_took    double precision,                         -- … and how long that took, in seconds

    CONSTRAINT counting_pkey PRIMARY KEY (one_row)
) WITH (
    fillfactor = 50,
    autovacuum_vacuum_scale_factor = 0,
    autovacuum_vacuum_threshold = 200,
    autovacuum_vacuum_cost_delay = 0
);


-- Errors ------------------------------------------------------------------------------------------------------

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

    CONSTRAINT error_group_pkey PRIMARY KEY (id),
    CONSTRAINT muted_until_in_the_calendar CHECK (muted_until >= '1970-01-01+00' AND muted_until < '9999-12-31+00')
);

-- How many attempts failed, by group and time. A row for each process of the server that settles: no two transactions
-- wait for each other. After 2 minutes the worker that counts sums them into one row, and later into those of longer steps.
CREATE TABLE IF NOT EXISTS haulier.error_count (
    error_id bigint      NOT NULL,
    minute   timestamptz NOT NULL,                          -- when it began; of a longer step: when that began
    queue    text        NOT NULL,
    source   integer     NOT NULL,                          -- pg_backend_pid(); 0: all of them; -300, …: of 300 s
    failed   integer     NOT NULL,                          -- permanently
    retried  integer     NOT NULL,                          -- to be retried

    CONSTRAINT error_count_pkey PRIMARY KEY (error_id, minute, queue, source)
) WITH (
    fillfactor = 70,
    autovacuum_vacuum_scale_factor = 0,
    autovacuum_vacuum_threshold = 2000,
    autovacuum_vacuum_cost_delay = 0
);

-- list_errors: what was seen in a span; fold_error_sources, fold_error_steps, purge_error_counts: what is old
CREATE INDEX IF NOT EXISTS error_count_newest ON haulier.error_count (source, minute);


-- Operations --------------------------------------------------------------------------------------------------

-- The instants of which operators have seen how many jobs an operation would act on; kept for a day. A job is acted on
-- only as it was then: if the transaction that wrote its row had been committed.
-- Not by the clock: created_at and updated_at are when a transaction began, and it may commit long after that.
CREATE TABLE IF NOT EXISTS haulier.preview (
    id         uuid           NOT NULL DEFAULT haulier.uuidv7(),
    as_of      timestamptz    NOT NULL,
    action     text           NOT NULL,
    filter     jsonb          NOT NULL,
    queues     text[],                                      -- of whoever asked; null: every queue
    unseen     int8multirange NOT NULL,                     -- the transactions that had not been committed
    doubted    int8range      NOT NULL,                     -- of these it is not known of all parts of a transaction
    cluster    bigint         NOT NULL,                     -- the server in which these numbers mean something
    matched    bigint,                                      -- null: not counted yet
    matched_is text,

    CONSTRAINT preview_pkey PRIMARY KEY (id),
    CONSTRAINT filter_is_some CHECK (jsonb_typeof(filter) = 'object' AND filter <> '{}'),
    CONSTRAINT preview_is_known CHECK (action IN ('cancel', 'retry', 'delete', 'change')),
    CONSTRAINT matched_is_known CHECK (matched_is IN ('exact', 'about', 'more_than'))
);

-- start an operation: by the instant; purge_previews: the oldest first
CREATE INDEX IF NOT EXISTS preview_by_time ON haulier.preview (as_of);

-- What operators have done to all jobs of a filter, and how far it has come. Kept RETENTION_DAYS.
CREATE TABLE IF NOT EXISTS haulier.operation (
    id             uuid           NOT NULL DEFAULT haulier.uuidv7(),
    action         text           NOT NULL,
    filter         jsonb          NOT NULL,
    changes        jsonb          NOT NULL DEFAULT '{}',    -- queue, priority; run_at or delay_seconds
    queues         text[],                                  -- of the caller: for ever part of the filter
    spread_seconds integer        NOT NULL DEFAULT 0,       -- jobs become due over this long
    actor          text,                                    -- as in `audit`
    status         text           NOT NULL DEFAULT 'waiting',
    as_of          timestamptz    NOT NULL,
    unseen         int8multirange NOT NULL,                 -- as of the preview …
    doubted        int8range      NOT NULL,
    cluster        bigint         NOT NULL,
    matched        bigint         NOT NULL,
    matched_is     text           NOT NULL,
    done           bigint         NOT NULL DEFAULT 0,
    skipped        bigint         NOT NULL DEFAULT 0,       -- they have changed since, or stayed locked
    failed         bigint         NOT NULL DEFAULT 0,       -- a constraint or a trigger refused to have this done to them
    created_at     timestamptz    NOT NULL DEFAULT now(),
    starts_at      timestamptz    NOT NULL,
    started_at     timestamptz,
    finished_at    timestamptz,
    error          text,                                    -- why it has failed, or is being tried again
    -- The walk over the jobs, newest first: all up to here have been looked at.
    cursor_at      timestamptz,
    cursor_id      uuid,
    walked_at      timestamptz,                             -- when it came to its end
    later          uuid[]         NOT NULL DEFAULT '{}',    -- jobs that were locked: they are retried at the end
    next_at        timestamptz    NOT NULL,                 -- nothing is done before
    tries          integer        NOT NULL DEFAULT 0,       -- that failed, one after the other
    waits_since    timestamptz,                             -- the first of those that the database refused for now
    worked_by      uuid,                                    -- who works on it, which nobody else does …
    worked_until   timestamptz,                             -- … before this
    worked_at      timestamptz,                             -- when its turn last was
    timed_since    timestamptz,                             -- its rate is known since then: for 15 seconds at most …
    timed_from     bigint         NOT NULL DEFAULT 0,       -- … and had walked past this many jobs by then

    CONSTRAINT operation_pkey PRIMARY KEY (id),
    CONSTRAINT filter_is_some CHECK (jsonb_typeof(filter) = 'object' AND filter <> '{}'),
    -- No program could read an operation that has come to a time outside these years.
    CONSTRAINT cursor_in_the_calendar CHECK (cursor_at >= '1970-01-01+00' AND cursor_at < '9999-12-31+00'),
    CONSTRAINT operation_is_known CHECK (action IN ('cancel', 'retry', 'delete', 'change')),
    CONSTRAINT status_is_known CHECK (status IN ('waiting', 'running', 'done', 'cancelled', 'failed')),
    CONSTRAINT matched_is_known CHECK (matched_is IN ('exact', 'about', 'more_than')),
    CONSTRAINT counted_from_0 CHECK (least(matched, done, skipped, failed, spread_seconds) >= 0)
) WITH (
    fillfactor = 50,                                        -- each chunk of jobs updates the row in place
    autovacuum_vacuum_scale_factor = 0,
    autovacuum_vacuum_threshold = 500,
    autovacuum_vacuum_cost_delay = 0
);

-- take_operation, suspects: those that are not over. Not by a time that each chunk changes.
CREATE INDEX IF NOT EXISTS operation_open ON haulier.operation (id) WHERE status IN ('waiting', 'running');


-- Acknowledged notices ----------------------------------------------------------------------------------------

-- What the notices are about that somebody has acknowledged on the dashboard: for a day, or until it ends. The dashboard
-- deletes both kinds of rows.
CREATE TABLE IF NOT EXISTS haulier.acknowledged (
    rule  text        NOT NULL,                             -- the rule that makes the notice
    thing text        NOT NULL,                             -- a queue, a worker, …
    sight text        NOT NULL,                             -- a hash of the queues that the caller could see; '': every one
    size  integer     NOT NULL,                             -- how bad it was
    actor text,                                             -- as `actor` of the audit
    at    timestamptz NOT NULL DEFAULT now(),

    CONSTRAINT acknowledged_pkey PRIMARY KEY (rule, thing, sight),
    CONSTRAINT thing_up_to_200 CHECK (length(thing) <= 200),
    CONSTRAINT acknowledged_in_the_calendar CHECK (at >= '1970-01-01+00' AND at < '9999-12-31+00')
) WITH (
    autovacuum_vacuum_scale_factor = 0,
    autovacuum_vacuum_threshold = 200,
    autovacuum_vacuum_cost_delay = 0
);


-- The record --------------------------------------------------------------------------------------------------

-- What operators did: written in the transaction that did it, kept RETENTION_DAYS; the
-- changes of a payload as long as their job.
CREATE TABLE IF NOT EXISTS haulier.audit (
    id     bigint      NOT NULL GENERATED ALWAYS AS IDENTITY,
    at     timestamptz NOT NULL DEFAULT now(),
    actor  text,                                            -- the id of an API key, 'env', 'cli'; null: no key was needed
    action text        NOT NULL,
    job_id uuid,                                            -- the job that it was done to …
    key_id text,                                            -- … or the API key …
    target text,                                            -- … or anything else: the id of an error group or a worker
    details jsonb,                                          -- what changed, without what a kind keeps secret; null: not told

    CONSTRAINT audit_pkey PRIMARY KEY (id),
    CONSTRAINT action_is_known CHECK (
        action IN (
            'cancel', 'retry', 'change', 'copy', 'delete', 'create_key', 'rotate_key', 'revoke_key', 'assign_key',
            'mute', 'unmute', 'quiet', 'unquiet', 'acknowledge', 'show_again', 'pause', 'resume', 'operate',
            'cancel_operation', 'resume_operation', 'put_schedule', 'delete_schedule', 'pause_schedule',
            'resume_schedule', 'run_schedule', 'sign_in', 'sign_out')),
    CONSTRAINT done_to_one_thing CHECK (num_nonnulls(job_id, key_id, target) = 1),
    CONSTRAINT target_up_to_200 CHECK (length(target) <= 200),
    CONSTRAINT details_is_an_object CHECK (jsonb_typeof(details) = 'object'),
    CONSTRAINT audited_in_the_calendar CHECK (at >= '1970-01-01+00' AND at < '9999-12-31+00')
);

-- Let nobody be named who does not exist. Which of those who do exist is behind a program's role, nobody here knows; but
-- only whoever may become the owner can be `cli` or `file`.
CREATE OR REPLACE FUNCTION haulier.check_actor() RETURNS trigger LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF NEW.actor <> 'env'
        AND NOT pg_has_role(session_user, (SELECT relowner FROM pg_class WHERE oid = TG_RELID), 'MEMBER')
        AND NOT EXISTS (SELECT FROM haulier.api_key WHERE id = NEW.actor)
    THEN
        RAISE EXCEPTION 'unknown actor %', left(NEW.actor, 40) USING ERRCODE = 'invalid_parameter_value',
            HINT = 'An actor is the id of an API key, or env.';
    END IF;
    RETURN NEW;
END
$$;
CREATE OR REPLACE TRIGGER check_actor BEFORE INSERT ON haulier.audit
    FOR EACH ROW WHEN (NEW.actor IS NOT NULL) EXECUTE FUNCTION haulier.check_actor();

-- purge_audit: the oldest first; list_audit: the newest
CREATE INDEX IF NOT EXISTS audit_oldest ON haulier.audit (at, id);

-- list_audit: what was done to a job
CREATE INDEX IF NOT EXISTS audit_by_job ON haulier.audit (job_id, at, id) WHERE job_id IS NOT NULL;

-- A time as the record shows it.
CREATE OR REPLACE FUNCTION haulier.time_text(instant timestamptz) RETURNS text LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$ SELECT to_char(instant AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') $$;


-- API keys ----------------------------------------------------------------------------------------------------

-- Only the owner writes keys, because a role that may could make a key that may do everything. With `-v web_makes_keys=yes`
-- the API calls these functions, which bound what a key may be, and record who made it.

-- Make an API key, and record it. The record never has the key itself, nor its hash.
CREATE OR REPLACE FUNCTION haulier.create_key(
    made text, named text, hashed bytea, may text[], within text[], rate double precision, lifetime interval,
    by_whom text
) RETURNS SETOF haulier.api_key LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    key haulier.api_key;
BEGIN
    IF NOT coalesce(
        made ~ '^[a-z0-9]{12}$' AND coalesce(lifetime, interval '0') <= interval '3650 days'
        AND coalesce(cardinality(within), 1) <= 1000
        AND NOT EXISTS (SELECT FROM unnest(within) AS queue WHERE coalesce(queue !~ '^[a-z][a-z0-9_.-]{0,63}$', true)),
        false)
    THEN
        RAISE EXCEPTION 'a key must have an id of 12 letters and digits, valid queue names, and at most 3,650 days'
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    INSERT INTO haulier.api_key (id, name, hash, scopes, queues, rate_limit, expires_at)
    VALUES (made, named, hashed, may, within, rate, now() + lifetime)
    RETURNING * INTO key;
    INSERT INTO haulier.audit (actor, action, key_id, details)
    VALUES (by_whom, 'create_key', key.id, jsonb_build_object(
        'name', key.name, 'scopes', key.scopes, 'queues', key.queues, 'rate_limit', key.rate_limit,
        'expires_at', haulier.time_text(key.expires_at)));
    RETURN NEXT key;
END
$$;

-- Give a good key another secret, and record it. At most two are good at a time: a second rotation ends the oldest. No row
-- if there is no such key, or another cell takes its new jobs: the secret would not be good there.
CREATE OR REPLACE FUNCTION haulier.rotate_key(rotated text, hashed bytea, overlap interval, by_whom text)
RETURNS SETOF haulier.api_key LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    key haulier.api_key;
BEGIN
    IF NOT coalesce(overlap <= interval '3650 days', false) THEN
        RAISE EXCEPTION 'the old secret of a key may stay valid for at most 3,650 days'
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    UPDATE haulier.api_key
    SET previous_hash = hash,
        previous_until = now() + overlap,
        hash = hashed
    WHERE id = rotated AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now()) AND moved_to IS NULL
    RETURNING * INTO key;
    IF FOUND THEN
        INSERT INTO haulier.audit (actor, action, key_id, details)
        VALUES (by_whom, 'rotate_key', key.id, jsonb_build_object(
            'name', key.name, 'rotated_until', haulier.time_text(key.previous_until)));
        RETURN NEXT key;
    END IF;
END
$$;

-- End a key, and the operations that were started with it and are not over, and record it. No row if there is no such key,
-- or it had ended.
CREATE OR REPLACE FUNCTION haulier.revoke_key(revoked text, by_whom text) RETURNS SETOF haulier.api_key LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    key haulier.api_key;
BEGIN
    UPDATE haulier.api_key
    SET revoked_at = now()
    WHERE id = revoked AND revoked_at IS NULL
    RETURNING * INTO key;
    IF FOUND THEN
        INSERT INTO haulier.audit (actor, action, key_id, details)
        VALUES (by_whom, 'revoke_key', key.id, jsonb_build_object('name', key.name));
        WITH ended AS (
            UPDATE haulier.operation
            SET status = 'cancelled', finished_at = now(), worked_by = NULL, worked_until = NULL,
                error = 'the API key that it was started with was revoked'
            WHERE actor = key.id AND status IN ('waiting', 'running')
            RETURNING id
        )
        INSERT INTO haulier.audit (actor, action, target)
        SELECT by_whom, 'cancel_operation', id::text FROM ended ORDER BY id;
        RETURN NEXT key;
    END IF;
END
$$;


-- The record --------------------------------------------------------------------------------------------------

-- Only the owner deletes entries. Under its own role a worker calls this function, which keeps those of the last day.

-- Delete the oldest expired entries, not more than `most`, and return their ids; `skipped` are those that the database refuses
-- to delete. The changes of a payload stay as long as their job: they have the original. The LIMIT has the job looked up by
-- its id; otherwise the planner could read all jobs for this.
CREATE OR REPLACE FUNCTION haulier.purge_audit(retention_days integer, most bigint, skipped bigint) RETURNS SETOF bigint
LANGUAGE sql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    DELETE FROM haulier.audit
    WHERE ctid = ANY (ARRAY(
        SELECT ctid
        FROM haulier.audit
        WHERE at < now() - make_interval(days => greatest(retention_days, 1))
            AND NOT (coalesce(details -> 'changes' ? 'payload', false)
                AND (SELECT true FROM haulier.jobs WHERE id = audit.job_id LIMIT 1) IS NOT NULL)
        ORDER BY at, id
        LIMIT most OFFSET skipped
        FOR UPDATE SKIP LOCKED))
    RETURNING id
$$;


-- Errors ------------------------------------------------------------------------------------------------------

-- The API may set the end of a group's mute, on record, and nothing else of the group.

-- Mute a group of errors until a time; null ends the mute. Return whether there is such a group.
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
    INSERT INTO haulier.audit (actor, action, target, details)
    VALUES (
        by_whom, CASE WHEN until IS NULL THEN 'unmute' ELSE 'mute' END, lpad(to_hex(muted), 16, '0'),
        CASE WHEN until IS NOT NULL THEN jsonb_build_object('muted_until', haulier.time_text(until)) END);
    RETURN true;
END
$$;


-- Partitions --------------------------------------------------------------------------------------------------

-- Only the owner may add and drop partitions, and a worker has to do so every hour. Under its own role it calls these
-- functions. They find out by themselves what is missing and what has expired, so that a caller can do nothing else.

-- Add the next partition, and return its name. Processes that change the schema or add a partition take turns, by a lock on
-- schema_version, which takes the owner's rights and waits for no reader. Everybody who may connect could hold an advisory
-- lock for ever.
CREATE OR REPLACE FUNCTION haulier.add_partition(step text, days_ahead integer) RETURNS text LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET datestyle = 'ISO' SET timezone = 'UTC' SET lock_timeout = '1s'
AS $$
DECLARE
    wanted record;
BEGIN
    IF NOT coalesce(step IN ('day', 'week', 'month') AND days_ahead <= 31, false) THEN
        RAISE EXCEPTION 'cannot make partitions of one % for % days ahead', left(step, 20), days_ahead
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    LOCK TABLE haulier.schema_version IN SHARE ROW EXCLUSIVE MODE;
    SELECT * INTO wanted FROM haulier.partition_to_add(step, days_ahead);
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    -- ATTACH, because CREATE … PARTITION OF waits for every open reader of the history, and everything else for it.
    EXECUTE format('CREATE TABLE haulier.%I (LIKE haulier.finished_job INCLUDING ALL)', wanted.name);
    EXECUTE format(
        'ALTER TABLE haulier.finished_job ATTACH PARTITION haulier.%I FOR VALUES FROM (%L) TO (%L)',
        wanted.name, wanted.lower, wanted.upper);
    RETURN wanted.name;
END
$$;

-- Finish a detach that was interrupted. This waits for every older snapshot, and meanwhile nobody can add a partition, so it
-- gives up sooner than an attempt to add one.
CREATE OR REPLACE FUNCTION haulier.finish_detach(partition oid) RETURNS text LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '500ms'
AS $$
DECLARE
    place text := (
        SELECT format('%I.%I', schema, name)
        FROM haulier.history_partitions()
        WHERE "table" = partition AND detaching);
BEGIN
    IF place IS NOT NULL THEN
        EXECUTE format('ALTER TABLE haulier.finished_job DETACH PARTITION %s FINALIZE', place);
        -- SQL takes a name, which may have become another table's in the meantime.
        IF (SELECT relispartition FROM pg_class WHERE oid = partition) THEN
            RAISE EXCEPTION '% is now the name of another table', place USING ERRCODE = 'lock_not_available';
        END IF;
    END IF;
    RETURN place;
END
$$;

-- Mark a partition in which every job finished at least retention_days ago, and return its schema and name. The mark lets
-- an interrupted drop be finished later; a partition that an operator detached has no mark, and stays.
CREATE OR REPLACE FUNCTION haulier.mark_expired(
    partition oid, retention_days integer, OUT schema name, OUT name name
) RETURNS SETOF record LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '1s'
AS $$
BEGIN
    SELECT present.schema, present.name INTO schema, name
    FROM haulier.history_partitions() AS present
    WHERE "table" = partition AND NOT detaching AND NOT is_default
        AND upper <= now() - make_interval(days => greatest(retention_days, 1));
    IF FOUND THEN
        EXECUTE format('COMMENT ON TABLE %I.%I IS %L', schema, name, 'expired');
        -- SQL takes a name, which may have become another table's in the meantime.
        IF obj_description(partition, 'pg_class') IS DISTINCT FROM 'expired' THEN
            RAISE EXCEPTION '%.% is now the name of another table', schema, name USING ERRCODE = 'lock_not_available';
        END IF;
        RETURN NEXT;
    END IF;
END
$$;

-- Mark and detach an expired partition. While this waits for readers of the history, all settles wait for it, so it gives up
-- soon. They would not wait for DETACH … CONCURRENTLY, but no function can run that, and only the owner may.
CREATE OR REPLACE FUNCTION haulier.detach_partition(partition oid, retention_days integer) RETURNS text
LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '100ms'
AS $$
DECLARE
    place text := (SELECT format('%I.%I', schema, name) FROM haulier.mark_expired(partition, retention_days));
BEGIN
    IF place IS NOT NULL THEN
        EXECUTE format('ALTER TABLE haulier.finished_job DETACH PARTITION %s', place);
        IF (SELECT relispartition FROM pg_class WHERE oid = partition) THEN
            RAISE EXCEPTION '% is now the name of another table', place USING ERRCODE = 'lock_not_available';
        END IF;
    END IF;
    RETURN place;
END
$$;

-- Drop a detached partition.
CREATE OR REPLACE FUNCTION haulier.drop_partition(detached oid) RETURNS text LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '1s'
AS $$
DECLARE
    place record;
BEGIN
    SELECT schema, name INTO place FROM haulier.detached_partitions() WHERE "table" = detached;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    EXECUTE format('LOCK TABLE %I.%I IN ACCESS EXCLUSIVE MODE', place.schema, place.name);
    -- From now on its name is its own, if it still is.
    PERFORM
    FROM haulier.detached_partitions()
    WHERE "table" = detached AND schema = place.schema AND name = place.name;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    EXECUTE format('DROP TABLE %I.%I', place.schema, place.name);
    RETURN CASE WHEN place.schema = 'haulier' THEN '' ELSE place.schema || '.' END || place.name;
END
$$;

-- Let the index of ended jobs know the newest pages of the history, or every search would read these in full. Only the
-- owner may do it. A vacuum that is under way does it too.
CREATE OR REPLACE FUNCTION haulier.summarize_history() RETURNS void LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '100ms'
AS $$
BEGIN
    PERFORM brin_summarize_new_values(inhrelid::regclass)
    FROM pg_inherits
    JOIN pg_index ON indexrelid = inhrelid
    JOIN haulier.history_partitions() AS partition ON partition."table" = indrelid
    WHERE inhparent = 'haulier.finished_job_ended'::regclass
        AND lower <= now() AND upper > now() - interval '10 minutes';
EXCEPTION WHEN lock_not_available THEN
    NULL;
END
$$;


-- Queues ------------------------------------------------------------------------------------------------------

-- The API may pause at most 1,000 queues, because each claim reads all pauses; and only on record.

-- Let no job of a queue start before a time; null: before it is resumed. What runs continues. Return `paused`, or why not:
-- `past` if that time has come, `full` if a thousand others are paused.
-- A notification makes each worker give back the jobs of the queue that it has claimed and not started, and look for lanes
-- again. Workers that it does not reach do so half a second later.
CREATE OR REPLACE FUNCTION haulier.pause_queue(
    paused text, paused_until timestamptz, by_whom text, why text DEFAULT NULL) RETURNS text
LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF paused_until <= now() THEN
        RETURN 'past';
    END IF;
    IF (SELECT count(*) FROM haulier.pause WHERE queue <> paused AND (until IS NULL OR until > now())) >= 1000 THEN
        RETURN 'full';
    END IF;
    INSERT INTO haulier.pause AS present (queue, until, paused_by, reason)
    VALUES (paused, paused_until, by_whom, why)
    ON CONFLICT (queue) DO UPDATE
    SET since = CASE WHEN present.until <= now() THEN now() ELSE present.since END,
        until = paused_until,
        paused_by = by_whom,
        reason = why
    WHERE (present.until, present.reason) IS DISTINCT FROM (paused_until, why);
    IF FOUND THEN
        INSERT INTO haulier.audit (actor, action, target, details)
        VALUES (by_whom, 'pause', paused, jsonb_build_object('until', haulier.time_text(paused_until))
            || CASE WHEN why IS NULL THEN '{}'::jsonb ELSE jsonb_build_object('reason', why) END);
        PERFORM pg_notify('haulier_job', 'queue ' || paused);
    END IF;
    -- After its own row, so that whoever waits for that holds no other.
    DELETE FROM haulier.pause
    WHERE queue IN (SELECT queue FROM haulier.pause WHERE until <= now() FOR UPDATE SKIP LOCKED);
    RETURN 'paused';
END
$$;

-- Let the jobs of a queue start again, and notify every worker. Return whether it was paused.
CREATE OR REPLACE FUNCTION haulier.resume_queue(resumed text, by_whom text) RETURNS boolean LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    ended_by timestamptz;
BEGIN
    DELETE FROM haulier.pause WHERE queue = resumed RETURNING until INTO ended_by;
    IF NOT FOUND OR ended_by <= now() THEN
        RETURN false;
    END IF;
    INSERT INTO haulier.audit (actor, action, target) VALUES (by_whom, 'resume', resumed);
    PERFORM pg_notify('haulier_job', 'queue ' || resumed);
    RETURN true;
END
$$;


-- Schedules ---------------------------------------------------------------------------------------------------

-- The API may write the rules of schedules that are not of schedules.toml, on record, but not how far each has come.

-- Write a new schedule, or another rule of a schedule. The caller has locked it, and has decided the ticks up to now; from
-- now on the new rule counts. Return whether it was written: another caller may have made it meanwhile. Only the actor
-- `file` writes the schedules of schedules.toml.
CREATE OR REPLACE FUNCTION haulier.put_schedule(
    named text, rule jsonb, counted_from timestamptz, next timestamptz, look timestamptz, is_new boolean, noted jsonb,
    by_whom text
) RETURNS boolean LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    put haulier.schedule := jsonb_populate_record(NULL::haulier.schedule, rule);
BEGIN
    IF is_new THEN
        INSERT INTO haulier.schedule (
            name, cron, every_seconds, time_zone, job, overlap, missed, missed_max, missed_within_seconds,
            jitter_seconds, counts_from, decided_to, next_at, look_at)
        VALUES (
            named, put.cron, put.every_seconds, put.time_zone, put.job, put.overlap, put.missed, put.missed_max,
            put.missed_within_seconds, put.jitter_seconds, counted_from, haulier.schedule_time(), next,
            least(look, haulier.schedule_time()))
        ON CONFLICT (name) DO NOTHING;
    ELSE
        UPDATE haulier.schedule
        SET (cron, every_seconds, time_zone, job, overlap, missed, missed_max, missed_within_seconds, jitter_seconds) = ROW (
                put.cron, put.every_seconds, put.time_zone, put.job, put.overlap, put.missed, put.missed_max,
                put.missed_within_seconds, put.jitter_seconds),
            counts_from = counted_from,
            -- If the clock went back, what is decided stays decided.
            decided_to = greatest(decided_to, haulier.schedule_time()),
            next_at = next,
            look_at = least(look, haulier.schedule_time()),
            refused_since = NULL,
            refusals = 0,
            refusal = NULL,
            updated_at = now()
        WHERE name = named AND (source = 'file') = (by_whom IS NOT DISTINCT FROM 'file');
    END IF;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    INSERT INTO haulier.audit (actor, action, target, details) VALUES (by_whom, 'put_schedule', named, noted);
    RETURN true;
END
$$;

-- Delete a schedule; its ticks and jobs stay. Return whether there was one.
CREATE OR REPLACE FUNCTION haulier.delete_schedule(named text, by_whom text) RETURNS boolean LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    DELETE FROM haulier.schedule WHERE name = named AND (source = 'file') = (by_whom IS NOT DISTINCT FROM 'file');
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    INSERT INTO haulier.audit (actor, action, target) VALUES (by_whom, 'delete_schedule', named);
    RETURN true;
END
$$;

-- Let the ticks of a schedule pass until a time, or until it is resumed. An earlier pause with ticks that are still to be
-- decided becomes a part of this one. Return `paused`, `past` (that time has passed), or `none` (no such schedule).
CREATE OR REPLACE FUNCTION haulier.pause_schedule(named text, until timestamptz, by_whom text) RETURNS text
LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    old haulier.schedule;
    now_ CONSTANT timestamptz := haulier.schedule_time();
BEGIN
    SELECT * INTO old FROM haulier.schedule WHERE name = named FOR UPDATE;
    IF NOT FOUND THEN
        RETURN 'none';
    END IF;
    IF until <= now_ THEN
        RETURN 'past';
    END IF;
    IF old.paused_since IS NULL OR old.paused_until <= now_ OR old.paused_until IS DISTINCT FROM until THEN
        UPDATE haulier.schedule
        SET paused_since = CASE
                WHEN old.paused_since IS NOT NULL AND coalesce(old.paused_until > old.decided_to, true) THEN old.paused_since
                ELSE now_
            END,
            paused_until = until
        WHERE name = named;
        INSERT INTO haulier.audit (actor, action, target, details)
        VALUES (by_whom, 'pause_schedule', named, jsonb_build_object('until', haulier.time_text(until)));
    END IF;
    RETURN 'paused';
END
$$;

-- End a schedule's pause. Its time is kept, for ticks within it that are still to be decided. Return whether there is such
-- a schedule.
CREATE OR REPLACE FUNCTION haulier.resume_schedule(named text, by_whom text) RETURNS boolean LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    UPDATE haulier.schedule
    SET paused_until = haulier.schedule_time()
    WHERE name = named AND paused_since IS NOT NULL AND (paused_until IS NULL OR paused_until > haulier.schedule_time());
    IF FOUND THEN
        INSERT INTO haulier.audit (actor, action, target) VALUES (by_whom, 'resume_schedule', named);
        RETURN true;
    END IF;
    RETURN EXISTS (SELECT FROM haulier.schedule WHERE name = named);
END
$$;

-- Fire a schedule now, beside its ticks. The caller has locked it. Return the job.
CREATE OR REPLACE FUNCTION haulier.run_schedule(named text, by_whom text) RETURNS uuid LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    job uuid;
BEGIN
    IF NOT EXISTS (
        SELECT
        FROM haulier.schedule
        WHERE name = named
            AND (overlap = 'allow' OR NOT EXISTS (SELECT FROM haulier.job AS live WHERE live.schedule = named)))
    THEN
        RAISE EXCEPTION 'schedule % does not exist, or a job of it is live', left(named, 64)
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    PERFORM haulier.fire_ticks(ARRAY[named], ARRAY[haulier.schedule_time()], ARRAY['fired']);
    SELECT job_id INTO job
    FROM haulier.tick
    JOIN haulier.schedule ON schedule.name = tick.schedule AND schedule.id = tick.schedule_id
    WHERE tick.schedule = named AND scheduled_at = haulier.schedule_time();
    -- The database accepts its job again, so ticks that are due need not wait any longer.
    UPDATE haulier.schedule
    SET look_at = least(look_at, haulier.schedule_time()),
        refused_since = NULL,
        refusals = 0,
        refusal = NULL
    WHERE name = named AND refusals > 0;
    INSERT INTO haulier.audit (actor, action, target, details)
    VALUES (by_whom, 'run_schedule', named, jsonb_build_object('job', job));
    RETURN job;
END
$$;


-- Sessions ----------------------------------------------------------------------------------------------------

-- The API may open a session only with the present secret of a good key, on record, and read no list of tokens.

-- Record that somebody signs in or out with a key, unless that is the key's last such entry, less than a minute old.
CREATE OR REPLACE FUNCTION haulier.record_sign(key text, act text) RETURNS void LANGUAGE sql
SET search_path = pg_catalog, pg_temp
AS $$
    INSERT INTO haulier.audit (actor, action, key_id)
    SELECT key, act, key
    WHERE act IS DISTINCT FROM (
        SELECT action
        FROM haulier.audit
        WHERE at > now() - interval '1 minute' AND action IN ('sign_in', 'sign_out') AND key_id = key
        ORDER BY id DESC
        LIMIT 1)
$$;

-- Open a session with a good API key that has a secret of this hash, and record it. Of the key's other sessions the last
-- used ones are kept. Return whether it was opened. The database does not know the secret of `env`, HAULIER_API_KEY: the
-- API compares its hash whenever the session is used.
CREATE OR REPLACE FUNCTION haulier.open_session(
    opened bytea, key text, key_hashed bytea, idle interval, most_others bigint
) RETURNS boolean LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF NOT coalesce(most_others BETWEEN 0 AND 99, false) THEN
        RAISE EXCEPTION 'a key may have at most 100 sessions' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    PERFORM
    FROM haulier.api_key
    WHERE id = key AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())
        AND (hash = key_hashed OR (previous_hash = key_hashed AND previous_until > now()));
    IF NOT FOUND AND key IS DISTINCT FROM 'env' THEN
        RETURN false;
    END IF;
    DELETE FROM haulier.session
    WHERE hash = ANY (
        ARRAY(
            SELECT hash
            FROM haulier.session
            WHERE key_id = key
            ORDER BY seen_at DESC, hash
            OFFSET most_others
            FOR UPDATE SKIP LOCKED));
    INSERT INTO haulier.session (hash, key_id, key_hash, expires_at) VALUES (opened, key, key_hashed, now() + idle);
    PERFORM haulier.record_sign(key, 'sign_in');
    RETURN true;
END
$$;

-- End a session, and record it unless it had expired.
CREATE OR REPLACE FUNCTION haulier.sign_out(ended bytea) RETURNS void LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    gone haulier.session;
BEGIN
    DELETE FROM haulier.session WHERE hash = ended RETURNING * INTO gone;
    IF gone.expires_at > now() THEN
        PERFORM haulier.record_sign(gone.key_id, 'sign_out');
    END IF;
END
$$;


-- Ticks -------------------------------------------------------------------------------------------------------

-- These functions enqueue the jobs of due ticks with the owner's rights. They check that a tick is due, is not decided yet,
-- and lies in no pause.

-- Write the outcomes of ticks, enqueue the jobs of those that fire, and return how many did. A tick that is there already
-- stays as it is. Only the owner may call this: the functions that programs call check the ticks first.
CREATE OR REPLACE FUNCTION haulier.fire_ticks(names text[], ats timestamptz[], outcomes text[]) RETURNS bigint
LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    now_ CONSTANT timestamptz := haulier.schedule_time();
    fired_names text[];
    fired_ats   timestamptz[];
    fired_jobs  uuid[];
    enqueued    bigint;
BEGIN
    WITH decided AS (
        INSERT INTO haulier.tick (schedule, schedule_id, scheduled_at, outcome, fired_at, job_id)
        SELECT schedule.name, schedule.id, at, outcome,
            CASE WHEN outcome = 'fired' THEN now_ END,
            CASE WHEN outcome = 'fired' THEN haulier.uuidv7() END
        FROM unnest(names, ats, outcomes) AS asked (name, at, outcome)
        JOIN haulier.schedule ON schedule.name = asked.name
        ORDER BY schedule.name, at
        ON CONFLICT (schedule, schedule_id, scheduled_at) DO NOTHING
        RETURNING schedule, scheduled_at, job_id
    )
    SELECT array_agg(schedule), array_agg(scheduled_at), array_agg(job_id) INTO fired_names, fired_ats, fired_jobs
    FROM decided
    WHERE job_id IS NOT NULL;
    -- An INSERT of no job would wake a worker as well.
    IF fired_jobs IS NULL THEN
        RETURN 0;
    END IF;
    INSERT INTO haulier.job (id, kind, payload, queue, priority, max_attempts, timeout_seconds, tags, schedule,
        scheduled_for)
    SELECT fired.id, job ->> 'kind', job -> 'payload', coalesce(job ->> 'queue', 'default'), coalesce((job ->>
        'priority')::smallint, 0), coalesce((job ->> 'max_attempts')::integer, 3), (job ->> 'timeout_seconds')::integer,
        CASE WHEN jsonb_typeof(job -> 'tags') = 'array' THEN nullif(ARRAY(SELECT jsonb_array_elements_text(job ->
        'tags')), '{}') END, fired.schedule, fired.at
    FROM unnest(fired_jobs, fired_names, fired_ats) AS fired (id, schedule, at)
    JOIN haulier.schedule ON schedule.name = fired.schedule
    ORDER BY fired.at, fired.schedule;
    GET DIAGNOSTICS enqueued = ROW_COUNT;
    IF enqueued < cardinality(fired_jobs) THEN
        RAISE 'a trigger on haulier.job dropped the job';
    END IF;
    RETURN enqueued;
END
$$;

-- Workers read the rules, and decide. The next two functions allow what any rule could lead to: a tick is decided once,
-- after it was due, and does not fire within a pause. Without a SET clause, so that they are inlined.

-- Whether a schedule can be decided up to this time, and be looked at then.
CREATE OR REPLACE FUNCTION haulier.may_move(
    old haulier.schedule, now_ timestamptz, to_ timestamptz, pending timestamptz, look timestamptz
) RETURNS boolean LANGUAGE sql STABLE
RETURN coalesce(
    -- If the clock went back, what is decided stays decided.
    to_ BETWEEN old.decided_to AND greatest(old.decided_to, now_)
    AND (pending IS NULL OR pending = old.pending_at OR (pending > old.decided_to AND pending <= to_))
    AND look <= now_ + interval '3600 s', false);

-- Whether a tick of a schedule that is decided up to this time can have this outcome.
CREATE OR REPLACE FUNCTION haulier.may_decide(
    old haulier.schedule, now_ timestamptz, to_ timestamptz, at timestamptz, outcome text
) RETURNS boolean LANGUAGE sql STABLE
RETURN coalesce(
    (at = old.pending_at OR (at > old.decided_to AND at <= to_ AND CASE
        WHEN old.cron IS NOT NULL THEN date_trunc('minute', at) = at
        ELSE mod(extract(epoch FROM at - old.counts_from), old.every_seconds) = 0
    END))
    -- A pause without an end: null, which is refused.
    AND (outcome <> 'fired' OR old.paused_since IS NULL OR (
        (now_ < old.paused_since OR now_ >= old.paused_until)
        AND (at = old.pending_at OR at < old.paused_since OR at >= old.paused_until))), false);

-- Write what was decided about schedules, which the caller has locked, and fire. Each decision is sent once, by its number,
-- with its ticks and the names of its schedules. Return how many ticks fired.
CREATE OR REPLACE FUNCTION haulier.decide_ticks(
    names text[], decisions integer[], decided_tos timestamptz[], pendings timestamptz[], nexts timestamptz[],
    looks timestamptz[], of_decisions integer[], ats timestamptz[], outcomes text[]
) RETURNS bigint LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    now_ CONSTANT timestamptz := haulier.schedule_time();
    tick_names text[];
    tick_ats   timestamptz[];
    tick_whats text[];
    are_due    boolean;
    moved      integer;
BEGIN
    SELECT array_agg(asked.name), array_agg(tick.at), array_agg(tick.outcome),
        bool_and(haulier.may_decide(old, now_, new.decided_to, tick.at, tick.outcome))
    INTO tick_names, tick_ats, tick_whats, are_due
    FROM unnest(names, decisions) AS asked (name, decision)
    JOIN unnest(decided_tos) WITH ORDINALITY AS new (decided_to, decision) USING (decision)
    JOIN unnest(of_decisions, ats, outcomes) AS tick (decision, at, outcome) USING (decision)
    JOIN haulier.schedule AS old ON old.name = asked.name;
    -- Tables in the order of this file, also if it is just being applied again.
    UPDATE haulier.schedule AS old
    SET decided_to = new.decided_to,
        pending_at = new.pending_at,
        next_at = new.next_at,
        look_at = new.look_at,
        -- If more ticks are due, it is still to be seen whether the last of them can fire.
        refused_since = CASE WHEN new.look_at <= now_ THEN refused_since END,
        refusals = CASE WHEN new.look_at <= now_ THEN refusals ELSE 0 END,
        refusal = CASE WHEN new.look_at <= now_ THEN refusal END
    FROM unnest(names, decisions) AS asked (name, decision)
    JOIN unnest(decided_tos, pendings, nexts, looks)
        WITH ORDINALITY AS new (decided_to, pending_at, next_at, look_at, decision) USING (decision)
    WHERE old.name = asked.name AND haulier.may_move(old, now_, new.decided_to, new.pending_at, new.look_at);
    GET DIAGNOSTICS moved = ROW_COUNT;
    IF NOT are_due OR moved IS DISTINCT FROM cardinality(names) OR cardinality(tick_names) > 2000 THEN
        RAISE EXCEPTION 'these ticks cannot have been decided for the schedules %…', left(names[1], 64)
            USING ERRCODE = 'invalid_parameter_value',
                HINT = 'A tick is decided once, only after it is due, does not fire during a pause, and a call decides at most 2,000.';
    END IF;
    RETURN haulier.fire_ticks(tick_names, tick_ats, tick_whats);
END
$$;

-- Whether a trigger of the owner's has raised an error, by the error's context, which names the language of each function,
-- and the schema of ours.
CREATE OR REPLACE FUNCTION haulier.is_raised_by_trigger(context text) RETURNS boolean LANGUAGE sql IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT EXISTS (
        SELECT FROM regexp_split_to_table(context, '\n') AS line WHERE line LIKE '%PL/%' AND line NOT LIKE '%haulier.%')
$$;

-- Whether an error passes by itself, by its SQLSTATE: see haulier/postgres/errors.py.
CREATE OR REPLACE FUNCTION haulier.may_pass(code text) RETURNS boolean LANGUAGE sql IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$ SELECT left(code, 2) IN ('08', '28', '40', '53', '55', '57', '58', 'HV') OR code = '25006' $$;

-- Put off a schedule that is due and cannot fire, and keep the reason: for 5 s, then for 60, 120, … 300 s. If the reason may
-- pass by itself, always for 5 s. Return whether it is put off: a constraint of the owner's may forbid it.
CREATE OR REPLACE FUNCTION haulier.put_off(named text, why text, may_pass boolean) RETURNS boolean LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    now_ CONSTANT timestamptz := haulier.schedule_time();
BEGIN
    UPDATE haulier.schedule
    SET refused_since = coalesce(refused_since, now_),
        refusals = CASE WHEN may_pass THEN greatest(refusals, 1) ELSE refusals + 1 END,
        refusal = left(split_part(coalesce(why, ''), E'\n', 1), 500),
        look_at = now_ + make_interval(secs => CASE WHEN may_pass THEN 5 ELSE greatest(5, least(300, 60 * refusals)) END)
    WHERE name = named AND look_at <= now_;
    RETURN FOUND;
EXCEPTION WHEN assert_failure OR OTHERS THEN
    RETURN false;
END
$$;

-- Call `decide_ticks` for some schedules at a time; if the database refuses any of them, also at the commit, for each one by
-- itself. Return what became of each schedule, and why if it cannot fire:
--   fired    all of it is written
--   put_off  only that it is put off is written
--   stuck    nothing is written, because its row cannot be changed
--   later    nothing is written: the schedules before it have used up the time
-- A function, because from outside each try would cost a round trip.
CREATE OR REPLACE FUNCTION haulier.decide_apart(
    at_a_time integer, names text[], decisions integer[], decided_tos timestamptz[], pendings timestamptz[],
    nexts timestamptz[], looks timestamptz[], of_decisions integer[], ats timestamptz[], outcomes text[]
) RETURNS TABLE (tried text, became text, why text) LANGUAGE plpgsql
SECURITY DEFINER
-- Planning the statements again for each try takes longer than running them.
SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan
AS $$
DECLARE
    all_names text[] := ARRAY(SELECT unnest(names));
    part      text[];
    numbers   integer[];
    context   text;
BEGIN
    FOR place IN 1 .. cardinality(all_names) BY least(greatest(at_a_time, 1), 1000) LOOP
        part := all_names[place : place + at_a_time - 1];
        numbers := decisions[place : place + at_a_time - 1];
        BEGIN
            became := 'later';
            IF clock_timestamp() < statement_timestamp() + interval '2 s' THEN
                PERFORM haulier.decide_ticks(
                    part, numbers, decided_tos, pendings, nexts, looks, of_decisions, ats, outcomes);
                SET CONSTRAINTS ALL IMMEDIATE;
                became := 'fired';
            END IF;
            RETURN QUERY SELECT name, became, NULL FROM unnest(part) AS name;
        -- OTHERS does not include the first two: a statement that ran out of time, and ASSERT.
        EXCEPTION WHEN query_canceled OR assert_failure OR OTHERS THEN
            GET STACKED DIAGNOSTICS why = MESSAGE_TEXT, context = PG_EXCEPTION_CONTEXT;
            -- The error is not about these schedules, or there is no time left to find out about which.
            IF haulier.may_pass(SQLSTATE) AND NOT haulier.is_raised_by_trigger(context)
                OR SQLSTATE = '57014' AND cardinality(part) > 1
            THEN
                RAISE;
            END IF;
            IF cardinality(part) > 1 THEN
                RETURN QUERY
                SELECT apart.*
                FROM haulier.decide_apart(
                    1, part, numbers, decided_tos, pendings, nexts, looks, of_decisions, ats, outcomes) AS apart;
            ELSE
                -- Without the value that could not be read: it may be secret.
                IF SQLSTATE LIKE '22%' AND context NOT LIKE '%RAISE%' THEN
                    why := format('a value does not fit (SQLSTATE %s)', SQLSTATE);
                END IF;
                tried := part[1];
                became := CASE WHEN haulier.put_off(tried, why, haulier.may_pass(SQLSTATE)) THEN 'put_off' ELSE 'stuck' END;
                RETURN NEXT;
            END IF;
        END;
    END LOOP;
END
$$;


-- Wake-ups ----------------------------------------------------------------------------------------------------

-- Notify one sleeping worker of each set of queues that includes one of these: for `knock`, and for jobs that change their
-- place. A role that may add or change jobs may wake workers, but needs no right to read who sleeps.
-- If no worker sleeps, this notifies nobody: all commits on the server that have a NOTIFY wait for each other, so there must
-- be none while workers are busy. A worker that then claims as many jobs as it can take wakes the next one. The sleeper with
-- the freshest beat is chosen: a worker that was killed while it slept keeps its row until its lease runs out, and a random
-- choice between two would wake it for half of the jobs.
CREATE OR REPLACE FUNCTION haulier.wake(served text[]) RETURNS void LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM pg_notify('haulier_job', chosen.worker_id::text)
    FROM (
        SELECT DISTINCT ON (sleeper.queues) sleeper.worker_id
        FROM haulier.sleeper
        JOIN haulier.worker ON worker.id = sleeper.worker_id AND NOT worker.quiet
        WHERE sleeper.queues IS NULL OR sleeper.queues && served
        ORDER BY sleeper.queues, worker.beat_at DESC, random()
    ) AS chosen;
END
$$;


-- Workers -----------------------------------------------------------------------------------------------------

-- The API may let a worker claim no more, on record, and write nothing else of workers.

-- Let a worker claim no more, or claim again; what it runs continues. Return whether there is such a worker.
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


-- The end -----------------------------------------------------------------------------------------------------

-- Nobody but the owner may call a function, unless it is one of these, which give no right, or grants.sql names it.
DO $do$
BEGIN
    EXECUTE (
        SELECT string_agg(format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', oid::regprocedure), '; ')
        FROM pg_proc
        WHERE pronamespace = 'haulier'::regnamespace AND proname <> ALL (ARRAY[
            'are_tags', 'detached_partitions', 'history_partitions', 'partition_to_add', 'running', 'schedule_time',
            'tagged', 'uuidv7']));
END
$do$;

-- Last, so that the version is there only when all of the above is.
INSERT INTO haulier.schema_version (version, compatible_from)
SELECT current_setting('haulier.version')::integer, current_setting('haulier.compatible_from')::integer
ON CONFLICT (one_row) DO NOTHING;
