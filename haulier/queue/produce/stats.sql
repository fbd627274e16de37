-- What has been counted (haulier/queue/upkeep/numbers.sql): of a span of time, and of each queue.

-- part: live_of_them
-- What of some rows of haulier.depth is shown.
coalesce(sum(jobs) FILTER (WHERE status <> 'running'), 0)::bigint AS waiting,
coalesce(sum(due), 0)::bigint AS due,
coalesce(sum(jobs) FILTER (WHERE status = 'running'), 0)::bigint AS running,
extract(epoch FROM now() - min(first_run_at) FILTER (WHERE first_run_at <= now()))::double precision AS oldest_due_seconds

-- name: counted_through
-- How far what is counted reaches, and the live jobs. The end of the last step of the series is that, or later.
SELECT through, depth_at, live.*, date_bin(make_interval(secs => %(series_seconds)s), through - interval '1 us', 'epoch'::timestamptz)
    + make_interval(secs => %(series_seconds)s) AS span_to
FROM haulier.counting
CROSS JOIN LATERAL (
    SELECT <<live_of_them>>
    FROM haulier.depth
    WHERE (%(queue)s::text IS NULL OR queue = %(queue)s)
        AND (%(kind)s::text IS NULL OR kind = %(kind)s)
        AND (%(queues)s::text[] IS NULL OR queue = ANY(%(queues)s))
) AS live;

-- name: stats_figures
-- The rows of the span, of these queues and this kind, by the steps of the series. All live jobs are counted at once: of
-- the times in a step the last at which they were is that of each queue and kind. So the rows are summed by their times
-- first, and nothing is sorted by queue and kind, nor kept. The steps are listed so that the index is used in each.
SELECT series_at, sum(arrived)::bigint AS arrived, sum(succeeded)::bigint AS succeeded, sum(failed)::bigint AS failed,
    sum(cancelled)::bigint AS cancelled, sum(attempts)::bigint AS attempts, sum(waited)::text AS waited,
    sum(ran)::text AS ran,
    (array_agg(due ORDER BY at DESC) FILTER (WHERE due IS NOT NULL))[1] AS due,
    (array_agg(running ORDER BY at DESC) FILTER (WHERE due IS NOT NULL))[1] AS running,
    (array_agg(oldest ORDER BY at DESC) FILTER (WHERE due IS NOT NULL))[1] AS oldest
FROM (
    SELECT date_bin(make_interval(secs => %(series_seconds)s), at, 'epoch'::timestamptz) AS series_at, at,
        sum(arrived) AS arrived, sum(succeeded) AS succeeded, sum(failed) AS failed, sum(cancelled) AS cancelled,
        sum(attempts) AS attempts, sum(waited) AS waited, sum(ran) AS ran, sum(due)::bigint AS due,
        sum(running)::bigint AS running, max(oldest)::double precision AS oldest
    FROM haulier.rollup
    WHERE step = ANY (ARRAY[10, 60, 300, 900, 3600, 21600]) AND at >= %(span_from)s AND at < %(span_to)s
        AND (%(queue)s::text IS NULL OR queue = %(queue)s)
        AND (%(kind)s::text IS NULL OR kind = %(kind)s)
        AND (%(queues)s::text[] IS NULL OR queue = ANY(%(queues)s))
    GROUP BY at
) AS counted
GROUP BY series_at;

-- part: of_the_page
-- The queues after one name, of those that may be seen; or one queue. '*' is the sum of many, and no queue.
name > %(after_queue)s AND name <> '*'
AND (%(queue)s::text IS NULL OR name = %(queue)s)
AND (%(queues)s::text[] IS NULL OR name = ANY(%(queues)s))

-- name: list_queues
-- Queues with live jobs, those that the API has lately accepted, those that are paused, and those in which something came
-- or ended in the last minute. Each source is read in order of the names, and no further than the page.
WITH page AS MATERIALIZED (
    (
        SELECT DISTINCT name
        FROM (SELECT queue AS name FROM haulier.depth) AS depth
        WHERE <<of_the_page>>
        ORDER BY name
        LIMIT %(limit)s
    )
    UNION
    (
        SELECT name
        FROM haulier.queue
        WHERE <<of_the_page>>
        ORDER BY name
        LIMIT %(limit)s
    )
    UNION
    (
        SELECT name
        FROM unnest(<<paused_queues>>) AS name
        WHERE <<of_the_page>>
        ORDER BY name
        LIMIT %(limit)s
    )
    UNION
    (
        SELECT DISTINCT name
        FROM (
            SELECT queue AS name
            FROM haulier.rollup
            WHERE step = 10 AND at >= (SELECT through FROM haulier.counting) - interval '1 minute'
                AND arrived + succeeded + failed + cancelled > 0
        ) AS counted
        WHERE <<of_the_page>>
        ORDER BY name
        LIMIT %(limit)s
    )
    ORDER BY name
    LIMIT %(limit)s
), minute AS MATERIALIZED (
    SELECT queue, sum(arrived)::bigint AS arrived, sum(succeeded)::bigint AS succeeded, sum(failed)::bigint AS failed,
        sum(cancelled)::bigint AS cancelled
    FROM haulier.rollup
    WHERE step = 10 AND at >= (SELECT through FROM haulier.counting) - interval '1 minute'
        AND queue IN (SELECT name FROM page)
    GROUP BY queue
)
SELECT page.name, pause.queue IS NOT NULL AS paused, pause.until AS paused_until, pause.since AS paused_since,
    pause.paused_by, live.waiting, live.due, live.running, live.oldest_due_seconds,
    coalesce(minute.arrived, 0) AS arrived, coalesce(minute.succeeded, 0) AS succeeded,
    coalesce(minute.failed, 0) AS failed, coalesce(minute.cancelled, 0) AS cancelled,
    (SELECT through FROM haulier.counting) AS through, (SELECT depth_at FROM haulier.counting) AS depth_at
FROM page
LEFT JOIN minute ON minute.queue = page.name
LEFT JOIN haulier.pause ON pause.queue = page.name AND pause.queue = ANY (<<paused_queues>>)
CROSS JOIN LATERAL (
    SELECT <<live_of_them>>
    FROM haulier.depth
    WHERE depth.queue = page.name
) AS live
ORDER BY page.name;
