-- The operation that is worked off next, and by which process.

-- name: ask_for_a_turn
-- Goes before take_operation in the same message, so that one process at a time takes operations, and sees what others have
-- taken. A lock on the rows would not do, because anybody may lock one.
SELECT set_config('haulier.may_take', pg_try_advisory_xact_lock(7236837242)::text, true);

-- name: take_operation
-- Take the operation whose turn it is, or this one, for some seconds. No row if none is due, or another process works on
-- any: one chunk of jobs at a time. An operation whose row is locked is skipped.
WITH chosen AS (
    SELECT id
    FROM haulier.operation
    WHERE current_setting('haulier.may_take')::boolean
        AND status IN ('waiting', 'running') AND (%(only)s::uuid IS NULL OR id = %(only)s) AND next_at <= now()
        AND NOT EXISTS (
            SELECT FROM haulier.operation
            WHERE status = 'running' AND worked_until > now() AND worked_by <> %(by_whom)s)
        -- Jobs that have just ended are counted before they are queued again or deleted.
        AND NOT (
            action IN ('retry', 'delete') AND now() < as_of + interval '20 seconds'
            AND EXISTS (SELECT FROM haulier.counting WHERE counted_until > now() AND through < operation.as_of))
    ORDER BY worked_at NULLS FIRST, id
    LIMIT 1
    FOR UPDATE SKIP LOCKED
)
UPDATE haulier.operation
SET status = 'running', started_at = coalesce(started_at, now()), timed_since = coalesce(timed_since, now()),
    worked_by = %(by_whom)s, worked_until = now() + make_interval(secs => %(lease)s), worked_at = now()
WHERE id = (SELECT id FROM chosen)
RETURNING id, action, filter, queues, changes, spread_seconds, cursor_at, cursor_id, walked_at IS NOT NULL AS is_walked,
    later[:%(limit)s] AS later, matched_is,
    coalesce(waits_since < now() - make_interval(secs => %(patience)s), false) AS is_late;

-- name: note_count
-- Replace the lower bound that a preview counted; null: it could not be counted. Not as exact: jobs may have come since the
-- preview. The first step then has as much time as if nothing had been counted.
UPDATE haulier.operation
SET matched = coalesce(%(matched)s::bigint, matched),
    matched_is = CASE WHEN %(matched)s::bigint IS NULL THEN matched_is ELSE 'about' END,
    worked_until = now() + make_interval(secs => %(lease)s)
WHERE id = %(id)s AND status = 'running' AND worked_by = %(by_whom)s AND matched_is = 'more_than';

-- name: leave_operations
-- Let another process continue at once.
UPDATE haulier.operation
SET worked_by = NULL, worked_until = NULL
WHERE status = 'running' AND worked_by = %(by_whom)s;

-- name: delay_operation
-- Note that a chunk could not be done; after the fifth time in a row the operation has failed. A chunk that may pass later
-- is retried for ever, and does not count.
UPDATE haulier.operation
SET tries = CASE WHEN %(may_pass)s THEN tries ELSE tries + 1 END,
    waits_since = CASE WHEN %(may_pass)s THEN coalesce(waits_since, now()) END,
    error = left(%(text)s, 1000), worked_by = NULL, worked_until = NULL,
    next_at = now() + CASE WHEN %(may_pass)s THEN interval '2 seconds' ELSE make_interval(secs => 2 ^ tries) END,
    status = CASE WHEN %(may_pass)s OR tries < 4 THEN status ELSE 'failed' END,
    finished_at = CASE WHEN NOT %(may_pass)s AND tries >= 4 THEN now() END
WHERE id = %(id)s AND status = 'running' AND worked_by = %(by_whom)s;
