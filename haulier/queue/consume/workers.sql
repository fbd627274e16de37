-- A worker says that it lives, and asks what it runs.

-- name: register
INSERT INTO haulier.worker (host, pid, threads, queues, lease)
VALUES (%(host)s, %(pid)s, %(threads)s, %(queues)s::text[], make_interval(secs => %(lease)s))
RETURNING id;

-- name: beat
-- No row back: somebody has declared this worker dead.
UPDATE haulier.worker
SET beat_at = now(), scans_fail = %(scans_fail)s
FROM (SELECT id, beat_at FROM haulier.worker WHERE id = %(worker)s) AS before
WHERE worker.id = before.id
RETURNING extract(epoch FROM now() - before.beat_at)::double precision AS seconds;

-- name: has_turn
-- Whether the present slot of time is this worker's: the live workers of the same queues have them one after the other.
SELECT floor(extract(epoch FROM now()) / %(slot)s)::bigint %% nullif(count(*), 0)
    = count(*) FILTER (WHERE peer.id < me.id) AS has_turn
FROM haulier.worker AS me
JOIN haulier.worker AS peer
    ON peer.queues IS NOT DISTINCT FROM me.queues AND (peer.id = me.id OR peer.beat_at >= now() - peer.lease)
WHERE me.id = %(worker)s;

-- name: held
-- What the database thinks this worker runs under these claims. Each is looked up by itself (OFFSET 0 keeps it so): with
-- `= ANY` PostgreSQL before 17 walks all that the worker ran since somebody took a snapshot.
SELECT job.*
FROM (SELECT DISTINCT unnest(%(claims)s::uuid[]) AS claim) AS asked
CROSS JOIN LATERAL (
    SELECT id, attempt, claim, cancel_requested
    FROM haulier.job
    WHERE worker_id = %(worker)s AND status = 'running' AND claim = asked.claim
    OFFSET 0
) AS job;

-- name: strays
-- What the database thinks this worker runs under other claims than these. All that ran since somebody took a snapshot is
-- walked for it.
SELECT id, attempt, claim, cancel_requested
FROM haulier.job
WHERE status = 'running' AND worker_id = %(worker)s AND claim <> ALL(%(claims)s::uuid[]);

-- name: cancelled
-- What this worker runs and is to stop. By an index of its own: those of all that runs, or of what a worker holds, also
-- have all that ran, for as long as somebody holds a snapshot from before.
SELECT id, attempt, claim
FROM haulier.job
WHERE worker_id = %(worker)s AND status = 'running' AND cancel_requested;

-- name: deregister
DELETE FROM haulier.worker
WHERE id = %(worker)s;
