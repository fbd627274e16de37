-- Recent counts: of queues by the minute and in a week, of each kind, and what ended.

-- part: of_last_week
-- The rows of a span that ends where counting has come to. The steps are listed so that the index is used in each.
step = ANY (ARRAY[10, 60, 300, 900, 3600, 21600])
AND at >= (SELECT through FROM haulier.counting) - make_interval(secs => %(span_seconds)s)

-- name: recent_minutes
-- The minutes of a queue come in order, the queues in none.
SELECT queue, date_bin(interval '1 minute', at, 'epoch'::timestamptz) AS minute, sum(succeeded)::bigint AS succeeded,
    sum(failed)::bigint AS failed
FROM haulier.rollup
WHERE <<of_last_week>> AND step <= 60 AND queue = ANY(%(names)s::text[])
GROUP BY queue, minute
ORDER BY minute;

-- name: usual_ends
-- How jobs of some queues usually end. Without the last day: what fails now is not usual.
SELECT queue, sum(succeeded)::bigint AS succeeded, sum(failed)::bigint AS failed
FROM haulier.rollup
WHERE <<of_last_week>> AND at < (SELECT through FROM haulier.counting) - interval '1 day' AND queue = ANY(%(names)s::text[])
GROUP BY queue;

-- part: of_these_kinds
-- The kinds after one name, or one kind, in the queues that may be seen. '*' is the sum of many, and no kind. By the bytes
-- of their names, the order in which Python adds the kinds without jobs.
kind > %(after_kind)s COLLATE "C" AND kind <> '*' AND (%(kind)s::text IS NULL OR kind = %(kind)s)
AND (%(queues)s::text[] IS NULL OR queue = ANY(%(queues)s))

-- name: recent_kinds
WITH counted AS (
    SELECT kind, <<sums>>
    FROM haulier.rollup
    WHERE <<of_last_week>> AND <<of_these_kinds>>
    GROUP BY kind
), live AS (
    SELECT kind, <<live_of_them>>
    FROM haulier.depth
    WHERE <<of_these_kinds>>
    GROUP BY kind
)
SELECT kind, coalesce(live.waiting, 0) AS waiting, coalesce(live.due, 0) AS due, coalesce(live.running, 0) AS running,
    live.oldest_due_seconds, coalesce(arrived, 0) AS arrived,
    coalesce(succeeded, 0) AS succeeded, coalesce(failed, 0) AS failed, coalesce(cancelled, 0) AS cancelled,
    coalesce(attempts, 0) AS attempts, coalesce(waited, 0)::text AS waited, coalesce(ran, 0)::text AS ran
FROM counted
FULL JOIN live USING (kind)
ORDER BY kind COLLATE "C"
LIMIT %(limit)s;

-- name: recent_ends
-- How jobs usually end, as in usual_ends. 3 ms for 20 pairs of queue and kind, 90 ms for 500; `stats_figures`, with its
-- histograms, takes 2 to 10 times as long.
SELECT coalesce(sum(succeeded), 0)::bigint AS succeeded, coalesce(sum(failed), 0)::bigint AS failed
FROM haulier.rollup
WHERE <<of_last_week>> AND at < (SELECT through FROM haulier.counting) - interval '1 day' AND <<of_queue_and_kind>>;

-- name: recent_backlogs
-- The most due jobs of some queues in each step of a span, by the step's place in it. All live jobs are counted at the same
-- time, so the kinds of a queue add up.
SELECT queue, place, max(due) AS due
FROM (
    SELECT queue, at, sum(due)::bigint AS due,
        floor(extract(epoch FROM at - (SELECT through FROM haulier.counting) + make_interval(secs => %(span_seconds)s))
            / %(series_seconds)s)::integer AS place
    FROM haulier.rollup
    WHERE <<of_last_week>> AND step <= 60 AND queue = ANY(%(names)s::text[]) AND due IS NOT NULL
    GROUP BY queue, at
) AS counted
GROUP BY queue, place;
