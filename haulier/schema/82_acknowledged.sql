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
