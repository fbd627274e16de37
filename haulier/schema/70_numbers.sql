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
