-- A worker reports that it is alive, and asks which jobs it runs.

-- name: register
INSERT INTO haulier.worker (host, pid, threads, queues, lease)
VALUES (%(host)s, %(pid)s, %(threads)s, %(queues)s::text[], make_interval(secs => %(lease)s))
RETURNING id;

-- name: introduce
UPDATE haulier.worker
SET version = %(version)s, release = %(release)s, kinds = %(kinds)s::text[]
WHERE id = %(worker)s;

-- name: say_stopping
UPDATE haulier.worker
SET stopping = true
WHERE id = %(worker)s;

-- name: beat
-- No row if this worker was declared dead.
UPDATE haulier.worker
SET beat_at = now(), scans_fail = %(scans_fail)s, vitals = %(vitals)s::jsonb
FROM (SELECT id, beat_at FROM haulier.worker WHERE id = %(worker)s) AS before
WHERE worker.id = before.id
RETURNING extract(epoch FROM now() - before.beat_at)::double precision AS seconds;

-- name: has_turn
-- The live workers of the same queues take time slots in turn.
SELECT floor(extract(epoch FROM now()) / %(slot)s)::bigint %% nullif(count(*), 0)
    = count(*) FILTER (WHERE peer.id < me.id) AS has_turn
FROM haulier.worker AS me
JOIN haulier.worker AS peer
    ON peer.queues IS NOT DISTINCT FROM me.queues AND (peer.id = me.id OR peer.beat_at >= now() - peer.lease)
WHERE me.id = %(worker)s;

-- name: held
-- The jobs that this worker runs under these claims, as the database knows it. Each claim is looked up by itself (OFFSET 0
-- keeps it so): with `= ANY`, PostgreSQL before 17 walks all that the worker has run since the oldest snapshot still held.
SELECT job.*
FROM (SELECT DISTINCT unnest(%(claims)s::uuid[]) AS claim) AS asked
CROSS JOIN LATERAL (
    SELECT id, attempt, claim, cancel_requested
    FROM haulier.job
    WHERE worker_id = %(worker)s AND status = 'running' AND claim = asked.claim
    OFFSET 0
) AS job;

-- name: strays
-- The jobs that this worker runs under other claims. This walks all that it has run since the oldest snapshot still held.
SELECT id, attempt, claim, cancel_requested
FROM haulier.job
WHERE status = 'running' AND worker_id = %(worker)s AND claim <> ALL(%(claims)s::uuid[]);

-- name: cancelled
-- The jobs that this worker has to stop. They have their own index, `job_cancelled`: while somebody holds a snapshot,
-- `job_claimed` has an entry for every job that the worker has run since.
SELECT id, attempt, claim
FROM haulier.job
WHERE worker_id = %(worker)s AND status = 'running' AND cancel_requested;

-- name: deregister
DELETE FROM haulier.worker
WHERE id = %(worker)s;
