-- does: Lets operations be worked off, a chunk of jobs after the other.

SET LOCAL search_path = pg_catalog, pg_temp;
SET LOCAL lock_timeout = '5s';

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
-- Where the database refuses it for one, by a constraint or a trigger, it is done to all but that.
CREATE OR REPLACE FUNCTION haulier.operate_on(
    op haulier.operation, ids uuid[], ended_from timestamptz, ended_to timestamptz, place bigint
) RETURNS integer LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    half    CONSTANT integer := cardinality(ids) / 2;
    done    integer;
    refused text;
BEGIN
    IF cardinality(ids) = 0 THEN
        RETURN 0;
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
            -- Somebody has inserted another job with an id: which was meant nobody knows.
            IF done > cardinality(ids) THEN
                RAISE unique_violation;
            END IF;
        END CASE;
        RETURN done;
    EXCEPTION WHEN integrity_constraint_violation OR data_exception OR raise_exception THEN
        GET STACKED DIAGNOSTICS refused = CONSTRAINT_NAME;
        -- The history has no partition for now, which is no fault of a job.
        IF SQLSTATE = '23514' AND refused = '' THEN
            RAISE;
        END IF;
    END;
    IF half = 0 THEN
        RETURN 0;
    END IF;
    done := haulier.operate_on(op, ids[:half], ended_from, ended_to, place);
    RETURN done + haulier.operate_on(op, ids[half + 1:], ended_from, ended_to, place + done);
END
$$;

-- Which of some jobs an operation acts on: a query over their table, with %s for the lock. $1 ids, $2 unseen,
-- $3 doubted, $4 a number that no transaction has yet, $5 filter, $6 queues, $7 and $8 when the finished ones ended.
-- A row has the last 32 bits of its transaction's number, which is below $4: so the nearest number below is meant. Rows
-- of over four thousand million transactions ago may be taken for new ones, and left alone; never the other way round.
-- What the workers' own statements wrote, the end of a run, is no part of a transaction: of these there is no doubt.
CREATE OR REPLACE FUNCTION haulier.wanted_by(action text) RETURNS text LANGUAGE plpgsql IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    is_final CONSTANT boolean := action IN ('retry', 'delete');
    statuses CONSTANT text[] := CASE action
        WHEN 'retry' THEN '{failed_permanent,cancelled}'
        WHEN 'delete' THEN '{succeeded,failed_permanent,cancelled}'
        WHEN 'cancel' THEN '{queued,retrying,running}'
        WHEN 'change' THEN '{queued,retrying}'
    END;
BEGIN
    RETURN format(
        $$SELECT coalesce(array_agg(id), '{}'::uuid[])
        FROM (
            SELECT id
            FROM haulier.%1$s
            WHERE id = ANY($1) AND %2$s
                AND NOT $2 @> %3$s AND (NOT $3 @> %3$s OR status IN ('succeeded', 'failed_permanent'))
                AND status = ANY(%4$L::text[])
                AND (NOT $5 ? 'status' OR status = ANY(haulier.texts($5 -> 'status')))
                AND (NOT $5 ? 'kind' OR kind = ANY(haulier.texts($5 -> 'kind')))
                AND (NOT $5 ? 'queue' OR queue = ANY(haulier.texts($5 -> 'queue')))
                AND ($6 IS NULL OR queue = ANY($6))
                AND (NOT $5 ? 'tag' OR tags && haulier.texts($5 -> 'tag'))
                AND (NOT $5 ? 'error' OR (
                    status IN ('failed_permanent', 'retrying')
                    AND error_id = ('x' || ($5 ->> 'error'))::bit(64)::bigint))
                AND (NOT $5 ? 'worker' OR worker_id = ($5 ->> 'worker')::uuid)
                AND (NOT $5 ? 'key' OR idempotency_key = $5 ->> 'key')
                AND (NOT $5 ? 'attempts_min' OR attempts >= ($5 ->> 'attempts_min')::integer)
                AND (NOT $5 ? 'created_after' OR created_at > ($5 ->> 'created_after')::timestamptz)
                AND (NOT $5 ? 'created_before' OR created_at < ($5 ->> 'created_before')::timestamptz)
                AND NOT EXISTS (
                    SELECT
                    FROM jsonb_each_text($5) AS asked
                    WHERE starts_with(asked.key, 'payload.')
                        AND payload #>> string_to_array(substr(asked.key, 9), '.') IS DISTINCT FROM asked.value)
            ORDER BY id
            %%s
        ) AS found$$,
        CASE WHEN is_final THEN 'finished_job' ELSE 'job' END,
        CASE WHEN is_final THEN
            $$finished_at BETWEEN $7 AND $8
                AND (NOT $5 ? 'finished_after' OR finished_at > ($5 ->> 'finished_after')::timestamptz)
                AND (NOT $5 ? 'finished_before' OR finished_at < ($5 ->> 'finished_before')::timestamptz)$$
        ELSE
            $$NOT $5 ?| '{finished_after,finished_before}' AND $7 <= $8$$
        END,
        '($4 - (($4 - xmin::text::bigint) & 4294967295))',
        statuses);
END
$function$;

-- Do a chunk of an operation that was taken; then its cursor and its counts go on: all of it in one transaction, so
-- that a crash repeats nothing and skips nothing. `ids` are jobs of the filter from the cursor on up to the new one;
-- after the walk, some of those that were locked. No row, and nothing done, where the operation is somebody else's by
-- now, or over. A job is acted on if the filter wants it, and its row is the one that the preview could see.
CREATE OR REPLACE FUNCTION haulier.work_off(
    worked uuid, by_whom uuid, lease double precision, ids uuid[], ended_from timestamptz, ended_to timestamptz,
    begun_at timestamptz, begun_id uuid, come_to timestamptz, come_to_id uuid, is_walked boolean
) RETURNS SETOF haulier.operation LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    op      haulier.operation;
    query   text;
    -- No transaction has a greater number, also where this waits for a lock.
    above   CONSTANT bigint := pg_snapshot_xmax(pg_current_snapshot())::text::bigint + 16777216;
    wanted  uuid[];
    taken   uuid[];
    held    uuid[];
    acted   integer;
    missed  bigint;
    is_over boolean;
BEGIN
    -- Tables in the order of this file, also where it is just being applied again.
    LOCK TABLE haulier.job IN ROW EXCLUSIVE MODE;
    LOCK TABLE ONLY haulier.finished_job IN ROW EXCLUSIVE MODE;
    SELECT * INTO op FROM haulier.operation WHERE id = worked FOR UPDATE;
    IF op.id IS NULL OR op.status <> 'running' OR op.worked_by IS DISTINCT FROM by_whom
        OR (op.cursor_at, op.cursor_id) IS DISTINCT FROM (begun_at, begun_id)
    THEN
        RETURN;
    END IF;
    IF op.cluster <> (SELECT system_identifier FROM pg_control_system()) OR above - lower(op.unseen) > 2147483648 THEN
        RETURN QUERY
        UPDATE haulier.operation
        SET status = 'failed', finished_at = now(), worked_by = NULL, worked_until = NULL,
            error = 'what its preview saw is no longer known: the database was restored, or too much was written since'
        WHERE id = worked
        RETURNING *;
        RETURN;
    END IF;
    query := haulier.wanted_by(op.action);
    EXECUTE format(query, '') INTO wanted
    USING ids, op.unseen, op.doubted, above, op.filter, op.queues, ended_from, ended_to;
    EXECUTE format(query, 'FOR UPDATE SKIP LOCKED') INTO taken
    USING wanted, op.unseen, op.doubted, above, op.filter, op.queues, ended_from, ended_to;
    acted := haulier.operate_on(op, taken, ended_from, ended_to, op.done);
    held := ARRAY(SELECT unnest(wanted) EXCEPT SELECT unnest(taken));
    missed := cardinality(ids) - cardinality(taken) - cardinality(held);
    held := ARRAY(SELECT unnest(op.later) EXCEPT SELECT unnest(ids)) || held;
    -- Those that stay locked are not waited for; nor are more than these kept.
    missed := missed + greatest(cardinality(held) - 1000, 0);
    held := held[:1000];
    IF op.walked_at < now() - interval '10 seconds' THEN
        missed := missed + cardinality(held);
        held := '{}';
    END IF;
    op.done := op.done + acted;
    op.failed := op.failed + cardinality(taken) - acted;
    op.skipped := op.skipped + missed;
    is_over := is_walked AND cardinality(held) = 0;
    IF is_over THEN
        -- Where all were counted that matched, the walk may not have met some of them: they match no more.
        IF op.matched_is = 'exact' AND op.matched >= op.done + op.failed THEN
            op.skipped := op.matched - op.done - op.failed;
        END IF;
        op.matched := op.done + op.failed + op.skipped;
        op.matched_is := 'exact';
    END IF;
    RETURN QUERY
    UPDATE haulier.operation
    SET done = op.done, failed = op.failed, skipped = op.skipped, later = held, cursor_at = come_to,
        cursor_id = come_to_id, tries = 0, error = NULL, matched = op.matched, matched_is = op.matched_is,
        walked_at = coalesce(op.walked_at, CASE WHEN is_walked THEN now() END),
        -- Whoever holds those that are left gets a moment.
        next_at = CASE WHEN is_walked AND NOT is_over THEN now() + interval '1 second' ELSE op.next_at END,
        worked_by = CASE WHEN NOT is_walked THEN by_whom END,
        worked_until = CASE WHEN NOT is_walked THEN now() + make_interval(secs => lease) END,
        status = CASE WHEN is_over THEN 'done' ELSE 'running' END,
        finished_at = CASE WHEN is_over THEN now() END
    WHERE id = worked
    RETURNING *;
END
$$;

REVOKE ALL ON FUNCTION haulier.spread_at(timestamptz, integer, bigint), haulier.cancel_all(uuid[], uuid),
    haulier.retry_all(uuid[], timestamptz, timestamptz, haulier.operation, bigint),
    haulier.change_all(uuid[], haulier.operation, bigint), haulier.wanted_by(text),
    haulier.operate_on(haulier.operation, uuid[], timestamptz, timestamptz, bigint),
    haulier.work_off(
        uuid, uuid, double precision, uuid[], timestamptz, timestamptz, timestamptz, uuid, timestamptz, uuid, boolean)
    FROM PUBLIC;

-- As grants.sql does, so that the programs work before it is applied again: the API is whoever may cancel jobs, a worker
-- whoever may claim them. A worker looks for operations in the statement that finds it the jobs that have crashed.
DO $do$
DECLARE
    caller regrole;
    works_off CONSTANT text := 'haulier.take_operation(uuid, double precision, uuid),'
        ' haulier.delay_operation(uuid, uuid, text), haulier.leave_operations(uuid),'
        ' haulier.work_off(uuid, uuid, double precision, uuid[], timestamptz, timestamptz, timestamptz, uuid,'
        ' timestamptz, uuid, boolean)';
BEGIN
    FOR caller IN
        SELECT DISTINCT grantee
        FROM pg_proc
        CROSS JOIN aclexplode(proacl)
        WHERE pg_proc.oid = 'haulier.cancel(uuid, text)'::regprocedure AND grantee NOT IN (0, proowner)
    LOOP
        EXECUTE format('GRANT SELECT ON haulier.operation TO %s', caller);
        EXECUTE format('GRANT SELECT, UPDATE (matched, matched_is) ON haulier.preview TO %s', caller);
        EXECUTE format(
            'GRANT EXECUTE ON FUNCTION haulier.begin_preview(text, jsonb, text[]),'
            ' haulier.start_operation(uuid, jsonb, integer, double precision, text, jsonb),'
            ' haulier.cancel_operation(uuid, text), haulier.resume_operation(uuid, text), %s TO %s', works_off, caller);
    END LOOP;
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
        EXECUTE format('GRANT SELECT (id, finished_at, tags) ON haulier.finished_job TO %s', caller);
        EXECUTE format('GRANT SELECT, DELETE, UPDATE (error) ON haulier.operation TO %s', caller);
        EXECUTE format('GRANT SELECT, DELETE, UPDATE (matched) ON haulier.preview TO %s', caller);
        EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO %s', works_off, caller);
    END LOOP;
END
$do$;
