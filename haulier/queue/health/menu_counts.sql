-- name: menu_counts
-- What the dashboard's menu counts, for callers who may see these queues. Running jobs are unknown if nobody counts. They
-- include claimed jobs that no thread has begun. Of very many counts of errors some are read.
SELECT lately.failed, lately.rows >= %(most)s AS is_failed_part, living.workers, living.threads, (
        SELECT CASE WHEN greatest(through, depth_at) > now() - interval '1 minute' THEN (
            SELECT coalesce(sum(jobs), 0)::bigint
            FROM haulier.depth
            WHERE status = 'running' AND (%(queues)s::text[] IS NULL OR depth.queue = ANY(%(queues)s::text[]))
        ) END
        FROM haulier.counting
    ) AS running
FROM (
    SELECT coalesce(sum(failed), 0)::bigint AS failed, count(*) AS rows
    FROM (
        SELECT failed
        FROM haulier.error_count
        WHERE minute > now() - interval '1 hour' AND <<may_be_seen>>
        LIMIT %(most)s
    ) AS newest
) AS lately
CROSS JOIN (
    SELECT count(*)::integer AS workers, coalesce(sum(threads), 0)::integer AS threads
    FROM haulier.worker
    WHERE beat_at >= now() - lease AND <<concerns_the_caller>>
) AS living;
