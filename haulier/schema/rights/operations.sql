-- Operations --------------------------------------------------------------------------------------------------

-- The API and the worker may write operations only as these functions do: bound to a preview, and on record.

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
    IF EXISTS (SELECT FROM unnest(begin_preview.queues) AS queue WHERE coalesce(length(queue), 65) > 64) THEN
        RAISE EXCEPTION 'the name of a queue has up to 64 characters' USING ERRCODE = 'invalid_parameter_value';
    END IF;
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

-- Have what was previewed done, and record that. No row if the preview is not kept, or 100 operations are not over, or 20
-- of the same API key: one key must not keep all others from starting any.
CREATE OR REPLACE FUNCTION haulier.start_operation(
    previewed uuid, changes jsonb, spread integer, starts_in double precision, by_whom text, shown jsonb
) RETURNS SETOF haulier.operation LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    made haulier.operation;
BEGIN
    IF NOT coalesce(
        jsonb_typeof(changes) = 'object' AND jsonb_typeof(shown) = 'object' AND spread <= 604800 AND starts_in <= 86400,
        false)
    THEN
        RAISE EXCEPTION 'an operation starts within a day, and spreads its jobs over seven days at most'
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    INSERT INTO haulier.operation (
        action, filter, changes, queues, spread_seconds, actor, as_of, unseen, doubted, cluster, matched, matched_is,
        starts_at, next_at)
    SELECT action, filter, start_operation.changes, queues, spread, by_whom, as_of, unseen, doubted, cluster, matched,
        matched_is, now() + make_interval(secs => starts_in), now() + make_interval(secs => starts_in)
    FROM haulier.preview
    WHERE id = previewed AND matched IS NOT NULL
        AND (
            SELECT count(*) < 100 AND count(*) FILTER (WHERE actor = by_whom) < 20
            FROM haulier.operation
            WHERE status IN ('waiting', 'running'))
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
        finished_at = NULL, error = NULL, tries = 0, waits_since = NULL, next_at = now(), worked_by = NULL,
        worked_until = NULL
    WHERE id = resumed AND status IN ('cancelled', 'failed')
    RETURNING * INTO again;
    IF FOUND THEN
        INSERT INTO haulier.audit (actor, action, target) VALUES (by_whom, 'resume_operation', resumed::text);
        RETURN NEXT again;
    END IF;
END
$$;

-- Take the operation whose turn it is, or this one, for so many seconds. No row where none is due, or somebody else
-- works on any: one chunk of jobs at a time, whoever does it. An operation whose row is locked is passed over.
CREATE OR REPLACE FUNCTION haulier.take_operation(by_whom uuid, lease double precision, only_this uuid)
RETURNS SETOF haulier.operation LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF NOT coalesce(by_whom IS NOT NULL AND lease <= 3600, false) THEN
        RAISE EXCEPTION 'somebody holds an operation for an hour at most' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    -- One at a time, so that the next statement sees what others have taken. Their rows cannot tell: anybody may lock one.
    IF NOT pg_try_advisory_xact_lock(7236837242) THEN
        RETURN;
    END IF;
    RETURN QUERY
    WITH chosen AS (
        SELECT id
        FROM haulier.operation
        WHERE status IN ('waiting', 'running') AND (only_this IS NULL OR id = only_this) AND next_at <= now()
            AND NOT EXISTS (
                SELECT FROM haulier.operation
                WHERE status = 'running' AND worked_until > now() AND worked_by <> by_whom)
            -- What ended lately has to be counted before it goes back, or away.
            AND NOT (
                action IN ('retry', 'delete') AND now() < as_of + interval '20 seconds'
                AND EXISTS (
                    SELECT FROM haulier.counting WHERE counted_until > now() AND through < operation.as_of))
        ORDER BY worked_at NULLS FIRST, id
        LIMIT 1
        FOR UPDATE SKIP LOCKED
    )
    UPDATE haulier.operation
    SET status = 'running', started_at = coalesce(started_at, now()), worked_by = by_whom,
        worked_until = now() + make_interval(secs => lease), worked_at = now()
    WHERE id = (SELECT id FROM chosen)
    RETURNING *;
END
$$;

-- Note that a chunk could not be done; after the fifth time in a row the operation has failed. If waiting may help, it is
-- tried again for ever, and does not count.
CREATE OR REPLACE FUNCTION haulier.delay_operation(delayed uuid, by_whom uuid, reason text, may_pass boolean) RETURNS void
LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    UPDATE haulier.operation
    SET tries = CASE WHEN may_pass THEN tries ELSE tries + 1 END,
        waits_since = CASE WHEN may_pass THEN coalesce(waits_since, now()) END,
        error = left(reason, 1000), worked_by = NULL, worked_until = NULL,
        next_at = now() + CASE WHEN may_pass THEN interval '2 seconds' ELSE make_interval(secs => 2 ^ tries) END,
        status = CASE WHEN may_pass OR tries < 4 THEN status ELSE 'failed' END,
        finished_at = CASE WHEN NOT may_pass AND tries >= 4 THEN now() END
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
    haulier.delay_operation(uuid, uuid, text, boolean), haulier.leave_operations(uuid) FROM PUBLIC;
