-- The state of the whole system.

-- part: served_by_the_living
-- Which queues some live worker serves that is not quiet: every one, or those named.
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
-- unserved: somebody wants them to wait. A large table is sampled, most_pages of it; the
-- running jobs are few, and all are counted.
WITH served AS MATERIALIZED (
    <<served_by_the_living>>
), sample AS (
    SELECT greatest(pg_relation_size('haulier.job') / current_setting('block_size')::integer, 1) AS pages
), found AS (
    SELECT queue, status, (count(*) * greatest(1, (SELECT pages FROM sample) / %(most_pages)s::double precision)) AS jobs,
        min(run_at) FILTER (WHERE run_at <= now() AND queue <> ALL (<<paused_queues>>)) AS oldest,
        count(*) FILTER (WHERE run_at <= now() AND queue <> ALL (<<paused_queues>>) AND <<is_not_served>>)
            * greatest(1, (SELECT pages FROM sample) / %(most_pages)s::double precision) AS unserved
    FROM haulier.job
        TABLESAMPLE SYSTEM (least(100, 100 * %(most_pages)s::double precision / (SELECT pages FROM sample)))
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
-- The same, as a worker has lately counted it. '*' is the sum of many queues.
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
-- Whether a worker has counted the live jobs within so many seconds.
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

-- name: has_unserved
-- Whether a job has been due for so long in a queue that no live worker serves and that is not paused, as far as a look of so many seconds
-- finds one.
WITH RECURSIVE served AS MATERIALIZED (
    <<served_by_the_living>>
), <<lane_by_lane>>
SELECT EXISTS (
    SELECT
    FROM lane
    CROSS JOIN served
    WHERE lane.run_at < now() - make_interval(secs => %(due_for)s)
        AND NOT served.every AND lane.queue <> ALL(served.names) AND lane.queue <> ALL (<<paused_queues>>)
) AS has_unserved;

-- name: unserved_queues
-- The queues in which has_unserved finds such jobs, of those that may be seen, some of the first by name; and whether the
-- look came to its end. A worker that stops claims nothing either; who runs a deployment need not be warned of that.
WITH RECURSIVE served AS MATERIALIZED (
    <<served_by_the_living>> AND NOT stopping
), <<lane_by_lane>>, unserved AS MATERIALIZED (
    SELECT DISTINCT lane.queue
    FROM lane
    CROSS JOIN served
    WHERE lane.run_at < now() - make_interval(secs => %(due_for)s)
        AND NOT served.every AND lane.queue <> ALL(served.names) AND lane.queue <> ALL (<<paused_queues>>)
        AND (%(queues)s::text[] IS NULL OR lane.queue = ANY(%(queues)s))
)
SELECT (array_agg(queue ORDER BY queue))[1:%(most)s] AS names,
    clock_timestamp() < now() + make_interval(secs => %(look)s) AS is_whole
FROM unserved;

-- name: try_to_enqueue
-- What POST /jobs does, and what it fails of: a full disk, a lock on the table, a standby. It is rolled back.
INSERT INTO haulier.job (kind, payload)
VALUES ('haulier.health', jsonb_build_object());

-- name: ping
-- The setting is on also at a standby, and where a role or a database has default_transaction_read_only.
SELECT current_setting('transaction_read_only') = 'on' AS is_read_only;
