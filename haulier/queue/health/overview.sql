-- The state of the whole system.

-- part: served_by_the_living
-- The queues that a live worker serves which is not quiet: every one, or these names.
SELECT coalesce(bool_or(queues IS NULL), false) AS every, coalesce(array_agg(queue), ARRAY[]::text[]) AS names
FROM haulier.worker
LEFT JOIN LATERAL unnest(queues) AS queue ON true
WHERE beat_at >= now() - lease AND <<may_claim>>

-- part: is_not_served
NOT (SELECT every FROM served) AND queue <> ALL ((SELECT names FROM served)::text[])

-- part: largest_found
SELECT queue
FROM found
WHERE queue NOT IN ('other', '*')
GROUP BY queue
ORDER BY sum(jobs) DESC, queue
LIMIT %(most)s

-- part: largest_and_others
SELECT coalesce(largest.queue, 'other') AS queue, status, round(sum(jobs))::bigint AS jobs,
    extract(epoch FROM now() - min(oldest))::double precision AS oldest_due_seconds, round(sum(unserved))::bigint AS unserved
FROM found
LEFT JOIN largest USING (queue)
GROUP BY 1, 2
ORDER BY 1, 2

-- name: queue_depths
-- The largest queues, and the sum of all others under the name `other`. Jobs of a paused queue are neither late nor
-- unserved: they are meant to wait. Of a large table most_pages are sampled; the running jobs are few, and all are counted.
WITH served AS MATERIALIZED (
    <<served_by_the_living>>
), sample AS (
    SELECT greatest(
        1, pg_relation_size('haulier.job') / current_setting('block_size')::integer / %(most_pages)s::double precision
    ) AS size_of_table
), found AS (
    SELECT queue, status, count(*) * (SELECT size_of_table FROM sample) AS jobs,
        min(run_at) FILTER (WHERE run_at <= now() AND queue <> ALL (<<paused_queues>>)) AS oldest,
        count(*) FILTER (WHERE run_at <= now() AND queue <> ALL (<<paused_queues>>) AND <<is_not_served>>)
            * (SELECT size_of_table FROM sample) AS unserved
    FROM haulier.job TABLESAMPLE SYSTEM (100 / (SELECT size_of_table FROM sample))
    WHERE status <> 'running'
    GROUP BY queue, status
    UNION ALL
    SELECT queue, 'running', count(*), NULL, 0
    FROM haulier.running()
    GROUP BY queue
), largest AS (
    <<largest_found>>
)
<<largest_and_others>>;

-- name: counted_depths
-- The same, as a worker has counted it. '*' is the sum of many queues.
WITH served AS MATERIALIZED (
    <<served_by_the_living>>
), found AS (
    SELECT queue, status, sum(jobs) AS jobs,
        min(first_run_at) FILTER (WHERE first_run_at <= now() AND queue <> ALL (<<paused_queues>>)) AS oldest,
        CASE WHEN queue <> ALL (<<paused_queues>>) AND <<is_not_served>> THEN sum(due) ELSE 0 END AS unserved
    FROM haulier.depth
    GROUP BY queue, status
), largest AS (
    <<largest_found>>
)
<<largest_and_others>>;

-- name: depths_counted_since
SELECT EXISTS (
    SELECT FROM haulier.counting
    WHERE depth_at > now() - make_interval(secs => %(lately)s)
) AS is_so;

-- name: count_paused
SELECT cardinality(<<paused_queues>>) AS queues;

-- name: worker_health
SELECT count(*) FILTER (WHERE beat_at >= now() - lease) AS workers,
    count(*) FILTER (WHERE beat_at >= now() - lease AND scans_fail) AS workers_without_scans,
    coalesce(bool_or(queues IS NULL) FILTER (WHERE beat_at >= now() - lease AND <<may_claim>>), false)
        AS serve_every_queue,
    count(*) FILTER (WHERE beat_at >= now() - lease AND host = %(host)s) AS workers_here,
    extract(epoch FROM now() - min(beat_at))::double precision AS oldest_beat_seconds
FROM haulier.worker;

-- part: unserved_lanes
-- The lanes whose first job is due for some time in a queue that no live worker serves and that is not paused.
FROM lane
CROSS JOIN served
WHERE lane.run_at < now() - make_interval(secs => %(due_for)s)
    AND NOT served.every AND lane.queue <> ALL(served.names) AND lane.queue <> ALL (<<paused_queues>>)

-- name: has_unserved
WITH RECURSIVE served AS MATERIALIZED (
    <<served_by_the_living>>
), <<lane_by_lane>>
SELECT EXISTS (SELECT <<unserved_lanes>>) AS has_unserved;

-- name: unserved_queues
-- The queues of these lanes that may be seen, the first by name, and whether the scan came to its end. A stopping worker
-- does not serve here, because it claims nothing; it does in has_unserved, so that a deployment raises no alarm.
WITH RECURSIVE served AS MATERIALIZED (
    <<served_by_the_living>> AND NOT stopping
), <<lane_by_lane>>, unserved AS MATERIALIZED (
    SELECT DISTINCT lane.queue
    <<unserved_lanes>> AND (%(queues)s::text[] IS NULL OR lane.queue = ANY(%(queues)s))
)
SELECT (array_agg(queue ORDER BY queue))[1:%(most)s] AS names,
    clock_timestamp() < now() + make_interval(secs => %(look)s) AS is_whole
FROM unserved;

-- name: try_to_enqueue
-- What POST /jobs does. It fails for the same reasons: a full disk, a lock on the table, a standby. It is rolled back.
INSERT INTO haulier.job (kind, payload)
VALUES ('haulier.health', jsonb_build_object());

-- name: ping
-- The setting is on at a standby too, and if a role or a database has default_transaction_read_only.
SELECT current_setting('transaction_read_only') = 'on' AS is_read_only;
