-- One step of an operation.

-- name: lock_tables_of_jobs
-- In the order of schema.sql: while that is applied again, the two never wait for each other in a circle.
LOCK TABLE haulier.job IN ROW EXCLUSIVE MODE; LOCK TABLE ONLY haulier.finished_job IN ROW EXCLUSIVE MODE;

-- part: turn
-- The operation, unless it is over, or another process has it or has gone on with it.
-- `is_lost`: what its preview saw is no longer known. No transaction has a number above `above`, even if this waits.
turn AS MATERIALIZED (
    SELECT operation.*, above, coalesce(walked_at < now() - interval '10 seconds', false) AS has_waited,
        cluster <> system_identifier OR above - lower(unseen) > 2147483648 AS is_lost
    FROM haulier.operation
    CROSS JOIN pg_control_system()
    CROSS JOIN (SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint + 16777216 AS above) AS numbers
    WHERE id = %(id)s AND status = 'running' AND worked_by = %(by_whom)s
        AND (cursor_at, cursor_id) IS NOT DISTINCT FROM (%(begun_at)s::timestamptz, %(begun_id)s::uuid)
    FOR UPDATE OF operation
)

-- part: written_by
-- A row has the last 32 bits of its transaction's number: the nearest such number below `above` is meant. A row of more than
-- 2^32 transactions ago may be taken for a new one, and is then skipped; never the other way.
(SELECT above FROM turn) - (((SELECT above FROM turn) - xmin::text::bigint) & 4294967295) AS written_by

-- part: as_the_preview_saw_it
-- Workers write the end of a run in a transaction without savepoints: it is never in doubt.
NOT (SELECT unseen FROM turn) @> written_by
AND (NOT (SELECT doubted FROM turn) @> written_by OR status IN ('succeeded', 'failed_permanent'))

-- part: live_jobs
(SELECT *, NULL::timestamptz AS finished_at, <<written_by>> FROM haulier.job) AS job

-- part: live_and_wanted
(<<wanted>>) AND <<to_be_retried_after>> AND <<within>> AND <<as_the_preview_saw_it>>

-- part: ended_jobs
(
    SELECT *, <<written_by>>
    FROM haulier.finished_job
    WHERE <<ended_then>>
) AS job

-- part: ended_and_wanted
(<<wanted>>) AND <<failed_with>> AND <<within>> AND <<as_the_preview_saw_it>>

-- part: what_is_locked
SELECT done, failed, skipped, later, matched, matched_is, walked_at IS NOT NULL AS was_walked, has_waited, is_lost,
    -- As text: parsing 250 ids takes a client as long as the server takes to lock their rows.
    ARRAY(SELECT id FROM taken)::text AS taken, (SELECT count(*) FROM taken) AS how_many
FROM turn

-- name: lock_live
-- Lock the live jobs among these that the operation acts on; jobs that are locked are skipped.
WITH <<turn>>, taken AS MATERIALIZED (
    SELECT id
    FROM <<live_jobs>>
    WHERE id = ANY(%(ids)s::uuid[]) AND <<live_and_wanted>>
    ORDER BY id
    FOR UPDATE SKIP LOCKED
)
<<what_is_locked>>;

-- name: lock_ended
WITH <<turn>>, taken AS MATERIALIZED (
    SELECT id
    FROM <<ended_jobs>>
    WHERE id = ANY(%(ids)s::uuid[]) AND <<ended_and_wanted>>
    ORDER BY id
    FOR UPDATE SKIP LOCKED
)
<<what_is_locked>>;

-- name: live_that_others_lock
-- The jobs that lock_live has skipped.
WITH <<turn>>
SELECT id
FROM <<live_jobs>>
WHERE id = ANY(%(ids)s::uuid[]) AND id <> ALL(%(taken)s::uuid[]) AND <<live_and_wanted>>;

-- name: ended_that_others_lock
WITH <<turn>>
SELECT id
FROM <<ended_jobs>>
WHERE id = ANY(%(ids)s::uuid[]) AND id <> ALL(%(taken)s::uuid[]) AND <<ended_and_wanted>>;

-- name: lose_operation
UPDATE haulier.operation
SET status = 'failed', finished_at = now(), worked_by = NULL, worked_until = NULL,
    error = 'what its preview saw is no longer known: the database was restored, or too much was written since'
WHERE id = %(id)s;

-- part: timed_for_long
walked_at IS NULL AND timed_since < now() - interval '15 seconds'

-- part: walked
(%(done)s + %(failed)s + %(skipped)s - %(unmet)s)

-- name: end_step
UPDATE haulier.operation
SET done = %(done)s, failed = %(failed)s, skipped = %(skipped)s, later = %(later)s::uuid[], cursor_at = %(come_to)s,
    cursor_id = %(come_to_id)s, tries = 0, waits_since = NULL, error = NULL, matched = %(matched)s,
    matched_is = %(matched_is)s,
    walked_at = coalesce(walked_at, CASE WHEN %(is_walked)s THEN now() END),
    -- A moment for whoever has locked the jobs that are left.
    next_at = CASE WHEN %(is_walked)s AND NOT %(is_over)s THEN now() + interval '1 second' ELSE next_at END,
    worked_by = CASE WHEN NOT %(is_walked)s THEN worked_by END,
    worked_until = CASE WHEN NOT %(is_walked)s THEN now() + make_interval(secs => %(lease)s) END,
    status = CASE WHEN %(is_over)s THEN 'done' ELSE status END,
    finished_at = CASE WHEN %(is_over)s THEN now() END,
    -- Only the last 10 to 15 seconds of the walk are timed: what was before says little of how long it will still take.
    timed_since = CASE WHEN <<timed_for_long>> THEN now() - interval '10 seconds' ELSE timed_since END,
    timed_from = %(unmet)s + CASE
        WHEN <<timed_for_long>> THEN
            <<walked>> - (<<walked>> - timed_from) * 10 / extract(epoch FROM now() - timed_since)
        ELSE timed_from
    END
WHERE id = %(id)s;
