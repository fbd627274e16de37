-- Operations: acts on all jobs of a filter. Each is recorded by the statement that writes it.

-- part: shown_of_operation
id, action, filter, changes, queues, spread_seconds, actor, status, as_of, matched, matched_is, done, skipped, failed,
created_at, starts_at, started_at, finished_at, error, timed_since, timed_from

-- name: begin_preview
-- Take the instant of a preview: which transactions are not committed. The caller counts afterwards.
-- A snapshot does not name the parts of a transaction that savepoints begin. They have to be asked one by one whether they
-- are in progress: this is done for the last 500,000 numbers. While an older transaction is open, numbers before them are
-- in doubt.
WITH present AS MATERIALIZED (
    SELECT oldest, next, greatest(oldest, next - 500000) AS known_from
    FROM pg_current_snapshot() AS snapshot
    CROSS JOIN LATERAL (
        SELECT pg_snapshot_xmin(snapshot)::text::bigint AS oldest, pg_snapshot_xmax(snapshot)::text::bigint AS next
    ) AS bounds
), unfinished AS MATERIALIZED (
    SELECT coalesce(range_agg(int8range(number, number + 1)), int8multirange()) AS open
    FROM (
        SELECT running::text::bigint AS number
        FROM present
        CROSS JOIN pg_snapshot_xip(pg_current_snapshot()) AS running
        WHERE running::text::bigint < known_from
        UNION ALL
        SELECT number
        FROM present
        CROSS JOIN LATERAL generate_series(known_from, next - 1) AS number
        WHERE pg_xact_status(number::text::xid8) = 'in progress'
    ) AS numbers
)
INSERT INTO haulier.preview (as_of, action, filter, queues, unseen, doubted, cluster)
SELECT clock_timestamp(), %(action)s, %(filter)s::jsonb, %(queues)s::text[],
    CASE WHEN (SELECT count(*) FROM unnest(open)) > 10000 THEN int8multirange(range_merge(open)) ELSE open END
        + int8multirange(int8range(next, NULL)),
    int8range(oldest, known_from), system_identifier
FROM present
CROSS JOIN unfinished
CROSS JOIN pg_control_system()
RETURNING id, as_of;

-- name: end_preview
UPDATE haulier.preview
SET matched = %(matched)s, matched_is = %(matched_is)s
WHERE id = %(id)s;

-- name: find_preview
SELECT id
FROM haulier.preview
WHERE as_of = %(as_of)s AND action = %(action)s AND filter = %(filter)s::jsonb
    AND queues IS NOT DISTINCT FROM %(queues)s::text[] AND matched IS NOT NULL
ORDER BY id
LIMIT 1;

-- name: lock_preview
SELECT id
FROM haulier.preview
WHERE id = %(id)s
FOR UPDATE;

-- name: find_started
-- The operation that was started from a preview. Previews of one instant have different filters or callers.
SELECT <<shown_of_operation>>
FROM haulier.operation
WHERE as_of = %(as_of)s AND action = %(action)s AND filter = %(filter)s::jsonb
    AND queues IS NOT DISTINCT FROM %(queues)s::text[]
ORDER BY id
LIMIT 1;

-- name: start_operation
-- Start the operation of a preview. No row if 100 operations are not over, or 20 of the same API key: one key must not keep
-- the others from starting any.
WITH made AS (
    INSERT INTO haulier.operation (
        action, filter, changes, queues, spread_seconds, actor, as_of, unseen, doubted, cluster, matched, matched_is,
        starts_at, next_at)
    SELECT action, filter, %(changes)s::jsonb, queues, %(spread)s, %(actor)s, as_of, unseen, doubted, cluster, matched,
        matched_is, now() + make_interval(secs => %(starts_in)s), now() + make_interval(secs => %(starts_in)s)
    FROM haulier.preview
    WHERE id = %(id)s AND matched IS NOT NULL
        AND (
            SELECT count(*) < 100 AND count(*) FILTER (WHERE actor = %(actor)s) < 20
            FROM haulier.operation
            WHERE status IN ('waiting', 'running'))
    RETURNING *
), recorded AS (
    INSERT INTO haulier.audit (actor, action, target, details)
    SELECT actor, 'operate', id::text, jsonb_build_object(
        'action', action, 'filter', %(shown_filter)s::jsonb, 'changes', changes, 'spread_seconds', spread_seconds,
        'as_of', as_of, 'matched', matched, 'matched_is', matched_is)
    FROM made
)
SELECT <<shown_of_operation>>
FROM made;

-- name: cancel_operation
-- End an operation that is not over; what it has done stays done. No row if it is over.
WITH ended AS (
    UPDATE haulier.operation
    SET status = 'cancelled', finished_at = now(), worked_by = NULL, worked_until = NULL
    WHERE id = %(id)s AND status IN ('waiting', 'running')
    RETURNING *
), recorded AS (
    INSERT INTO haulier.audit (actor, action, target)
    SELECT %(actor)s, 'cancel_operation', id::text FROM ended
)
SELECT <<shown_of_operation>>
FROM ended;

-- name: resume_operation
-- Go on with an operation that was cancelled or has failed, from where it was. No row if it is neither.
WITH resumed AS (
    UPDATE haulier.operation
    SET status = CASE WHEN started_at IS NULL THEN 'waiting' ELSE 'running' END,
        timed_since = NULL, timed_from = done + skipped + failed, finished_at = NULL, error = NULL, tries = 0, waits_since = NULL, next_at = now(), worked_by = NULL,
        worked_until = NULL
    WHERE id = %(id)s AND status IN ('cancelled', 'failed')
    RETURNING *
), recorded AS (
    INSERT INTO haulier.audit (actor, action, target)
    SELECT %(actor)s, 'resume_operation', id::text FROM resumed
)
SELECT <<shown_of_operation>>
FROM resumed;

-- part: may_be_seen_by
-- A caller that may use only some queues sees only operations that were bound to these.
(%(queues)s::text[] IS NULL OR coalesce(queues <@ %(queues)s::text[], false))

-- name: last_rate
-- How many jobs a second the last operation of some size walked past in the end: of this action if there is one, else of
-- another. Among the newest 100.
SELECT action, finished_at, walked / extract(epoch FROM ended - timed_since)::double precision AS per_second
FROM (
    SELECT action, finished_at, timed_since, done + skipped + failed AS size,
        done + skipped + failed - timed_from AS walked, coalesce(walked_at, finished_at, now()) AS ended
    FROM haulier.operation
    WHERE <<may_be_seen_by>>
    ORDER BY id DESC
    LIMIT 100
) AS newest
WHERE timed_since > now() - interval '7 days' AND size >= 250 AND walked > 0 AND ended > timed_since
ORDER BY action = %(action)s DESC, ended DESC
LIMIT 1;

-- name: get_operation
SELECT <<shown_of_operation>>
FROM haulier.operation
WHERE id = %(id)s AND <<may_be_seen_by>>;

-- name: list_operations
SELECT <<shown_of_operation>>
FROM haulier.operation
WHERE <<may_be_seen_by>>
    AND (%(statuses)s::text[] IS NULL OR status = ANY(%(statuses)s::text[]))
    AND (%(after_at)s::timestamptz IS NULL OR (created_at, id) < (%(after_at)s, %(after_id)s::uuid))
ORDER BY created_at DESC, id DESC
LIMIT %(limit)s;
