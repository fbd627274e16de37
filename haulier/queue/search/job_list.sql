-- Read jobs by their ids, or as a list.

-- name: get_jobs
SELECT *
FROM haulier.jobs
WHERE id = ANY(%(ids)s::uuid[]);

-- part: not_before_the_page
-- Not older than the place where the look at finished jobs ended.
(created_at, id) >= (
    coalesce((SELECT created_at FROM page), '-infinity'), coalesce((SELECT id FROM page), %(least_id)s::uuid))

-- part: stored_bytes
-- About the size of a job that moves from one table to the other; nothing is decompressed for it.
pg_column_size(payload) + pg_column_size(errors)

-- part: looked_at
-- Few columns: numbering whole rows takes as long again as reading them.
created_at, id, kind, finished_at, <<stored_bytes>> AS bytes, (<<wanted>>) AS is_wanted

-- part: finished_looked_at
-- The newest finished jobs within the times, numbered: the wanted ones and the last. The conditions are the conditions of the indexes, and say which statuses a job does not have: of a partition that is not analyzed yet, such as a new day's, the
-- planner expects one job in a hundred to have a certain status. It would read and sort all of it instead of following
-- the index. Whoever reads this names the columns: if all are in the index, no row is read.
(
    SELECT *, row_number() OVER (ORDER BY created_at DESC, id DESC) AS place
    FROM (
        SELECT <<looked_at>>
        FROM haulier.jobs
        WHERE status <> ALL (ARRAY['queued', 'running', 'retrying'])
            AND (%(statuses)s::text[] IS NULL
                OR %(statuses)s::text[] && ARRAY['succeeded', 'failed_permanent', 'cancelled'])
            AND (%(statuses)s::text[] IS NULL OR 'succeeded' = ANY(%(statuses)s::text[]) OR status <> 'succeeded')
            -- Whole days, which are partitions: no job of a partition is left out by these.
            AND (%(first_day)s::timestamptz IS NULL OR finished_at >= %(first_day)s)
            AND (%(day_after)s::timestamptz IS NULL OR finished_at < %(day_after)s)
            AND <<failed_with>>
            AND <<within>>
        ORDER BY created_at DESC, id DESC
        LIMIT %(most_rows)s
    ) AS newest
) AS looked
WHERE place = %(most_rows)s OR is_wanted

-- part: waiting_looked_at
-- The same of the waiting jobs, as far as the page may reach.
(
    SELECT *, row_number() OVER (ORDER BY created_at DESC, id DESC) AS place
    FROM (
        SELECT <<looked_at>>
        FROM haulier.jobs
        WHERE status IN ('queued', 'retrying')
            AND <<not_before_the_page>>
            AND (%(statuses)s::text[] IS NULL OR %(statuses)s::text[] && ARRAY['queued', 'retrying'])
            AND <<to_be_retried_after>>
            AND <<within>>
        ORDER BY created_at DESC, id DESC
        LIMIT %(most_rows)s
    ) AS newest
) AS looked
WHERE place = %(most_rows)s OR is_wanted

-- part: running_jobs
(SELECT running.*, 'running' AS status FROM haulier.running() AS running) AS running

-- part: last_looked_at
-- If the look ended before the oldest job; else no row.
SELECT created_at, id
FROM (
    SELECT created_at, id FROM finished WHERE place = %(most_rows)s
    UNION ALL
    SELECT created_at, id FROM waiting WHERE place = %(most_rows)s
) AS last
ORDER BY created_at DESC, id DESC
LIMIT 1

-- part: not_beyond_the_end
-- Not older than the place where the look ended.
(created_at, id) >= (
    coalesce((SELECT created_at FROM ended), '-infinity'), coalesce((SELECT id FROM ended), %(least_id)s::uuid))

-- part: passed_over
-- How much of the offset this look has used up: the next one skips the rest.
(SELECT count(*) FROM numbered WHERE number <= %(offset)s) AS passed_over

-- part: large_ones_measured
-- The page ends at most_bytes of text, but has one job at least. Small jobs do not count: see `claim`. Large ones are
-- measured one by one, so that jobs that are cut off are not even decompressed.
large AS MATERIALIZED (
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

-- part: newest_that_fit
FROM (SELECT) AS always
LEFT JOIN (
    SELECT *
    FROM newest
    WHERE number <= coalesce((SELECT number FROM counted WHERE bytes >= %(most_bytes)s), number)
    ORDER BY number
    LIMIT %(limit)s - 1
) AS page ON true
ORDER BY number

-- part: job_found
-- The job that a look has found. The LIMIT makes the planner look it up by its id, and the time in one partition only.
CROSS JOIN LATERAL (
    SELECT *
    FROM haulier.jobs
    WHERE id = found.id AND finished_at = found.finished_at
    UNION ALL
    SELECT *
    FROM haulier.jobs
    WHERE id = found.id AND status IN ('queued', 'running', 'retrying') AND found.finished_at IS NULL
    LIMIT 1
) AS job

-- name: list_jobs
-- Waiting, running and finished jobs are each read by their own index; a page is the newest of all three. The
-- finished are read first: if they fill a page, no live job that is older than all of them can be on it, so the dead
-- entries of all jobs that waited since the oldest snapshot still held are not walked. (Dead entries of running jobs are:
-- no index has those by created_at.)
-- Jobs of a group of errors are not among the running, and are read by the indexes of the group.
-- At most most_rows of the waiting and of the finished are looked at, and numbered. The last of them stays in the list
-- even if it does not match: the look ended there, and no older job is on the page.
-- `matched` is the number of jobs before the page is cut.
WITH RECURSIVE finished AS MATERIALIZED (
    SELECT created_at, id, finished_at, place, is_wanted
    FROM <<finished_looked_at>>
    ORDER BY created_at DESC, id DESC
    LIMIT %(limit)s + %(offset)s::bigint
), page AS MATERIALIZED (
    -- The last of the finished jobs, if they fill the page or the look at them ended; else no row.
    SELECT created_at, id
    FROM finished
    WHERE place = %(most_rows)s OR (SELECT count(*) FROM finished) = %(limit)s + %(offset)s::bigint
    ORDER BY created_at, id
    LIMIT 1
), waiting AS MATERIALIZED (
    SELECT created_at, id, finished_at, place, is_wanted
    FROM <<waiting_looked_at>>
    ORDER BY created_at DESC, id DESC
    LIMIT %(limit)s + %(offset)s::bigint
), ended AS MATERIALIZED (
    <<last_looked_at>>
), numbered AS MATERIALIZED (
    SELECT row_number() OVER (ORDER BY created_at DESC, id DESC) AS number, *
    FROM (
        SELECT created_at, id, finished_at
        FROM waiting
        WHERE is_wanted
        UNION ALL
        (
            SELECT created_at, id, NULL
            FROM <<running_jobs>>
            WHERE <<not_before_the_page>>
                AND <<within>>
                AND <<running_and_wanted>>
            ORDER BY created_at DESC, id DESC
            LIMIT %(limit)s + %(offset)s::bigint
        )
        UNION ALL
        SELECT created_at, id, finished_at
        FROM finished
        WHERE is_wanted
    ) AS candidate
    WHERE <<not_beyond_the_end>>
    ORDER BY created_at DESC, id DESC
    LIMIT %(limit)s + %(offset)s::bigint
), newest AS MATERIALIZED (
    SELECT number, job.*
    FROM numbered AS found
    <<job_found>>
    WHERE number > %(offset)s
), <<large_ones_measured>>
SELECT page.*, (SELECT count(*) FROM newest) AS matched, <<passed_over>>,
    (SELECT created_at FROM ended) AS ended_at, (SELECT id FROM ended) AS ended_id
<<newest_that_fit>>;

-- name: count_jobs
-- Count the jobs that a list would find, in the same look, and say where it ended.
WITH finished AS MATERIALIZED (
    SELECT created_at, id, place, is_wanted FROM <<finished_looked_at>>
), page AS MATERIALIZED (
    SELECT created_at, id FROM finished WHERE place = %(most_rows)s
), waiting AS MATERIALIZED (
    SELECT created_at, id, place, is_wanted FROM <<waiting_looked_at>>
), ended AS MATERIALIZED (
    <<last_looked_at>>
)
SELECT count(*) AS jobs, now() AS at,
    (SELECT created_at FROM ended) AS ended_at, (SELECT id FROM ended) AS ended_id
FROM (
    SELECT created_at, id FROM finished WHERE is_wanted
    UNION ALL
    SELECT created_at, id FROM waiting WHERE is_wanted
    UNION ALL
    SELECT created_at, id FROM <<running_jobs>> WHERE <<within>> AND <<running_and_wanted>>
) AS candidate
WHERE <<not_beyond_the_end>>;

-- name: newest_ended_badly
-- How many of the newest failed and cancelled jobs are of these kinds and queues, by status.
SELECT count(*) FILTER (WHERE status = 'failed_permanent' AND <<of_any>>) AS failed_permanent,
    count(*) FILTER (WHERE status = 'cancelled' AND <<of_any>>) AS cancelled, count(*) < %(most_rows)s AS is_all
FROM (
    SELECT status, kind, queue
    FROM haulier.finished_job
    WHERE status <> 'succeeded'
    ORDER BY created_at DESC, id DESC
    LIMIT %(most_rows)s
) AS newest;

-- part: all_tagged
-- All jobs that have any of the tags. If there are more than most_tagged, `is_common` and none of the jobs, or
-- most_tagged + 1 of them if a part is enough.
found AS MATERIALIZED (
    SELECT *
    FROM haulier.tagged(%(tags)s::text[], %(most_tagged)s + 1)
), asked AS MATERIALIZED (
    SELECT count(*) > %(most_tagged)s AS is_common
    FROM found
), tagged AS MATERIALIZED (
    SELECT job.*
    FROM found
    <<job_found>>
    WHERE %(is_part_enough)s OR NOT (SELECT is_common FROM asked)
)

-- part: tagged_and_wanted
-- With the group of errors, which the looks above leave to its indexes.
(<<wanted>>)
AND (<<failed_with>> OR <<to_be_retried_after>>)
AND <<within>>

-- name: list_tagged
-- As list_jobs, for rare tags: only their jobs are read, by the indexes of tags.
WITH RECURSIVE <<all_tagged>>, numbered AS MATERIALIZED (
    SELECT row_number() OVER (ORDER BY created_at DESC, id DESC) AS number, tagged.*
    FROM tagged
    WHERE <<tagged_and_wanted>>
    ORDER BY created_at DESC, id DESC
    LIMIT %(limit)s + %(offset)s::bigint
), newest AS MATERIALIZED (
    SELECT *
    FROM numbered
    WHERE number > %(offset)s
), <<large_ones_measured>>
SELECT page.*, (SELECT count(*) FROM newest) AS matched, <<passed_over>>, (SELECT is_common FROM asked) AS is_common
<<newest_that_fit>>;

-- name: count_tagged
WITH <<all_tagged>>
SELECT count(*) AS jobs, now() AS at, (SELECT is_common FROM asked) AS is_common
FROM tagged
WHERE <<tagged_and_wanted>>;

-- name: count_counted
-- The live jobs by status, as a worker has counted them in the last minute, or later if counting takes long, as of a million
-- jobs: the pause after it is LIVE_PAUSE times as long. No row if none has, or if it has summed queues or kinds that the
-- filter names.
SELECT depth_at AS at, status, coalesce(sum(jobs) FILTER (WHERE <<of_any>>), 0)::bigint AS jobs
FROM haulier.counting
LEFT JOIN haulier.depth ON true
WHERE depth_at > now() - make_interval(secs => 60 + 100 * coalesce(depth_took, 0))
    AND (
        %(kinds)s::text[] IS NULL AND %(queues)s::text[] IS NULL
        OR NOT EXISTS (SELECT FROM haulier.depth WHERE queue = '*'))
GROUP BY depth_at, status;
