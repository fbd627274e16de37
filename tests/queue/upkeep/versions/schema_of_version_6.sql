-- Haulier's schema: what may be. (app/queue/queries.sql says what happens.)
-- Apply it with `python -m app migrate`, or with `psql --single-transaction -f schema.sql`.
-- It builds an empty database, is safe to apply again and at the same time as another, and needs only CREATE
-- on the database. PostgreSQL 14 to 18. A change here raises `version` at the end of the file.

-- Each name below means what pg_catalog means by it, now and when it runs. By the caller's own path, a function of
-- somebody who may CREATE in `public` could fit an expression better, and would run as whoever inserts.
SET LOCAL search_path = pg_catalog, pg_temp;

-- Two that apply it at once take turns, by a lock that only the owner can take; before there is anything to lock by one
-- that anybody can, and so for no longer than this.
SELECT set_config('lock_timeout', '30s', true) WHERE current_setting('lock_timeout') = '0';
DO $do$
BEGIN
    IF to_regclass('haulier.schema_version') IS NULL THEN
        PERFORM pg_advisory_xact_lock(7236837241);
    END IF;
    -- Not to_regclass again, which a wait for that lock does not refresh.
    IF EXISTS (
        SELECT FROM pg_class
        JOIN pg_namespace ON pg_namespace.oid = relnamespace
        WHERE nspname = 'haulier' AND relname = 'schema_version'
    ) THEN
        LOCK TABLE haulier.schema_version IN SHARE ROW EXCLUSIVE MODE;
    END IF;
END
$do$;

CREATE SCHEMA IF NOT EXISTS haulier;

-- The order below is that in which a system at work takes its locks (keys, workers, jobs, history), so that the two
-- never wait for each other in a circle. A claim takes this view's lock before that of the table beneath it.
ALTER VIEW IF EXISTS haulier.lane RESET (security_barrier);


-- Version ------------------------------------------------------------------------------------------------------

CREATE TABLE IF NOT EXISTS haulier.schema_version (
    version         integer NOT NULL,                       -- of this file, as it was last applied
    compatible_from integer NOT NULL,                       -- the oldest program's schema version that still works
    one_row         boolean PRIMARY KEY DEFAULT true CHECK (one_row)
);


-- Ids ----------------------------------------------------------------------------------------------------------

-- UUIDv7: new ids go to the right edge of every index. PostgreSQL 18 makes them itself.
-- No SET clause, with which a function is not inlined: each INSERT would call it.
DO $do$
BEGIN
    IF current_setting('server_version_num')::integer >= 180000 THEN
        -- A text, of which every name is qualified: a dump then also goes into an older server, which lacks that function.
        CREATE OR REPLACE FUNCTION haulier.uuidv7() RETURNS uuid LANGUAGE sql VOLATILE PARALLEL SAFE
        AS 'SELECT pg_catalog.uuidv7()';
    ELSE
        -- 48 bits of milliseconds over a random (version 4) uuid, whose version bits 0100 become 0111.
        -- Not a text, whose names would be looked up in the path of whoever inserts: parsed here and now.
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


-- API keys -----------------------------------------------------------------------------------------------------

-- Who may call the API. While there is no row, and HAULIER_API_KEY is not set, it is open to its own machine alone.
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

    CONSTRAINT api_key_pkey PRIMARY KEY (id),
    CONSTRAINT id_is_of_letters_and_digits CHECK (id ~ '^[a-z0-9]{1,32}$'),
    CONSTRAINT name_from_1_to_100 CHECK (length(name) BETWEEN 1 AND 100),
    CONSTRAINT hash_is_a_sha_256 CHECK (length(hash) = 32 AND length(previous_hash) = 32),
    CONSTRAINT previous_hash_has_an_end CHECK ((previous_hash IS NULL) = (previous_until IS NULL)),
    CONSTRAINT scopes_are_known CHECK (
        cardinality(scopes) > 0 AND scopes <@ '{enqueue,read,operate,admin}'::text[]),
    CONSTRAINT queues_are_some CHECK (cardinality(queues) > 0),
    CONSTRAINT rate_limit_is_positive CHECK (rate_limit > 0 AND rate_limit <= 1000000)
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


-- Idempotency keys ---------------------------------------------------------------------------------------------

-- Written in the transaction that inserts the job; kept IDEMPOTENCY_DAYS, and as long as the job is live.
-- Each API key has a key space of its own, and callers without one have another. All are in this one column, since
-- programs of version 1 and 2 ask for ON CONFLICT (key): a client's key holds no space, so that an API key's id and a
-- space before it make it another.
CREATE TABLE IF NOT EXISTS haulier.idempotency (
    key         text        NOT NULL,                       -- 'order-7', or 'hx3k9 order-7' from the API key hx3k9
    fingerprint bytea       NOT NULL,                       -- of the request, without its key
    job_id      uuid        NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now(),

    CONSTRAINT idempotency_pkey PRIMARY KEY (key),
    CONSTRAINT key_from_1_to_288 CHECK (length(key) BETWEEN 1 AND 288)
);

-- Before version 3 there were no API keys, and nothing stood before a client's key.
DO $do$
BEGIN
    IF EXISTS (
        SELECT FROM pg_constraint
        WHERE conrelid = 'haulier.idempotency'::regclass AND conname = 'key_from_1_to_255'
    ) THEN
        ALTER TABLE haulier.idempotency
            DROP CONSTRAINT key_from_1_to_255,
            ADD CONSTRAINT key_from_1_to_288 CHECK (length(key) BETWEEN 1 AND 288);
    END IF;
END
$do$;

-- purge_keys: the oldest first
CREATE INDEX IF NOT EXISTS idempotency_oldest ON haulier.idempotency (created_at);


-- Workers ------------------------------------------------------------------------------------------------------

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

    CONSTRAINT worker_pkey PRIMARY KEY (id),
    CONSTRAINT lease_is_positive CHECK (lease > interval '0')
) WITH (fillfactor = 50);                                   -- a beat updates its row in place

-- The workers that have nothing to do and ask to be woken. Every INSERT of jobs reads all of it: it must stay tiny.
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


-- Live work ----------------------------------------------------------------------------------------------------

-- The jobs that are still to end: queued, running, retrying. A job that ends moves to finished_job.
--
-- This table is an API. An application may say, in its own transaction,
--     INSERT INTO haulier.job (kind, payload) VALUES ('send_email', '{"to": "a@b.c", "subject": "Hi", "body": "…"}');
-- with the rights that docs/operations.md grants: USAGE on the schema and INSERT on the columns it may set.
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
    suspect          boolean     NOT NULL GENERATED ALWAYS AS (crashes > 0) STORED,    -- runs alone in its process
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

    CONSTRAINT job_pkey PRIMARY KEY (id),
    CONSTRAINT status_is_live CHECK (status IN ('queued', 'running', 'retrying')),
    CONSTRAINT worker_iff_running CHECK ((status = 'running') = (worker_id IS NOT NULL)),
    CONSTRAINT running_has_a_claim CHECK (status <> 'running' OR (claim IS NOT NULL AND started_at IS NOT NULL)),
    -- A claim writes its rows anew, and changes nothing that these four look at; they would be a third of its cost.
    CONSTRAINT kind_is_a_name CHECK (status = 'running' OR kind ~ '^[a-z][a-z0-9_.-]{0,63}$'),
    CONSTRAINT queue_is_a_name CHECK (status = 'running' OR queue ~ '^[a-z][a-z0-9_.-]{0,63}$'),
    CONSTRAINT payload_is_an_object CHECK (status = 'running' OR jsonb_typeof(payload) = 'object'),
    CONSTRAINT errors_is_an_array CHECK (status = 'running' OR jsonb_typeof(errors) = 'array'),
    CONSTRAINT priority_from_minus_100_to_100 CHECK (priority BETWEEN -100 AND 100),
    -- Outside these years a client's calendar has no such day; 'infinity' neither.
    CONSTRAINT run_at_in_the_calendar CHECK (run_at >= '1970-01-01+00' AND run_at < '9999-12-31+00'),
    CONSTRAINT max_attempts_from_1_to_1000 CHECK (max_attempts BETWEEN 1 AND 1000),
    CONSTRAINT timeout_from_1_to_86400_seconds CHECK (timeout_seconds BETWEEN 1 AND 86400),
    -- Each UPDATE reads every constraint anew: written one by one, these two would be a third of that.
    CONSTRAINT times_in_the_calendar CHECK (
        least(created_at, updated_at, started_at) >= '1970-01-01+00'
        AND greatest(created_at, updated_at, started_at) < '9999-12-31+00'),
    -- Below the type's own end, which the next claim would run into.
    CONSTRAINT counters_in_range CHECK (
        least(attempt, attempts, crashes, snoozes) >= 0
        AND greatest(attempt, attempts, crashes, snoozes) <= 2000000000),
    CONSTRAINT idempotency_key_from_1_to_255 CHECK (length(idempotency_key) BETWEEN 1 AND 255)
) WITH (
    fillfactor = 80,                            -- room for the claimed version beside the queued one
    autovacuum_vacuum_scale_factor = 0,         -- by count, not by share: a queue is small and churns
    autovacuum_vacuum_threshold = 2000,
    autovacuum_analyze_scale_factor = 0,
    autovacuum_analyze_threshold = 5000,
    autovacuum_vacuum_cost_delay = 0
);

-- Before version 3 the four were looked at for running jobs too.
DO $do$
BEGIN
    IF EXISTS (
        SELECT FROM pg_constraint
        WHERE conrelid = 'haulier.job'::regclass AND conname = 'kind_is_a_name'
            AND pg_get_constraintdef(oid) NOT LIKE '%running%'
    ) THEN
        ALTER TABLE haulier.job
            DROP CONSTRAINT kind_is_a_name,
            DROP CONSTRAINT queue_is_a_name,
            DROP CONSTRAINT payload_is_an_object,
            DROP CONSTRAINT errors_is_an_array,
            ADD CONSTRAINT kind_is_a_name CHECK (status = 'running' OR kind ~ '^[a-z][a-z0-9_.-]{0,63}$'),
            ADD CONSTRAINT queue_is_a_name CHECK (status = 'running' OR queue ~ '^[a-z][a-z0-9_.-]{0,63}$'),
            ADD CONSTRAINT payload_is_an_object CHECK (status = 'running' OR jsonb_typeof(payload) = 'object'),
            ADD CONSTRAINT errors_is_an_array CHECK (status = 'running' OR jsonb_typeof(errors) = 'array');
    END IF;
END
$do$;

-- Before version 5 the two said the same of one column after the other.
DO $do$
BEGIN
    IF EXISTS (
        SELECT FROM pg_constraint
        WHERE conrelid = 'haulier.job'::regclass AND conname = 'counters_in_range'
            AND pg_get_constraintdef(oid) NOT LIKE '%LEAST%'
    ) THEN
        ALTER TABLE haulier.job
            DROP CONSTRAINT times_in_the_calendar,
            DROP CONSTRAINT counters_in_range,
            ADD CONSTRAINT times_in_the_calendar CHECK (
                least(created_at, updated_at, started_at) >= '1970-01-01+00'
                AND greatest(created_at, updated_at, started_at) < '9999-12-31+00'),
            ADD CONSTRAINT counters_in_range CHECK (
                least(attempt, attempts, crashes, snoozes) >= 0
                AND greatest(attempt, attempts, crashes, snoozes) <= 2000000000);
    END IF;
END
$do$;

-- claim: per lane (suspect, queue, priority), in the order in which jobs are due
CREATE INDEX IF NOT EXISTS job_claim ON haulier.job (suspect, queue, priority DESC, run_at, id)
    WHERE status IN ('queued', 'retrying');
-- held: what a worker runs under some claims; rescue: what a dead one held
CREATE INDEX IF NOT EXISTS job_claimed ON haulier.job (worker_id, claim) WHERE status = 'running';
-- cancelled: what a worker is to stop
CREATE INDEX IF NOT EXISTS job_cancelled ON haulier.job (worker_id) WHERE status = 'running' AND cancel_requested;
-- Before version 6 both were answered by this one.
DROP INDEX IF EXISTS haulier.job_held;
-- list_jobs: newest first. The running are few, and with an entry for each a claim would cost a tenth more.
CREATE INDEX IF NOT EXISTS job_waiting_newest ON haulier.job (created_at, id) WHERE status IN ('queued', 'retrying');
-- Before version 3 it held the running as well.
DROP INDEX IF EXISTS haulier.job_newest;

-- The lanes that have waiting jobs, each with its first and the time that is due. A loose index scan: it reads a few
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

-- Wake one sleeper for each set of queues that has one of the new jobs', by name; or nobody: a NOTIFY makes all commits
-- of the server that have one wait for each other, so there must be none while the workers are busy. Whoever then claims
-- as many jobs as it can take wakes the next. The one whose beat is the freshest: one that died in its sleep keeps its
-- row until its lease runs out, and by chance would be woken for half of the jobs.
-- An application that may do nothing but INSERT must come through, and must not decide what the names in here mean.
CREATE OR REPLACE FUNCTION haulier.knock() RETURNS trigger LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM FROM haulier.sleeper LIMIT 1;
    IF FOUND THEN
        PERFORM pg_notify('haulier_job', chosen.worker_id::text)
        FROM (
            SELECT DISTINCT ON (sleeper.queues) sleeper.worker_id
            FROM haulier.sleeper
            JOIN haulier.worker ON worker.id = sleeper.worker_id
            WHERE sleeper.queues IS NULL OR sleeper.queues && (SELECT array_agg(DISTINCT queue) FROM enqueued)
            ORDER BY sleeper.queues, worker.beat_at DESC, random()
        ) AS chosen;
    END IF;
    RETURN NULL;
END
$$;
REVOKE ALL ON FUNCTION haulier.knock() FROM PUBLIC;

CREATE OR REPLACE TRIGGER knock AFTER INSERT ON haulier.job
    REFERENCING NEW TABLE AS enqueued
    FOR EACH STATEMENT EXECUTE FUNCTION haulier.knock();


-- History ------------------------------------------------------------------------------------------------------

-- The jobs that have ended, by the time they did. Rows leave it only by an operator's retry, or with their
-- partition. Partitions are made by `migrate` and by the workers, days ahead; without one nothing could settle.
CREATE TABLE IF NOT EXISTS haulier.finished_job (
    id               uuid        NOT NULL,
    status           text        NOT NULL,
        -- succeeded         its handler returned
        -- failed_permanent  its budget was spent, or an attempt failed for good
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

    CONSTRAINT finished_job_pkey PRIMARY KEY (id, finished_at),
    CONSTRAINT status_is_final CHECK (status IN ('succeeded', 'failed_permanent', 'cancelled')),
    CONSTRAINT result_iff_succeeded CHECK (result IS NULL OR status = 'succeeded')
) PARTITION BY RANGE (finished_at);

-- list_jobs: newest first; most jobs succeed, so the others need an index of their own to be found among them
CREATE INDEX IF NOT EXISTS finished_job_newest ON haulier.finished_job (created_at, id);
CREATE INDEX IF NOT EXISTS finished_job_not_succeeded ON haulier.finished_job (created_at, id)
    WHERE status <> 'succeeded';

-- Every job, live or finished. One statement over it is one snapshot: a job is never in neither table, nor in both.
CREATE OR REPLACE VIEW haulier.jobs AS
SELECT
    id, status, kind, queue, priority, run_at, worker_id, attempt, claim, started_at, attempts, max_attempts,
    crashes, snoozes, backoff, timeout_seconds, cancel_requested, payload, idempotency_key, last_error, errors,
    created_at, updated_at, NULL::timestamptz AS finished_at, NULL::jsonb AS result
FROM haulier.job
UNION ALL
SELECT
    id, status, kind, queue, priority, run_at, NULL::uuid, attempt, claim, started_at, attempts, max_attempts,
    crashes, snoozes, NULL::double precision, timeout_seconds, cancel_requested, payload, idempotency_key, last_error,
    errors, created_at, updated_at, finished_at, result
FROM haulier.finished_job;


-- The record ---------------------------------------------------------------------------------------------------

-- What operators did: written in the transaction that did it, kept RETENTION_DAYS.
CREATE TABLE IF NOT EXISTS haulier.audit (
    id     bigint      NOT NULL GENERATED ALWAYS AS IDENTITY,
    at     timestamptz NOT NULL DEFAULT now(),
    actor  text,                                            -- the id of an API key, 'env', 'cli'; null: nobody had to say
    action text        NOT NULL,
    job_id uuid,                                            -- the job that it was done to …
    key_id text,                                            -- … or the API key

    CONSTRAINT audit_pkey PRIMARY KEY (id),
    CONSTRAINT action_is_known CHECK (action IN ('cancel', 'retry', 'create_key', 'rotate_key', 'revoke_key')),
    CONSTRAINT done_to_a_job_or_a_key CHECK ((job_id IS NULL) <> (key_id IS NULL))
);

-- purge_audit: the oldest first; list_audit: the newest
CREATE INDEX IF NOT EXISTS audit_oldest ON haulier.audit (at, id);


-- Last, so that the version is there only when all of the above is. Programs of version 1 never sleep, in this sense:
-- they find jobs by looking. Those of version 1 and 2 ask for no API key, and theirs is the key space without one.
INSERT INTO haulier.schema_version (version, compatible_from)
VALUES (6, 1)
ON CONFLICT (one_row) DO UPDATE SET version = excluded.version, compatible_from = excluded.compatible_from;
