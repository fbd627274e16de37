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
