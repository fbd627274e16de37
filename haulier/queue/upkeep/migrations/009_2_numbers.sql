-- does: Adds the tables of the numbers: what came and ended in which time, and what lives. Whoever runs jobs under a
--      role of its own may count, and the API read what was counted.

SET LOCAL search_path = pg_catalog, pg_temp;
SET LOCAL lock_timeout = '5s';

-- How many jobs arrived and ended, by queue and kind. One worker process at a time counts them, from what the tables
-- above hold in order of time (haulier/queue/upkeep/numbers.sql); no statement that enqueues, claims or settles writes
-- here. The newest rows are of 10 s; older ones are summed into longer steps, so that a span of any length has few
-- rows.
CREATE TABLE IF NOT EXISTS haulier.rollup (
    step      integer     NOT NULL,                         -- seconds: 10, 60, 300, 900, 3600 or 21600
    at        timestamptz NOT NULL,                         -- when it began
    queue     text        NOT NULL,                         -- '*': of all pairs of queue and kind beyond the first 500
    kind      text        NOT NULL,
    arrived   integer     NOT NULL DEFAULT 0,               -- jobs created
    succeeded integer     NOT NULL DEFAULT 0,
    failed    integer     NOT NULL DEFAULT 0,               -- for good
    cancelled integer     NOT NULL DEFAULT 0,
    attempts  bigint      NOT NULL DEFAULT 0,               -- of the jobs that ended
    -- Histograms of those that succeeded or failed, each a number whose digits, taken by twelves, say how many jobs are in
    -- each bucket (haulier/domain/histogram.py): so they add up as numbers do.
    waited    numeric     NOT NULL DEFAULT 0,               -- from due to the start of the last run
    ran       numeric     NOT NULL DEFAULT 0,               -- the last run
    -- As the live jobs were last counted within the step; null: they were not, or there were none before either.
    due       integer,
    running   integer,
    oldest    real,                                         -- seconds since the first of the due jobs was due

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

-- Let the index of what ended know the newest pages of the history, which every search in it would read in full. Only
-- the owner may; a worker calls this. Where a vacuum is under way it does that itself.
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
REVOKE ALL ON FUNCTION haulier.summarize_history() FROM PUBLIC;

-- As grants.sql does, for whoever may claim jobs and for whoever may cancel them: so workers of version 9 count before
-- it is applied again.
DO $do$
DECLARE
    caller regrole;
BEGIN
    FOR caller IN
        SELECT DISTINCT grantee
        FROM (
            SELECT relacl AS acl FROM pg_class WHERE oid = 'haulier.job'::regclass
            UNION ALL
            SELECT attacl FROM pg_attribute WHERE attrelid = 'haulier.job'::regclass AND attname = 'claim'
        ) AS given
        CROSS JOIN aclexplode(acl)
        WHERE privilege_type = 'UPDATE'
            AND grantee NOT IN (0, (SELECT relowner FROM pg_class WHERE oid = 'haulier.job'::regclass))
    LOOP
        EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON haulier.rollup, haulier.depth TO %s', caller);
        EXECUTE format('GRANT SELECT, INSERT, UPDATE ON haulier.counting TO %s', caller);
        EXECUTE format('GRANT EXECUTE ON FUNCTION haulier.summarize_history() TO %s', caller);
    END LOOP;
    FOR caller IN
        SELECT DISTINCT grantee
        FROM pg_proc
        CROSS JOIN aclexplode(proacl)
        WHERE pg_proc.oid = 'haulier.cancel(uuid, text)'::regprocedure AND grantee NOT IN (0, proowner)
    LOOP
        EXECUTE format('GRANT SELECT ON haulier.rollup, haulier.depth, haulier.counting TO %s', caller);
    END LOOP;
END
$do$;

UPDATE haulier.schema_version SET version = 9;
