-- History -----------------------------------------------------------------------------------------------------

-- The jobs that have ended, partitioned by when they did. Rows leave this table only by an operator's retry or delete, or
-- with their partition. Partitions are made by `migrate` and by the workers, days ahead; without one nothing could settle.
CREATE TABLE IF NOT EXISTS haulier.finished_job (
    id               uuid        NOT NULL,
    status           text        NOT NULL,
        -- succeeded         its handler returned
        -- failed_permanent  its budget was spent, or an attempt failed permanently
        -- cancelled         somebody cancelled it
    kind             text        NOT NULL,
    queue            text        NOT NULL,
    priority         smallint    NOT NULL,
    run_at           timestamptz NOT NULL,
    attempt          integer     NOT NULL,
    claim            uuid,
    started_at       timestamptz,
    attempts         integer     NOT NULL,
    max_attempts     integer     NOT NULL,
    crashes          integer     NOT NULL,
    snoozes          integer     NOT NULL,
    timeout_seconds  integer,
    cancel_requested boolean     NOT NULL,
    payload          jsonb       NOT NULL,
    idempotency_key  text,
    last_error       text,
    errors           jsonb       NOT NULL,
    created_at       timestamptz NOT NULL,
    updated_at       timestamptz NOT NULL,
    finished_at      timestamptz NOT NULL,
    result           jsonb,
    error_id         bigint,                                -- of a failed_permanent one: its group (error_group)
    tags             text[],
    worker_id        uuid,                                  -- which ran the last attempt; null: none did, or not known
    copy_of          uuid,
    operation_id     uuid,
    schedule         text,
    scheduled_for    timestamptz,

    CONSTRAINT finished_job_pkey PRIMARY KEY (id, finished_at),
    CONSTRAINT status_is_final CHECK (status IN ('succeeded', 'failed_permanent', 'cancelled')),
    CONSTRAINT result_iff_succeeded CHECK (result IS NULL OR status = 'succeeded')
) PARTITION BY RANGE (finished_at);

-- list_jobs: newest first; most jobs succeed, so the others need their own index to be found among them
CREATE INDEX IF NOT EXISTS finished_job_newest ON haulier.finished_job (created_at, id);
CREATE INDEX IF NOT EXISTS finished_job_not_succeeded ON haulier.finished_job (created_at, id)
    WHERE status <> 'succeeded';
-- numbers: what ended recently. One entry for 16 pages, since jobs are stored in the order in which they end.
CREATE INDEX IF NOT EXISTS finished_job_ended ON haulier.finished_job USING brin (finished_at)
    WITH (pages_per_range = 16);
-- list_jobs: those of a group of errors that have failed permanently. No other job has an entry.
CREATE INDEX IF NOT EXISTS finished_job_failed_by_error ON haulier.finished_job (error_id, created_at, id)
    WHERE status = 'failed_permanent';
-- list_tagged: those of rare tags. A job without tags has no entry.
CREATE INDEX IF NOT EXISTS finished_job_by_tag ON haulier.finished_job USING gin (tags) WITH (fastupdate = off)
    WHERE tags IS NOT NULL;
