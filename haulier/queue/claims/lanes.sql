-- Which lanes have waiting jobs, and the first job of each.

-- part: next_of_the_queue
-- The first job of the same queue at the next lower priority.
SELECT queue, priority, run_at, id
FROM haulier.job
WHERE status IN ('queued', 'retrying') AND suspect = %(suspect)s AND queue = lane.queue AND priority < lane.priority
ORDER BY suspect, queue, priority DESC, run_at, id
LIMIT 1

-- part: first_of_the_next_queue
-- The first job of the next queue that has any, at its highest priority.
SELECT queue, priority, run_at, id
FROM haulier.job
WHERE status IN ('queued', 'retrying') AND suspect = %(suspect)s AND queue > lane.queue
ORDER BY suspect, queue, priority DESC, run_at, id
LIMIT 1

-- part: lane_by_lane
-- The lanes that have waiting jobs, in the order of the index, behind a given lane, each with its first job; the first row
-- is the given lane, without a job. This loose index scan reads a few entries a lane. It ends after `look` seconds,
-- because any client that may enqueue can make a million lanes.
lane AS (
    SELECT %(after_queue)s::text AS queue, %(after_priority)s::smallint AS priority, NULL::timestamptz AS run_at,
        NULL::uuid AS id
    UNION ALL
    SELECT next.*
    FROM lane
    CROSS JOIN LATERAL (
        (<<next_of_the_queue>>)
        UNION ALL
        (<<first_of_the_next_queue>>)
        LIMIT 1
    ) AS next
    WHERE lane.id IS NULL OR clock_timestamp() < now() + make_interval(secs => %(look)s)
)

-- part: seconds_until_due
-- How long until a claim may take the first job of a lane: until it is due (negative if it is) and its queue is no longer
-- paused; infinity for a pause without an end. Paused lanes are in the answer too: the last lane of an answer says how far
-- the scan came. The pauses are hashed once a statement; for most lanes no other row is read.
CASE
    WHEN lane.queue NOT IN (SELECT queue FROM haulier.pause) THEN extract(epoch FROM lane.run_at - now())
    ELSE (
        SELECT CASE WHEN until IS NULL THEN 'infinity' ELSE extract(epoch FROM greatest(lane.run_at, until) - now()) END
        FROM haulier.pause
        WHERE pause.queue = lane.queue
    )
END::double precision

-- part: some_lanes
SELECT queue, priority, run_at, id, <<seconds_until_due>> AS seconds,
    extract(epoch FROM clock_timestamp() - now())::double precision AS elapsed
FROM lane
WHERE id IS NOT NULL
LIMIT %(limit)s

-- name: lanes
-- The lanes behind a given one, each with its first job, how long until a claim may take it, and how long the scan has
-- taken. The scan ends after `limit` lanes or `look` seconds.
WITH RECURSIVE <<lane_by_lane>>
<<some_lanes>>;

-- part: lanes_of_some_queues
SELECT lane.queue, lane.priority, lane.run_at, lane.id, <<seconds_until_due>> AS seconds,
    0::double precision AS elapsed
FROM (
    SELECT DISTINCT queue
    FROM unnest(%(queues)s::text[]) AS queue
    WHERE queue >= %(after_queue)s
    ORDER BY queue
) AS named
CROSS JOIN LATERAL (
    WITH RECURSIVE lane AS (
        SELECT named.queue,
            CASE WHEN named.queue = %(after_queue)s THEN %(after_priority)s ELSE 32767 END::smallint AS priority,
            NULL::timestamptz AS run_at, NULL::uuid AS id
        UNION ALL
        SELECT next.*
        FROM lane
        CROSS JOIN LATERAL (<<next_of_the_queue>>) AS next
    )
    SELECT *
    FROM lane
    WHERE id IS NOT NULL
) AS lane
LIMIT %(limit)s

-- name: lanes_of
-- The same for the named queues, without a time limit.
<<lanes_of_some_queues>>;

-- part: next_operation
-- Seconds until the first operation is due, or the process that works on one has lost it; null if there is none.
SELECT extract(epoch FROM greatest(min(next_at), max(worked_until)) - now())::double precision AS operation_in
FROM haulier.operation
WHERE status IN ('waiting', 'running')

-- name: lanes_and_operations
-- Two questions in one statement, because each process asks both every two seconds. One row at least.
SELECT operation.operation_in, lane.*
FROM (<<next_operation>>) AS operation
LEFT JOIN (
    WITH RECURSIVE <<lane_by_lane>>
    <<some_lanes>>
) AS lane ON true;

-- name: lanes_of_and_operations
SELECT operation.operation_in, lane.*
FROM (<<next_operation>>) AS operation
LEFT JOIN (<<lanes_of_some_queues>>) AS lane ON true;

-- name: find_paused
SELECT unnest(<<paused_queues>>) AS queue;

-- name: heads
-- The first job of each named lane that has one.
SELECT queue, priority, run_at, id, <<seconds_until_due>> AS seconds
FROM (
    SELECT named.queue, named.priority, head.run_at, head.id
    FROM unnest(%(queues)s::text[], %(priorities)s::smallint[]) AS named (queue, priority)
    CROSS JOIN LATERAL (
        SELECT run_at, id
        FROM haulier.job
        WHERE status IN ('queued', 'retrying')
            AND NOT suspect AND queue = named.queue AND priority = named.priority
        ORDER BY run_at, id
        LIMIT 1
    ) AS head
) AS lane;

-- name: fresh_lanes
-- The lanes of the newest jobs, if a claim may take these now or soon. A scan of many other lanes would find them late.
-- `id` is before all ids: to find the first of several jobs of one time, they would have to be sorted.
SELECT queue, priority, run_at, id, seconds
FROM (
    SELECT queue, priority, run_at, '00000000-0000-0000-0000-000000000000'::uuid AS id, <<seconds_until_due>> AS seconds
    FROM (
        SELECT queue, priority, min(run_at) AS run_at
        FROM (
            SELECT queue, priority, run_at, suspect
            FROM haulier.job
            WHERE status IN ('queued', 'retrying') AND created_at >= now() - make_interval(secs => %(lately)s)
            ORDER BY created_at DESC, id DESC
            LIMIT %(newest)s
        ) AS fresh
        WHERE NOT suspect AND run_at <= now() + make_interval(secs => %(soon)s)
        GROUP BY queue, priority
    ) AS lane
) AS fresh
WHERE seconds <= %(soon)s
ORDER BY run_at
LIMIT %(limit)s;
