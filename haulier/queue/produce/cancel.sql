-- Cancel jobs.

-- part: in_these_queues
-- Looked at in the statement that acts, since a job may be moved at any time.
(%(queues)s::text[] IS NULL OR queue = ANY(%(queues)s::text[]))

-- part: cancelled
-- A live job that waits moves to history; one that runs is asked to stop, and its worker is notified, which also looks by
-- itself. Of one that is claimed or given back just now there is no row: the caller looks again. No id: a trigger keeps
-- the job out of history. Whoever cancels several has locked them.
-- Filter on `worker_id`, not `status`: for `status` the planner may pick an index of what waits, which is full of dead
-- entries while somebody holds a snapshot.
asked AS (
    UPDATE haulier.job
    SET cancel_requested = true,
        operation_id = coalesce(%(operation)s::uuid, operation_id),
        updated_at = CASE WHEN cancel_requested THEN updated_at ELSE now() END
    WHERE id = ANY(%(ids)s::uuid[]) AND worker_id IS NOT NULL AND <<in_these_queues>>
    RETURNING id, worker_id
), gone AS (
    DELETE FROM haulier.job
    WHERE id = ANY(%(ids)s::uuid[]) AND worker_id IS NULL AND <<in_these_queues>>
    RETURNING *
), ended AS (
    INSERT INTO haulier.finished_job (<<into_history>>)
    SELECT <<kept>>,
        'cancelled', attempts, crashes, true, coalesce(%(operation)s::uuid, operation_id), last_error, errors, now(),
        now(), NULL
    FROM gone
    RETURNING id
), done AS (
    SELECT id, worker_id
    FROM asked
    UNION ALL
    SELECT ended.id, NULL
    FROM gone
    LEFT JOIN ended USING (id)
)

-- part: told
-- A NOTIFY without a payload would be one too.
CASE WHEN worker_id IS NOT NULL THEN pg_notify('haulier_cancel', worker_id::text) END

-- name: cancel
WITH <<cancelled>>, recorded AS (
    INSERT INTO haulier.audit (actor, action, job_id)
    SELECT %(actor)s::text, 'cancel', id
    FROM done
)
SELECT worker_id IS NOT NULL AS is_running, <<told>> AS told
FROM done;

-- name: cancel_all
WITH <<cancelled>>
SELECT count(id) AS done, count(<<told>>)
FROM done;
