-- Working an operation off ------------------------------------------------------------------------------------

-- The API and the worker may do to many jobs what a running operation says, to the jobs that its preview has seen.

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
    begun_at timestamptz, begun_id uuid, come_to timestamptz, come_to_id uuid, is_walked boolean, is_late boolean
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
    acted   record;
    missed  bigint;
    is_over boolean;
BEGIN
    IF NOT coalesce(
        lease <= 3600 AND is_walked IS NOT NULL AND cardinality(ids) <= 1000
        AND coalesce(array_ndims(ids), 1) = 1 AND array_position(ids, NULL) IS NULL, false)
    THEN
        RAISE EXCEPTION 'a step of an operation has up to 1,000 jobs, and is followed by the next within an hour'
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
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
    SELECT * INTO acted FROM haulier.operate_on(op, taken, ended_from, ended_to, op.done);
    -- Not one could be done: it waits. At the end of the walk, and where it has waited for long, others come first.
    IF cardinality(acted.held) > 0 AND acted.held = taken AND op.walked_at IS NULL
        AND NOT (is_late AND acted.code = '55000')
    THEN
        RAISE EXCEPTION USING MESSAGE = acted.reason, ERRCODE = acted.code;
    END IF;
    held := ARRAY(SELECT unnest(wanted) EXCEPT SELECT unnest(taken));
    missed := cardinality(ids) - cardinality(taken) - cardinality(held);
    -- What is refused for now is tried again at the end, as what is locked.
    held := acted.held || held;
    held := ARRAY(SELECT unnest(op.later) EXCEPT SELECT unnest(ids)) || held;
    -- Those that stay locked are not waited for; nor are more than these kept.
    missed := missed + greatest(cardinality(held) - 1000, 0);
    held := held[:1000];
    IF op.walked_at < now() - interval '10 seconds' THEN
        missed := missed + cardinality(held);
        held := '{}';
    END IF;
    op.done := op.done + acted.done;
    op.failed := op.failed + cardinality(taken) - acted.done - cardinality(acted.held);
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
        cursor_id = come_to_id, tries = 0, waits_since = NULL, error = NULL, matched = op.matched,
        matched_is = op.matched_is,
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

REVOKE ALL ON FUNCTION haulier.wanted_by(text),
    haulier.work_off(
        uuid, uuid, double precision, uuid[], timestamptz, timestamptz, timestamptz, uuid, timestamptz, uuid, boolean,
        boolean) FROM PUBLIC;
