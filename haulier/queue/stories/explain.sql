-- Why a job waits, and who runs it.

-- name: explained_job
SELECT jobs.status, jobs.kind, jobs.queue, jobs.crashes > 0 AS suspect, jobs.timeout_seconds, jobs.started_at,
    jobs.worker_id, worker.host, worker.pid, worker.beat_at + worker.lease AS lease_ends
FROM haulier.jobs
LEFT JOIN haulier.worker ON worker.id = jobs.worker_id
WHERE jobs.id = %(id)s;

-- name: due_queues
-- The queues that are not paused and have due jobs, as far as a scan of `look` seconds finds them.
WITH RECURSIVE <<lane_by_lane>>
SELECT DISTINCT queue
FROM lane
WHERE run_at <= now() AND queue <> ALL (<<paused_queues>>);

-- name: explain_waiting
-- One row with all that is known of a waiting job; none if it does not wait, or `suspect` does not match. Lanes and due jobs
-- are read by the same parts as in claims: lanes for `look` seconds, and at most `most` jobs. `busy` are the queues whose
-- due jobs a worker takes before it is idle.
WITH RECURSIVE me AS MATERIALIZED (
    SELECT id, xmax AS locked_by, status, kind, queue, priority, run_at,
        CASE WHEN starts_with(last_error, %(given_back)s) THEN last_error END AS given_back,
        extract(epoch FROM now() - CASE
            WHEN run_at > now() THEN run_at
            ELSE greatest(run_at, updated_at)
        END)::double precision AS due_seconds
    FROM haulier.job
    WHERE id = %(id)s AND worker_id IS NULL AND suspect = %(suspect)s
), worker AS MATERIALIZED (
    SELECT worker.queues, worker.threads, worker.scans_fail, worker.beat_at >= now() - worker.lease AS lives,
        worker.beat_at >= now() - worker.lease AND NOT worker.stopping AND <<may_claim>> AS takes,
        worker.queues IS NULL OR me.queue = ANY(worker.queues) AS serves,
        worker.kinds IS NULL OR me.kind = ANY(worker.kinds) AS knows,
        coalesce(held.jobs, 0) AS held
    FROM haulier.worker
    CROSS JOIN me
    LEFT JOIN (
        SELECT worker_id, count(*) AS jobs
        FROM haulier.running()
        GROUP BY worker_id
    ) AS held ON held.worker_id = worker.id
), <<lane_by_lane>>, before AS MATERIALIZED (
    -- Its own lane first, which the scan may not have reached. Other lanes of its priority take turns with it. Lanes of a
    -- paused queue are ahead only in the job's own queue: its pause ends for all of them.
    SELECT queue, priority, '-infinity'::timestamptz AS mark, id AS mark_id, true AS is_own
    FROM me
    UNION ALL
    SELECT lane.queue, lane.priority, lane.run_at, lane.id, false
    FROM lane
    CROSS JOIN me
    WHERE lane.run_at <= now() AND lane.priority >= me.priority
        AND (lane.queue, lane.priority) <> (me.queue, me.priority)
        AND (lane.queue = me.queue OR lane.queue <> ALL (<<paused_queues>>))
), ahead AS MATERIALIZED (
    SELECT queue, count(*) AS jobs
    FROM (
        SELECT lane.queue
        FROM before AS lane
        CROSS JOIN LATERAL (
            SELECT
            FROM haulier.job
            WHERE <<due_from_the_mark>>
                AND (NOT lane.is_own OR (run_at, id) < (SELECT run_at, id FROM me))
            LIMIT %(most)s
        ) AS due
        LIMIT %(most)s
    ) AS found
    GROUP BY queue
), serving AS MATERIALIZED (
    SELECT knows, greatest(threads - held, 0) AS free,
        held = 0 AND NOT CASE
            WHEN worker.queues IS NULL THEN %(busy)s::text[] <> ARRAY[]::text[]
            ELSE worker.queues && %(busy)s::text[]
        END AS is_idle,
        (
            SELECT coalesce(sum(jobs), 0)
            FROM ahead
            WHERE worker.queues IS NULL OR ahead.queue = ANY(worker.queues)
        ) AS ahead
    FROM worker
    WHERE takes AND serves
)
SELECT me.status, me.kind, me.queue, me.run_at, me.due_seconds, me.given_back, workers.*, threads.*,
    (SELECT coalesce(sum(jobs), 0)::bigint FROM ahead WHERE queue = me.queue) AS ahead_here,
    pause.since AS paused_since, pause.until AS paused_until, holder.pid AS locked_by,
    CASE WHEN counting.through > now() - interval '1 minute' THEN (
        SELECT coalesce(sum(succeeded + failed + cancelled), 0)::bigint
        FROM haulier.rollup
        WHERE step = 10 AND at >= counting.through - interval '1 minute' AND queue = me.queue
    ) END AS per_minute
FROM me
LEFT JOIN haulier.pause ON pause.queue = me.queue AND pause.queue = ANY (<<paused_queues>>)
LEFT JOIN haulier.counting ON true
CROSS JOIN LATERAL (
    SELECT count(*) FILTER (WHERE lives) AS live,
        count(*) FILTER (WHERE takes) AS taking,
        count(*) FILTER (WHERE lives AND serves) AS live_serving,
        count(*) FILTER (WHERE takes AND serves) AS serving,
        coalesce(bool_or(knows) FILTER (WHERE takes), false) AS known,
        count(*) FILTER (WHERE takes AND serves AND scans_fail) AS without_scans
    FROM worker
) AS workers
CROSS JOIN LATERAL (
    SELECT count(*) FILTER (WHERE knows) AS fit,
        coalesce(sum(free) FILTER (WHERE knows), 0)::bigint AS free,
        -- If no worker knows its kind, or none serves its queue: as it would be if one did.
        coalesce(
            bool_or(is_idle) FILTER (WHERE knows OR NOT (SELECT bool_or(knows) FROM serving)),
            me.queue <> ALL(%(busy)s::text[])) AS idle,
        coalesce(min(ahead) FILTER (WHERE knows), 0)::bigint AS ahead,
        coalesce(bool_or(ahead < free) FILTER (WHERE knows), false) AS has_room
    FROM serving
) AS threads
-- An open transaction that has locked the row: the row has its number, and it has locked the table too. Not a worker's,
-- which is claiming.
LEFT JOIN LATERAL (
    SELECT coalesce(own.pid, 0) AS pid
    FROM pg_locks AS own
    JOIN pg_locks AS touched ON touched.virtualtransaction = own.virtualtransaction
        AND touched.relation = 'haulier.job'::regclass
        AND touched.database = (SELECT oid FROM pg_database WHERE datname = current_database())
    LEFT JOIN pg_stat_activity AS session ON session.pid = own.pid
    WHERE me.locked_by <> '0'::xid AND own.locktype = 'transactionid' AND own.transactionid = me.locked_by
        AND own.granted AND own.mode = 'ExclusiveLock' AND session.application_name IS DISTINCT FROM 'haulier worker'
    LIMIT 1
) AS holder ON true;
