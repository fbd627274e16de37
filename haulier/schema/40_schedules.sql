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
