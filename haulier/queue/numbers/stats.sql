-- The counts (haulier/queue/numbers/counts.sql) of a span of time, and of each queue.

-- part: of_queue_and_kind
(%(queue)s::text IS NULL OR queue = %(queue)s)
AND (%(kind)s::text IS NULL OR kind = %(kind)s)
AND (%(queues)s::text[] IS NULL OR queue = ANY(%(queues)s))

-- part: live_of_them
-- What is shown of some rows of haulier.depth.
coalesce(sum(jobs) FILTER (WHERE status <> 'running'), 0)::bigint AS waiting,
coalesce(sum(due), 0)::bigint AS due,
coalesce(sum(jobs) FILTER (WHERE status = 'running'), 0)::bigint AS running,
extract(epoch FROM now() - min(first_run_at) FILTER (WHERE first_run_at <= now()))::double precision AS oldest_due_seconds

-- name: counted_through
-- How far the counts reach, and the live jobs. The last step of the series ends then or later.
SELECT through, depth_at, live.*,
    date_bin(make_interval(secs => %(series_seconds)s), through - interval '1 us', 'epoch'::timestamptz)
        + make_interval(secs => %(series_seconds)s) AS span_to
FROM haulier.counting
CROSS JOIN LATERAL (
    SELECT <<live_of_them>>
    FROM haulier.depth
    WHERE <<of_queue_and_kind>>
) AS live;

-- name: stats_figures
-- The rows of the span, by the steps of the series. All live jobs are counted at the same time: so rows are summed by their
-- times first, and nothing is sorted by queue and kind, nor kept. The steps are listed so that the index is used in each.
SELECT series_at, sum(arrived)::bigint AS arrived, sum(succeeded)::bigint AS succeeded, sum(failed)::bigint AS failed,
    sum(cancelled)::bigint AS cancelled, sum(attempts)::bigint AS attempts, sum(waited)::text AS waited,
    sum(ran)::text AS ran, <<peaks>>
FROM (
    SELECT date_bin(make_interval(secs => %(series_seconds)s), at, 'epoch'::timestamptz) AS series_at, at, <<sums>>,
        sum(due)::bigint AS due, sum(running)::bigint AS running, max(oldest)::double precision AS oldest
    FROM haulier.rollup
    WHERE step = ANY (ARRAY[10, 60, 300, 900, 3600, 21600]) AND at >= %(span_from)s AND at < %(span_to)s
        AND <<of_queue_and_kind>>
    GROUP BY at
) AS counted
GROUP BY series_at;

-- name: succeeded_and_kept
-- As many as were counted in the days whose jobs are kept. No row if nobody counts, or if the row of all other pairs may
-- have some of them. Over a month 2 ms for 20 pairs of queue and kind, 30 to 90 ms for 500.
SELECT coalesce(sum(succeeded) FILTER (
        WHERE (%(kinds)s::text[] IS NULL OR kind = ANY(%(kinds)s::text[]))
            AND (%(queues)s::text[] IS NULL OR queue = ANY(%(queues)s::text[]))), 0)::bigint AS succeeded
FROM haulier.rollup
WHERE step = ANY (ARRAY[10, 60, 300, 900, 3600, 21600])
    AND at >= (SELECT min(coalesce(lower, '-infinity')) FROM haulier.history_partitions())
    AND EXISTS (SELECT FROM haulier.counting WHERE through > now() - interval '60 seconds')
HAVING count(*) > 0
    AND (
        %(kinds)s::text[] IS NULL AND %(queues)s::text[] IS NULL
        OR count(*) FILTER (WHERE queue = '*' AND succeeded > 0) = 0);

-- part: of_the_page
-- The queues after one name, of those that may be seen; or one queue. '*' is the sum of many, and no queue.
queue > %(after_queue)s AND queue <> '*'
AND (%(queue)s::text IS NULL OR queue = %(queue)s)
AND (%(queues)s::text[] IS NULL OR queue = ANY(%(queues)s))
ORDER BY queue
LIMIT %(limit)s

-- part: in_the_last_minute
step = 10 AND at >= (SELECT through FROM haulier.counting) - interval '1 minute'

-- name: list_queues
-- Queues with live jobs, those that the API has recently accepted, those that are paused, and those in which something came
-- or ended in the last minute. Each source is read in order of the names, and no further than the page.
WITH page AS MATERIALIZED (
    (SELECT DISTINCT queue FROM haulier.depth WHERE <<of_the_page>>)
    UNION
    (SELECT queue FROM haulier.queue AS accepted (queue) WHERE <<of_the_page>>)
    UNION
    (SELECT queue FROM unnest(<<paused_queues>>) AS queue WHERE <<of_the_page>>)
    UNION
    (
        SELECT DISTINCT queue
        FROM haulier.rollup
        WHERE <<in_the_last_minute>> AND arrived + succeeded + failed + cancelled > 0 AND <<of_the_page>>
    )
    ORDER BY queue
    LIMIT %(limit)s
), minute AS MATERIALIZED (
    SELECT queue, sum(arrived)::bigint AS arrived, sum(succeeded)::bigint AS succeeded, sum(failed)::bigint AS failed,
        sum(cancelled)::bigint AS cancelled
    FROM haulier.rollup
    WHERE <<in_the_last_minute>> AND queue IN (SELECT queue FROM page)
    GROUP BY queue
)
SELECT page.queue AS name, pause.queue IS NOT NULL AS paused, pause.until AS paused_until, pause.since AS paused_since,
    pause.paused_by, pause.reason AS paused_for, live.waiting, live.due, live.running, live.oldest_due_seconds,
    coalesce(minute.arrived, 0) AS arrived, coalesce(minute.succeeded, 0) AS succeeded,
    coalesce(minute.failed, 0) AS failed, coalesce(minute.cancelled, 0) AS cancelled,
    (SELECT depth_at FROM haulier.counting) AS depth_at,
    (SELECT greatest(through, depth_at) > now() - interval '1 minute' FROM haulier.counting) AS is_counted
FROM page
LEFT JOIN minute ON minute.queue = page.queue
LEFT JOIN haulier.pause ON pause.queue = page.queue AND pause.queue = ANY (<<paused_queues>>)
CROSS JOIN LATERAL (
    SELECT <<live_of_them>>
    FROM haulier.depth
    WHERE depth.queue = page.queue
) AS live
ORDER BY page.queue;
