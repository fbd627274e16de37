-- The jobs of a queue that claims take next.

-- part: lanes_of_one_queue
-- The lanes of a queue, by the index of claims. The scan ends after `look` seconds.
lane AS (
    SELECT %(queue)s::text AS queue, 32767::smallint AS priority, NULL::timestamptz AS run_at, NULL::uuid AS id
    UNION ALL
    SELECT next.*
    FROM lane
    CROSS JOIN LATERAL (<<next_of_the_queue>>) AS next
    WHERE clock_timestamp() < now() + make_interval(secs => %(look)s)
)

-- name: next_jobs
-- Due jobs in the order in which claims take them, then the others as they become due; and the first job of each lane. At
-- most `limit` jobs of a lane are read. The scan ends after `most` lanes or `look` seconds.
WITH RECURSIVE <<lanes_of_one_queue>>, found AS MATERIALIZED (
    SELECT queue, priority
    FROM lane
    WHERE id IS NOT NULL
    LIMIT %(most)s
), head AS MATERIALIZED (
    SELECT job.*, row_number() OVER (PARTITION BY job.priority ORDER BY job.run_at, job.id) AS place
    FROM found
    CROSS JOIN LATERAL (
        SELECT id, kind, status, priority, run_at, attempts, max_attempts, created_at
        FROM haulier.job
        WHERE status IN ('queued', 'retrying') AND suspect = %(suspect)s AND queue = found.queue
            AND priority = found.priority
        ORDER BY suspect, queue, priority DESC, run_at, id
        LIMIT %(limit)s
    ) AS job
)
SELECT *
FROM (
    SELECT *,
        row_number() OVER (
            ORDER BY run_at > now(), CASE WHEN run_at <= now() THEN priority END DESC, run_at, id) AS number
    FROM head
) AS numbered
WHERE place = 1 OR number <= %(limit)s
ORDER BY number;
