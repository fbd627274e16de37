-- What an operation does to jobs ------------------------------------------------------------------------------

-- For `work_off` only: nobody but the owner may call these.

-- When the job at this place becomes due, of jobs that are to do so over some seconds. The multiples of the golden
-- ratio lie evenly however many there are, which is not known before the last.
CREATE OR REPLACE FUNCTION haulier.spread_at(base timestamptz, seconds integer, place bigint) RETURNS timestamptz
LANGUAGE sql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$ SELECT base + make_interval(secs => seconds * mod(place * 0.6180339887498949, 1)::double precision) $$;

-- As haulier.retry, for many jobs, which are locked.
CREATE OR REPLACE FUNCTION haulier.retry_all(
    ids uuid[], ended_from timestamptz, ended_to timestamptz, op haulier.operation, place bigint
) RETURNS integer LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    retried integer;
BEGIN
    WITH back AS (
        DELETE FROM haulier.finished_job
        WHERE id = ANY(ids) AND finished_at BETWEEN ended_from AND ended_to
        RETURNING *
    )
    INSERT INTO haulier.job (
        id, kind, queue, priority, run_at, attempt, claim, started_at, max_attempts, crashes, timeout_seconds, payload,
        idempotency_key, last_error, errors, created_at, tags, copy_of, operation_id, schedule,
        scheduled_for)
    SELECT
        id, kind, queue, priority, haulier.spread_at(now(), op.spread_seconds, place + row_number() OVER ()), attempt,
        claim, started_at, max_attempts, crashes, timeout_seconds, payload, idempotency_key, last_error, errors,
        created_at, tags, copy_of, op.id, schedule, scheduled_for
    FROM back;
    GET DIAGNOSTICS retried = ROW_COUNT;
    RETURN retried;
END
$$;

-- As haulier.cancel, for many jobs, which are locked.
CREATE OR REPLACE FUNCTION haulier.cancel_all(ids uuid[], by_operation uuid) RETURNS integer LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    waiting integer;
    running integer;
BEGIN
    UPDATE haulier.job
    SET cancel_requested = true, operation_id = by_operation,
        updated_at = CASE WHEN cancel_requested THEN updated_at ELSE now() END
    WHERE id = ANY(ids) AND worker_id IS NOT NULL;
    GET DIAGNOSTICS running = ROW_COUNT;
    PERFORM pg_notify('haulier_cancel', worker_id::text)
    FROM (SELECT DISTINCT worker_id FROM haulier.job WHERE id = ANY(ids) AND worker_id IS NOT NULL) AS told;
    WITH gone AS (
        DELETE FROM haulier.job
        WHERE id = ANY(ids) AND worker_id IS NULL
        RETURNING *
    )
    INSERT INTO haulier.finished_job (
        id, status, kind, queue, priority, run_at, attempt, claim, started_at, attempts, max_attempts, crashes,
        snoozes, timeout_seconds, cancel_requested, payload, idempotency_key, last_error, errors, created_at,
        updated_at, finished_at, tags, copy_of, operation_id, schedule, scheduled_for)
    SELECT
        id, 'cancelled', kind, queue, priority, run_at, attempt, claim, started_at, attempts, max_attempts, crashes,
        snoozes, timeout_seconds, true, payload, idempotency_key, last_error, errors, created_at, now(), now(), tags,
        copy_of, by_operation, schedule, scheduled_for
    FROM gone;
    GET DIAGNOSTICS waiting = ROW_COUNT;
    RETURN running + waiting;
END
$$;

-- Change waiting jobs, which are locked, and wake those who sleep and serve their queues, as haulier.knock does.
CREATE OR REPLACE FUNCTION haulier.change_all(ids uuid[], op haulier.operation, place bigint) RETURNS integer
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    changed integer;
    due     CONSTANT timestamptz := CASE
        WHEN op.changes ? 'run_at' THEN greatest((op.changes ->> 'run_at')::timestamptz, now())
        WHEN op.changes ? 'delay_seconds' THEN
            now() + make_interval(secs => (op.changes ->> 'delay_seconds')::double precision)
    END;
BEGIN
    UPDATE haulier.job
    SET queue = coalesce(op.changes ->> 'queue', queue),
        priority = coalesce((op.changes ->> 'priority')::smallint, priority),
        run_at = coalesce(haulier.spread_at(due, op.spread_seconds, place + array_position(ids, id)), run_at),
        updated_at = now(), operation_id = op.id
    WHERE id = ANY(ids) AND worker_id IS NULL;
    GET DIAGNOSTICS changed = ROW_COUNT;
    -- Searches are told that jobs are in a queue in which they did not come.
    IF op.changes ? 'queue' THEN
        INSERT INTO haulier.moved (queue, kind, came_at)
        SELECT DISTINCT queue, kind, date_bin('1 minute', created_at, 'epoch'::timestamptz)
        FROM haulier.job
        WHERE id = ANY(ids)
        ORDER BY 1, 2, 3
        ON CONFLICT DO NOTHING;
    END IF;
    PERFORM haulier.wake(ARRAY(SELECT DISTINCT queue FROM haulier.job WHERE id = ANY(ids)));
    RETURN changed;
END
$$;

-- Have the operation done to these jobs, which are locked; return to how many. `place` is how many came before them.
-- If the database refuses it for one, it is done to all but that: to the halves, and so on. `held` are those that it
-- refuses for now, by a trigger, and all for which the statement itself fails: with the reason and the SQLSTATE of one.
-- haulier/postgres/errors.py decides by the same classes.
CREATE OR REPLACE FUNCTION haulier.operate_on(
    op haulier.operation, ids uuid[], ended_from timestamptz, ended_to timestamptz, place bigint,
    OUT done integer, OUT held uuid[], OUT code text, OUT reason text
) LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    half        CONSTANT integer := cardinality(ids) / 2;
    named       text;
    context     text;
    by_trigger  boolean;
    passes      boolean;
    first_half  record;
    second_half record;
BEGIN
    done := 0;
    held := '{}';
    IF cardinality(ids) = 0 THEN
        RETURN;
    END IF;
    BEGIN
        CASE op.action
        WHEN 'retry' THEN
            done := haulier.retry_all(ids, ended_from, ended_to, op, place);
        WHEN 'cancel' THEN
            done := haulier.cancel_all(ids, op.id);
        WHEN 'change' THEN
            done := haulier.change_all(ids, op, place);
        WHEN 'delete' THEN
            DELETE FROM haulier.finished_job WHERE id = ANY(ids) AND finished_at BETWEEN ended_from AND ended_to;
            GET DIAGNOSTICS done = ROW_COUNT;
        END CASE;
        -- Fewer: a trigger has dropped one, which would be lost. More: somebody has inserted another job with an id, and
        -- which was meant nobody knows.
        IF done <> cardinality(ids) THEN
            RAISE check_violation USING CONSTRAINT = 'done_to_each';
        END IF;
        -- What is deferred to the commit counts too.
        SET CONSTRAINTS ALL IMMEDIATE;
        RETURN;
    EXCEPTION WHEN OTHERS THEN
        GET STACKED DIAGNOSTICS code = RETURNED_SQLSTATE, reason = MESSAGE_TEXT, named = CONSTRAINT_NAME,
            context = PG_EXCEPTION_CONTEXT;
        by_trigger := haulier.is_raised_by_trigger(context);
        passes := haulier.may_pass(code);
        -- An outage, or the history has no partition for now: no fault of a job.
        IF NOT by_trigger AND (passes OR (code = '23514' AND named = '')) THEN
            RAISE;
        END IF;
    END;
    done := 0;
    IF half = 0 THEN
        IF passes OR NOT (by_trigger OR left(code, 2) IN ('22', '23', '27', '44', '54', 'P0')) THEN
            held := ids;
            code := CASE WHEN passes THEN '55000' ELSE code END;
        END IF;
        RETURN;
    END IF;
    SELECT * INTO first_half FROM haulier.operate_on(op, ids[:half], ended_from, ended_to, place);
    SELECT * INTO second_half
    FROM haulier.operate_on(op, ids[half + 1:], ended_from, ended_to, place + first_half.done);
    done := first_half.done + second_half.done;
    held := first_half.held || second_half.held;
    IF cardinality(second_half.held) > 0 THEN
        code := second_half.code;
        reason := second_half.reason;
    ELSE
        code := first_half.code;
        reason := first_half.reason;
    END IF;
END
$$;

REVOKE ALL ON FUNCTION haulier.spread_at(timestamptz, integer, bigint), haulier.cancel_all(uuid[], uuid),
    haulier.retry_all(uuid[], timestamptz, timestamptz, haulier.operation, bigint),
    haulier.change_all(uuid[], haulier.operation, bigint),
    haulier.operate_on(haulier.operation, uuid[], timestamptz, timestamptz, bigint) FROM PUBLIC;
