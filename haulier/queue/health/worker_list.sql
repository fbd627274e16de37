-- The workers, and what they run.

-- part: queues_shown
CASE
    WHEN worker.queues IS NULL OR %(queues)s::text[] IS NULL THEN worker.queues
    ELSE ARRAY(SELECT queue FROM unnest(worker.queues) AS queue WHERE queue = ANY(%(queues)s))
END

-- part: concerns_the_caller
(%(queues)s::text[] IS NULL OR worker.queues IS NULL OR worker.queues && %(queues)s::text[])

-- name: list_workers
-- The workers before a given one, newest first (their ids grow with time), or one worker; only what concerns the queues
-- that may be seen. Counting the jobs reads an entry for each that has run recently.
WITH held AS MATERIALIZED (
    SELECT worker_id, count(*) AS jobs
    FROM haulier.running()
    WHERE %(counts_jobs)s AND (%(queues)s::text[] IS NULL OR queue = ANY(%(queues)s))
    GROUP BY worker_id
)
SELECT id, host, pid, version, release, threads, kinds, started_at, beat_at, beat_at + lease AS lease_ends, scans_fail,
    <<queues_shown>> AS queues,
    CASE
        WHEN beat_at < now() - 2 * lease / 3 THEN 'silent'
        WHEN stopping THEN 'stopping'
        WHEN quiet THEN 'quiet'
        ELSE 'working'
    END AS state,
    beat_at >= now() - lease AS lives,
    beat_at >= now() - lease AND NOT stopping AND <<may_claim>> AS takes,
    -- They count jobs of every queue.
    CASE WHEN %(queues)s::text[] IS NULL THEN vitals END AS vitals,
    CASE WHEN %(counts_jobs)s THEN coalesce(held.jobs, 0) END AS running
FROM haulier.worker
LEFT JOIN held ON worker_id = worker.id
WHERE (%(worker)s::uuid IS NULL OR id = %(worker)s::uuid)
    AND (%(before_id)s::uuid IS NULL OR id < %(before_id)s::uuid)
    AND <<concerns_the_caller>>
ORDER BY id DESC
LIMIT %(limit)s;

-- name: ended_worker
-- A worker that has ended. Until others take them over, its jobs still count as running.
SELECT id, host, pid, version, release, threads, NULL::text[] AS kinds, started_at, beat_at, lease_ends, false AS scans_fail,
    <<queues_shown>> AS queues,
    'gone' AS state, false AS lives, false AS takes, NULL::jsonb AS vitals, ended_at, ended_how,
    CASE WHEN %(queues)s::text[] IS NULL THEN taken_over END AS taken_over,
    (
        SELECT count(*)
        FROM haulier.running()
        WHERE worker_id = %(worker)s AND (%(queues)s::text[] IS NULL OR queue = ANY(%(queues)s))
    ) AS running
FROM haulier.worker_past AS worker
WHERE id = %(worker)s AND <<concerns_the_caller>>;

-- name: quiet_worker
SELECT haulier.quiet_worker(%(worker)s, %(is_quiet)s, %(actor)s) AS is_there;
