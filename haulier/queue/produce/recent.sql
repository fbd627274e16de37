-- What has been counted lately: of some queues by the minute, and of each kind in the last hour.

-- part: lately
-- The rows of some time that ends where counting has come to. The steps are listed so that the index is used in each.
step = ANY (ARRAY[10, 60, 300, 900, 3600, 21600]) AND at >= (SELECT through FROM haulier.counting) - make_interval(secs => %(span_seconds)s)

-- name: recent_minutes
WITH minute AS MATERIALIZED (
    SELECT queue, kind, date_bin(interval '1 minute', at, 'epoch'::timestamptz) AS minute, at, succeeded, failed, due
    FROM haulier.rollup
    WHERE <<lately>> AND step <= 60 AND queue = ANY(%(names)s::text[])
), gauge AS (
    SELECT queue, minute, sum(due)::bigint AS due
    FROM (
        SELECT DISTINCT ON (minute, queue, kind) queue, minute, due
        FROM minute
        WHERE due IS NOT NULL
        ORDER BY minute, queue, kind, at DESC
    ) AS last
    GROUP BY queue, minute
)
SELECT queue, minute, sum(succeeded)::bigint AS succeeded, sum(failed)::bigint AS failed, min(gauge.due) AS due
FROM minute
LEFT JOIN gauge USING (queue, minute)
GROUP BY queue, minute
ORDER BY queue, minute;

-- name: recent_kinds
-- '*' is the sum of many, and no kind.
WITH counted AS (
    SELECT kind, sum(arrived)::bigint AS arrived, sum(succeeded)::bigint AS succeeded, sum(failed)::bigint AS failed,
        sum(cancelled)::bigint AS cancelled, sum(attempts)::bigint AS attempts, sum(waited) AS waited, sum(ran) AS ran
    FROM haulier.rollup
    WHERE <<lately>> AND kind <> '*' AND (%(queues)s::text[] IS NULL OR queue = ANY(%(queues)s))
    GROUP BY kind
), live AS (
    SELECT kind, <<live_of_them>>
    FROM haulier.depth
    WHERE kind <> '*' AND (%(queues)s::text[] IS NULL OR queue = ANY(%(queues)s))
    GROUP BY kind
)
SELECT kind, live.waiting, live.due, live.running, live.oldest_due_seconds, coalesce(arrived, 0) AS arrived,
    coalesce(succeeded, 0) AS succeeded, coalesce(failed, 0) AS failed, coalesce(cancelled, 0) AS cancelled,
    coalesce(attempts, 0) AS attempts, coalesce(waited, 0) AS waited, coalesce(ran, 0) AS ran
FROM counted
FULL JOIN live USING (kind)
ORDER BY kind
LIMIT %(limit)s;
