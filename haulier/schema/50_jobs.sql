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
