-- Operations: what is done to all jobs of a filter. What writes them are functions of schema.sql, which record it.

-- part: shown_of_operation
id, action, filter, changes, queues, spread_seconds, actor, status, as_of, matched, matched_is, done, skipped, failed,
created_at, starts_at, started_at, finished_at, error

-- name: begin_preview
SELECT id, as_of
FROM haulier.begin_preview(%(action)s, %(filter)s::jsonb, %(queues)s::text[]);

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
-- The operation that was started from a preview. Previews of the same instant are of different filters or callers.
SELECT <<shown_of_operation>>
FROM haulier.operation
WHERE as_of = %(as_of)s AND action = %(action)s AND filter = %(filter)s::jsonb
    AND queues IS NOT DISTINCT FROM %(queues)s::text[]
ORDER BY id
LIMIT 1;

-- name: start_operation
SELECT <<shown_of_operation>>
FROM haulier.start_operation(
    %(id)s, %(changes)s::jsonb, %(spread)s, %(starts_in)s, %(actor)s, %(shown_filter)s::jsonb);

-- name: cancel_operation
SELECT <<shown_of_operation>>
FROM haulier.cancel_operation(%(id)s, %(actor)s);

-- name: resume_operation
SELECT <<shown_of_operation>>
FROM haulier.resume_operation(%(id)s, %(actor)s);

-- part: may_be_seen_by
-- Whoever may use only some queues sees the operations that were bound to these.
(%(queues)s::text[] IS NULL OR coalesce(queues <@ %(queues)s::text[], false))

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
