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
