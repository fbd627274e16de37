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
