-- Idle workers sleep, and are woken.

-- name: listen
LISTEN haulier_job; LISTEN haulier_cancel;

-- name: unlisten
UNLISTEN haulier_job; UNLISTEN haulier_cancel;

-- name: call_myself
-- Notify this worker's own listener. The worker then looks for cancelled jobs, and finds none.
SELECT pg_notify('haulier_cancel', %(worker)s::text);

-- name: fall_asleep
-- From now on the trigger of an INSERT finds this worker. Its row in `worker` is locked first, as `bury` does: a worker
-- that is being declared dead waits, then inserts nothing. Without the lock the foreign key would raise an error.
INSERT INTO haulier.sleeper (worker_id, queues)
SELECT id, queues
FROM haulier.worker
WHERE id = %(worker)s
FOR KEY SHARE
ON CONFLICT (worker_id) DO NOTHING;

-- name: get_up
DELETE FROM haulier.sleeper
WHERE worker_id = %(worker)s;

-- part: another_sleeper
-- One more sleeper of this worker's queues, chosen as the trigger of an INSERT does: the one with the freshest beat.
SELECT sleeper.worker_id
FROM haulier.sleeper
JOIN haulier.worker AS me ON me.id = %(worker)s AND me.queues IS NOT DISTINCT FROM sleeper.queues
JOIN haulier.worker AS other ON other.id = sleeper.worker_id AND other.id <> me.id AND NOT other.quiet
ORDER BY other.beat_at DESC, random()
LIMIT 1

-- name: wake_another
SELECT pg_notify('haulier_job', another.worker_id::text)
FROM (<<another_sleeper>>) AS another;

-- name: pass_on
WITH gone AS (
    DELETE FROM haulier.sleeper
    WHERE worker_id = %(worker)s
)
SELECT pg_notify('haulier_job', another.worker_id::text)
FROM (<<another_sleeper>>) AS another;
