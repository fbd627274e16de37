-- The workers that have ended, and the jobs that others took over from them.

-- name: list_ended_workers
SELECT id, host, pid, <<queues_shown>> AS queues, started_at, beat_at, beat_at + (lease_ends - beat_at) / 3 AS missed_at,
    ended_at, ended_how,
    CASE WHEN %(queues)s::text[] IS NULL THEN taken_over END AS taken_over
FROM haulier.worker_past AS worker
WHERE <<concerns_the_caller>>
ORDER BY ended_at DESC
LIMIT %(limit)s;

-- name: ended_on_host
SELECT count(*) FILTER (WHERE ended_how = 'stopped') AS stopped, count(*) FILTER (WHERE ended_how = 'buried') AS buried
FROM haulier.worker_past AS worker
WHERE host = %(host)s AND ended_at > now() - interval '24 hours' AND <<concerns_the_caller>>;

-- name: taken_over
SELECT job.id, job.kind, job.queue, job.status
FROM haulier.worker_past
CROSS JOIN LATERAL unnest(taken_over_jobs) AS taken (id)
CROSS JOIN LATERAL (
    SELECT id, kind, queue, status
    FROM haulier.jobs
    WHERE jobs.id = taken.id AND (%(queues)s::text[] IS NULL OR queue = ANY(%(queues)s))
    LIMIT 1
) AS job
WHERE worker_past.id = %(worker)s;
