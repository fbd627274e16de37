-- does: Makes room for operations: what is done to all jobs of a filter.

SET LOCAL search_path = pg_catalog, pg_temp;
SET LOCAL lock_timeout = '5s';

-- The instants of which operators have seen how many jobs an operation would act on; kept for a day. A job is acted on
-- only as it was then: where the transaction that wrote its row had been committed.
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
    CONSTRAINT filter_is_some CHECK (filter <> '{}'),
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
    spread_seconds integer        NOT NULL DEFAULT 0,       -- jobs become due over so long
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
    failed         bigint         NOT NULL DEFAULT 0,       -- the database refused to have this done to them
    created_at     timestamptz    NOT NULL DEFAULT now(),
    starts_at      timestamptz    NOT NULL,
    started_at     timestamptz,
    finished_at    timestamptz,
    error          text,                                    -- why it has failed, or is being tried again
    -- The walk over the jobs, newest first: all up to here have been looked at.
    cursor_at      timestamptz,
    cursor_id      uuid,
    walked_at      timestamptz,                             -- when it came to its end
    later          uuid[]         NOT NULL DEFAULT '{}',    -- jobs that were locked: they are tried again at the end
    next_at        timestamptz    NOT NULL,                 -- nothing is done before
    tries          integer        NOT NULL DEFAULT 0,       -- that failed, one after the other
    worked_by      uuid,                                    -- who works on it, which nobody else does …
    worked_until   timestamptz,                             -- … before this
    worked_at      timestamptz,                             -- when its turn last was

    CONSTRAINT operation_pkey PRIMARY KEY (id),
    CONSTRAINT filter_is_some CHECK (filter <> '{}'),
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

-- The texts of a list in JSON; null where there is none.
CREATE OR REPLACE FUNCTION haulier.texts(list jsonb) RETURNS text[] LANGUAGE sql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$ SELECT array_agg(each) FROM jsonb_array_elements_text(list) AS each $$;

-- Take the instant of a preview: which transactions are not committed. Whoever calls this counts afterwards.
-- A snapshot does not name the parts of a transaction that savepoints begin; only asked for one by one do they say that
-- they are in progress. That is done for the last 500,000 numbers; of those before them, while an older transaction is
-- open, it is not known.
CREATE OR REPLACE FUNCTION haulier.begin_preview(wanted text, filter jsonb, queues text[]) RETURNS haulier.preview
LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    present    CONSTANT pg_snapshot := pg_current_snapshot();
    oldest     CONSTANT bigint := pg_snapshot_xmin(present)::text::bigint;
    next       CONSTANT bigint := pg_snapshot_xmax(present)::text::bigint;
    known_from CONSTANT bigint := greatest(oldest, next - 500000);
    open       int8multirange;
    made       haulier.preview;
BEGIN
    SELECT coalesce(range_agg(int8range(each, each + 1)), '{}') INTO open
    FROM (
        SELECT each
        FROM (SELECT pg_snapshot_xip(present)::text::bigint AS each) AS running
        WHERE each < known_from
        UNION ALL
        SELECT each
        FROM generate_series(known_from, next - 1) AS each
        WHERE pg_xact_status(each::text::xid8) = 'in progress'
    ) AS unfinished;
    IF (SELECT count(*) FROM unnest(open)) > 10000 THEN
        open := int8multirange(range_merge(open));
    END IF;
    INSERT INTO haulier.preview (as_of, action, filter, queues, unseen, doubted, cluster)
    VALUES (
        clock_timestamp(), wanted, begin_preview.filter, begin_preview.queues,
        open + int8multirange(int8range(next, NULL)), int8range(oldest, known_from),
        (SELECT system_identifier FROM pg_control_system()))
    RETURNING * INTO made;
    RETURN made;
END
$$;

-- Have what was previewed done, and record that. No row where the preview is not kept, or 100 operations are not over.
CREATE OR REPLACE FUNCTION haulier.start_operation(
    previewed uuid, changes jsonb, spread integer, starts_in double precision, by_whom text, shown jsonb
) RETURNS SETOF haulier.operation LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    made haulier.operation;
BEGIN
    INSERT INTO haulier.operation (
        action, filter, changes, queues, spread_seconds, actor, as_of, unseen, doubted, cluster, matched, matched_is,
        starts_at, next_at)
    SELECT action, filter, start_operation.changes, queues, spread, by_whom, as_of, unseen, doubted, cluster, matched,
        matched_is, now() + make_interval(secs => starts_in), now() + make_interval(secs => starts_in)
    FROM haulier.preview
    WHERE id = previewed AND matched IS NOT NULL
        AND (SELECT count(*) FROM haulier.operation WHERE status IN ('waiting', 'running')) < 100
    RETURNING * INTO made;
    IF FOUND THEN
        INSERT INTO haulier.audit (actor, action, target, details)
        VALUES (by_whom, 'operate', made.id::text, jsonb_build_object(
            'action', made.action, 'filter', shown, 'changes', made.changes, 'spread_seconds', spread,
            'as_of', made.as_of, 'matched', made.matched, 'matched_is', made.matched_is));
        RETURN NEXT made;
    END IF;
END
$$;

-- End an operation that is not over; what it has done stays done. No row where it is over.
CREATE OR REPLACE FUNCTION haulier.cancel_operation(cancelled uuid, by_whom text) RETURNS SETOF haulier.operation
LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    ended haulier.operation;
BEGIN
    UPDATE haulier.operation
    SET status = 'cancelled', finished_at = now(), worked_by = NULL, worked_until = NULL
    WHERE id = cancelled AND status IN ('waiting', 'running')
    RETURNING * INTO ended;
    IF FOUND THEN
        INSERT INTO haulier.audit (actor, action, target) VALUES (by_whom, 'cancel_operation', cancelled::text);
        RETURN NEXT ended;
    END IF;
END
$$;

-- Go on with an operation that was cancelled or has failed, from where it had come to. No row where it is neither.
CREATE OR REPLACE FUNCTION haulier.resume_operation(resumed uuid, by_whom text) RETURNS SETOF haulier.operation
LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    again haulier.operation;
BEGIN
    UPDATE haulier.operation
    SET status = CASE WHEN started_at IS NULL THEN 'waiting' ELSE 'running' END,
        finished_at = NULL, error = NULL, tries = 0, next_at = now(), worked_by = NULL, worked_until = NULL
    WHERE id = resumed AND status IN ('cancelled', 'failed')
    RETURNING * INTO again;
    IF FOUND THEN
        INSERT INTO haulier.audit (actor, action, target) VALUES (by_whom, 'resume_operation', resumed::text);
        RETURN NEXT again;
    END IF;
END
$$;

-- Take the operation whose turn it is, or this one, for so many seconds. No row where none is due, or somebody else
-- works on any: one chunk of jobs at a time, whoever does it.
CREATE OR REPLACE FUNCTION haulier.take_operation(by_whom uuid, lease double precision, only_this uuid)
RETURNS SETOF haulier.operation LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN QUERY
    WITH locked AS MATERIALIZED (
        SELECT *
        FROM haulier.operation
        WHERE status IN ('waiting', 'running')
        ORDER BY id
        FOR UPDATE SKIP LOCKED
    ), chosen AS (
        SELECT id
        FROM locked
        WHERE (only_this IS NULL OR id = only_this) AND next_at <= now()
            AND NOT EXISTS (SELECT FROM locked WHERE worked_until > now() AND worked_by <> by_whom)
            -- A row that is locked is being worked on.
            AND (SELECT count(*) FROM locked)
                = (SELECT count(*) FROM haulier.operation WHERE status IN ('waiting', 'running'))
            -- What ended lately has to be counted before it goes back, or away.
            AND NOT (
                action IN ('retry', 'delete') AND now() < as_of + interval '20 seconds'
                AND EXISTS (
                    SELECT FROM haulier.counting WHERE counted_until > now() AND through < locked.as_of))
        ORDER BY worked_at NULLS FIRST, id
        LIMIT 1
    )
    UPDATE haulier.operation
    SET status = 'running', started_at = coalesce(started_at, now()), worked_by = by_whom,
        worked_until = now() + make_interval(secs => lease), worked_at = now()
    WHERE id = (SELECT id FROM chosen)
    RETURNING *;
END
$$;

-- Note that a chunk could not be done; after the fifth time in a row the operation has failed.
CREATE OR REPLACE FUNCTION haulier.delay_operation(delayed uuid, by_whom uuid, reason text) RETURNS void
LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    UPDATE haulier.operation
    SET tries = tries + 1, error = reason, next_at = now() + make_interval(secs => 2 ^ tries), worked_by = NULL,
        worked_until = NULL,
        status = CASE WHEN tries < 4 THEN status ELSE 'failed' END,
        finished_at = CASE WHEN tries < 4 THEN NULL ELSE now() END
    WHERE id = delayed AND status = 'running' AND worked_by = by_whom;
END
$$;

-- Let another go on at once with what was taken.
CREATE OR REPLACE FUNCTION haulier.leave_operations(by_whom uuid) RETURNS void LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    UPDATE haulier.operation
    SET worked_by = NULL, worked_until = NULL
    WHERE status = 'running' AND worked_by = by_whom;
END
$$;

REVOKE ALL ON FUNCTION haulier.texts(jsonb), haulier.begin_preview(text, jsonb, text[]),
    haulier.start_operation(uuid, jsonb, integer, double precision, text, jsonb), haulier.cancel_operation(uuid, text),
    haulier.resume_operation(uuid, text), haulier.take_operation(uuid, double precision, uuid),
    haulier.delay_operation(uuid, uuid, text), haulier.leave_operations(uuid) FROM PUBLIC;
