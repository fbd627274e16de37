-- Workers -----------------------------------------------------------------------------------------------------

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
    scans_fail boolean     NOT NULL DEFAULT false,          -- its last scan for lanes failed
    version    text,                                        -- of its program; null: it has not said yet
    kinds      text[],                                      -- the kinds that it knows; null: as above
    release    text,                                        -- of the team's program (RELEASE); null: nothing names it
    vitals     jsonb,                                       -- memory, CPU, threads (domain/vitals.py); null: no beat yet
    quiet      boolean     NOT NULL DEFAULT false,          -- an operator wants it to claim no more
    stopping   boolean     NOT NULL DEFAULT false,          -- it was told to stop, and claims no more

    CONSTRAINT worker_pkey PRIMARY KEY (id),
    CONSTRAINT lease_is_positive CHECK (lease > interval '0')
) WITH (fillfactor = 50);                                   -- a beat updates its row in place

-- The workers that have ended: so a job's history can say who ran it. Written when their rows are deleted, by whomever;
-- kept RETENTION_DAYS.
CREATE TABLE IF NOT EXISTS haulier.worker_past (
    id         uuid        NOT NULL,
    host       text        NOT NULL,
    pid        integer     NOT NULL,
    threads    integer     NOT NULL,
    queues     text[],
    version    text,
    release    text,
    started_at timestamptz NOT NULL,
    beat_at    timestamptz NOT NULL,
    lease_ends timestamptz NOT NULL,
    ended_at   timestamptz NOT NULL DEFAULT now(),
    ended_how  text        NOT NULL,
        -- stopped  its row was deleted within its lease, as it does itself when it stops
        -- buried   its lease had run out
    taken_over integer     NOT NULL DEFAULT 0,              -- how many jobs others have taken from it
    taken_over_jobs uuid[] NOT NULL DEFAULT '{}',           -- the first of them

    CONSTRAINT worker_past_pkey PRIMARY KEY (id),
    CONSTRAINT end_is_known CHECK (ended_how IN ('stopped', 'buried'))
);

-- Note which workers have ended: a trigger, because several statements delete workers.
-- Whatever goes wrong here, the workers have ended: a rescue must neither fail nor wait for this note. By statement and
-- not by row, so that if the table is locked it waits once, however many have ended.
-- SECURITY DEFINER, so that nobody needs a right to write what was.
CREATE OR REPLACE FUNCTION haulier.note_ended() RETURNS trigger LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '100ms'
AS $$
BEGIN
    PERFORM FROM ended LIMIT 1;
    IF FOUND THEN
        INSERT INTO haulier.worker_past (
            id, host, pid, threads, queues, version, release, started_at, beat_at, lease_ends, ended_how)
        SELECT id, host, pid, threads, queues, version, release, started_at, beat_at, beat_at + lease,
            -- As `bury` says it.
            CASE WHEN beat_at < now() - lease THEN 'buried' ELSE 'stopped' END
        FROM ended
        ON CONFLICT (id) DO NOTHING;
        -- A trigger that is deferred to the commit would keep the workers from ending.
        SET CONSTRAINTS ALL IMMEDIATE;
    END IF;
    RETURN NULL;
EXCEPTION WHEN OTHERS THEN
    RAISE WARNING 'haulier: cannot note which workers have ended: %', SQLERRM;
    RETURN NULL;
END
$$;
CREATE OR REPLACE TRIGGER note_ended AFTER DELETE ON haulier.worker
    REFERENCING OLD TABLE AS ended
    FOR EACH STATEMENT EXECUTE FUNCTION haulier.note_ended();

-- purge_workers: the oldest first. Behind the trigger: who deletes a worker locks that table before this one.
CREATE INDEX IF NOT EXISTS worker_past_oldest ON haulier.worker_past (ended_at);

-- Which release of the web processes and of the workers came when: a row each time that one starts which brings another
-- than the last. Whoever starts deletes the rows of more than 31 days, but for the last of each process.
CREATE TABLE IF NOT EXISTS haulier.deployment (
    process text        NOT NULL,
    release text        NOT NULL,
    at      timestamptz NOT NULL DEFAULT now(),

    CONSTRAINT deployment_pkey PRIMARY KEY (process, at, release),
    CONSTRAINT process_is_known CHECK (process IN ('web', 'worker'))
);

-- The workers that have nothing to do and ask to be woken. Every INSERT of jobs reads this table: it must stay tiny.
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
