-- The audit: who did what.

-- name: list_audit
-- The newest entries within the times, or of a job, by their index. At most most_rows are looked at, and numbered. The last
-- of them stays in the list even if it does not match: the look ended there.
SELECT id, at, actor, action, job_id, key_id, target, details, place, is_wanted
FROM (
    SELECT *,
        row_number() OVER (ORDER BY at DESC, id DESC) AS place,
        (%(actor)s::text IS NULL OR coalesce(actor = %(actor)s, false))
            AND (%(acts)s::text[] IS NULL OR action = ANY(%(acts)s::text[]))
            AND (%(target)s::text IS NULL OR coalesce(target, key_id, '') = %(target)s) AS is_wanted
    FROM (
        SELECT *
        FROM haulier.audit
        WHERE (%(job)s::uuid IS NULL OR job_id = %(job)s::uuid)
            AND (%(at_after)s::timestamptz IS NULL OR at > %(at_after)s)
            AND (%(at_before)s::timestamptz IS NULL OR at < %(at_before)s)
            AND (%(after_at)s::timestamptz IS NULL OR (at, id) < (%(after_at)s, %(after_entry)s::bigint))
        ORDER BY at DESC, id DESC
        LIMIT %(most_rows)s
    ) AS newest
) AS looked_at
WHERE is_wanted OR place = %(most_rows)s
ORDER BY at DESC, id DESC
LIMIT %(limit)s;
