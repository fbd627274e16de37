-- Jobs by the beginning of their ids.

-- name: jobs_in_id_range
-- The jobs whose ids are within a range, in the order of the ids. At most most_rows are looked at, by the primary keys,
-- whoever may see them: the first eight digits of an id are the same for all jobs of a minute.
SELECT id, kind, status, queue, created_at
FROM (
    SELECT id, kind, status, queue, created_at
    FROM haulier.jobs
    WHERE id >= %(first_id)s::uuid AND id <= %(last_id)s::uuid
    ORDER BY id
    LIMIT %(most_rows)s
) AS looked_at
WHERE %(queues)s::text[] IS NULL OR queue = ANY(%(queues)s::text[])
ORDER BY id
LIMIT %(limit)s;
