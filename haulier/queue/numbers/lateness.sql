-- How long jobs usually wait.

-- name: usual_waits
-- Of some queues. Without the last day: how long jobs wait now is not usual.
SELECT queue, sum(waited)::text AS waited
FROM haulier.rollup
WHERE <<of_last_week>> AND at < (SELECT through FROM haulier.counting) - interval '1 day' AND queue = ANY(%(names)s::text[])
GROUP BY queue;
