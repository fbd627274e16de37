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
