-- Look at jobs: by their ids, or as a list.

-- name: get_jobs
SELECT *
FROM haulier.jobs
WHERE id = ANY(%(ids)s::uuid[]);

-- part: wanted
-- The conditions of a filter, except for its status, and of a cursor.
(%(kind)s::text IS NULL OR kind = %(kind)s)
AND (%(queue)s::text IS NULL OR queue = %(queue)s)
AND (%(queues)s::text[] IS NULL OR queue = ANY(%(queues)s))
AND (%(created_after)s::timestamptz IS NULL OR created_at > %(created_after)s)
AND (%(created_before)s::timestamptz IS NULL OR created_at < %(created_before)s)
AND (%(after_at)s::timestamptz IS NULL OR (created_at, id) < (%(after_at)s, %(after_id)s::uuid))

-- part: not_before_the_page
-- Not older than the last finished job of a full page.
(created_at, id) >= (
    coalesce((SELECT created_at FROM page), '-infinity'), coalesce((SELECT id FROM page), %(least_id)s::uuid))

-- name: list_jobs
-- Waiting, running and finished jobs are each read by an index of their own; a page is the newest of all three. The
-- finished are read first: where they fill a page, no live job that is older than all of them can be on it, and so the
-- dead entries of all that waited since the oldest snapshot still held are not walked. (Dead entries of running jobs
-- are: no index has those by created_at.)
-- The page ends at most_bytes of text, but has one job at least; small jobs are not counted: see `claim`. Large ones
-- are measured one by one, so that those which are cut off are not even decompressed. `matched` is the number of jobs
-- before that cut.
WITH RECURSIVE finished AS MATERIALIZED (
    SELECT *
    FROM haulier.jobs
    WHERE status IN ('succeeded', 'failed_permanent', 'cancelled')
        AND (%(status)s::text IS NULL OR status = %(status)s)
        AND <<wanted>>
    ORDER BY created_at DESC, id DESC
    LIMIT %(limit)s + %(offset)s::bigint
), page AS MATERIALIZED (
    -- The last of the finished jobs, where they fill the page; else no row.
    SELECT created_at, id
    FROM finished
    ORDER BY created_at DESC, id DESC
    OFFSET %(limit)s + %(offset)s::bigint - 1
    LIMIT 1
), newest AS MATERIALIZED (
    SELECT row_number() OVER (ORDER BY created_at DESC, id DESC) AS number, candidate.*
    FROM (
        (
            SELECT *
            FROM haulier.jobs
            WHERE status IN ('queued', 'retrying')
                AND <<not_before_the_page>>
                AND (%(status)s::text IS NULL OR status = %(status)s)
                AND <<wanted>>
            ORDER BY created_at DESC, id DESC
            LIMIT %(limit)s + %(offset)s::bigint
        )
        UNION ALL
        (
            SELECT job.*
            FROM (
                SELECT id
                FROM haulier.running()
                WHERE <<not_before_the_page>>
                    AND (%(status)s::text IS NULL OR %(status)s = 'running')
                    AND <<wanted>>
                ORDER BY created_at DESC, id DESC
                LIMIT %(limit)s + %(offset)s::bigint
            ) AS running
            -- Filter on `worker_id`, not `status`: for `status` the planner may walk, for each job, all that ran. The
            -- LIMIT makes it look each job up by its id.
            CROSS JOIN LATERAL (
                SELECT *
                FROM haulier.jobs
                WHERE id = running.id AND worker_id IS NOT NULL
                LIMIT 1
            ) AS job
        )
        UNION ALL
        SELECT *
        FROM finished
    ) AS candidate
    ORDER BY created_at DESC, id DESC
    LIMIT %(limit)s OFFSET %(offset)s
), large AS MATERIALIZED (
    SELECT row_number() OVER (ORDER BY number) AS place, number, payload, errors, result
    FROM newest
    WHERE pg_column_size(payload) + pg_column_size(errors) + coalesce(pg_column_size(result), 0) >= 2000
        OR coalesce(pg_column_compression(payload), pg_column_compression(errors), pg_column_compression(result))
            IS NOT NULL
), counted (place, number, bytes) AS (
    SELECT 0::bigint, 0::bigint, 0::bigint
    UNION ALL
    SELECT large.place, large.number,
        counted.bytes + octet_length(payload::text) + octet_length(errors::text)
            + coalesce(octet_length(result::text), 0)
    FROM counted
    JOIN large ON large.place = counted.place + 1
    WHERE counted.bytes < %(most_bytes)s
)
SELECT newest.*, (SELECT count(*) FROM newest) AS matched
FROM newest
WHERE number <= coalesce((SELECT number FROM counted WHERE bytes >= %(most_bytes)s), number)
ORDER BY number
LIMIT %(limit)s - 1;
