-- The state of the whole system.

-- name: queue_depths
-- The largest queues, and the sum of all others under the name `other`. A large table is sampled, most_pages of it; the
-- running jobs are few, and all are counted.
WITH sample AS (
    SELECT greatest(pg_relation_size('haulier.job') / current_setting('block_size')::integer, 1) AS pages
), found AS (
    SELECT queue, status, (count(*) * greatest(1, (SELECT pages FROM sample) / %(most_pages)s::double precision)) AS jobs,
        min(run_at) FILTER (WHERE run_at <= now()) AS oldest
    FROM haulier.job
        TABLESAMPLE SYSTEM (least(100, 100 * %(most_pages)s::double precision / (SELECT pages FROM sample)))
    WHERE status <> 'running'
    GROUP BY queue, status
    UNION ALL
    SELECT queue, 'running', count(*), NULL
    FROM haulier.running()
    GROUP BY queue
), largest AS (
    SELECT queue
    FROM found
    WHERE queue <> 'other'
    GROUP BY queue
    ORDER BY sum(jobs) DESC, queue
    LIMIT %(most)s
)
SELECT coalesce(largest.queue, 'other') AS queue, status, round(sum(jobs))::bigint AS jobs,
    extract(epoch FROM now() - min(oldest))::double precision AS oldest_due_seconds
FROM found
LEFT JOIN largest USING (queue)
GROUP BY 1, 2
ORDER BY 1, 2;

-- name: worker_health
SELECT count(*) FILTER (WHERE beat_at >= now() - lease) AS workers,
    count(*) FILTER (WHERE beat_at >= now() - lease AND scans_fail) AS workers_without_scans,
    count(*) FILTER (WHERE beat_at >= now() - lease AND host = %(host)s) AS workers_here,
    extract(epoch FROM now() - min(beat_at))::double precision AS oldest_beat_seconds
FROM haulier.worker;

-- name: ping
-- The setting is on also at a standby, and where a role or a database has default_transaction_read_only.
SELECT current_setting('transaction_read_only') = 'on' AS is_read_only;
