-- Cancel jobs.

-- part: in_these_queues
-- Checked in the statement that acts, because a job may be moved at any time.
(%(queues)s::text[] IS NULL OR queue = ANY(%(queues)s::text[]))

-- part: cancelled
-- A waiting job moves to history. A running job is asked to stop, and its worker is notified, which also looks by itself.
-- No row: the job is being claimed or given back, and the caller looks again. A row without an id: a trigger keeps the job
-- out of history. Whoever cancels several jobs has locked them.
-- Filter on `worker_id`, not `status`: for `status` the planner may pick an index of waiting jobs, which is full of dead
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

-- part: notified
-- Not without a payload, which would be a notification too.
CASE WHEN worker_id IS NOT NULL THEN pg_notify('haulier_cancel', worker_id::text) END

-- name: cancel
WITH <<cancelled>>, recorded AS (
    INSERT INTO haulier.audit (actor, action, job_id)
    SELECT %(actor)s::text, 'cancel', id
    FROM done
)
SELECT worker_id IS NOT NULL AS is_running, <<notified>> AS notified
FROM done;

-- name: cancel_all
WITH <<cancelled>>
SELECT count(id) AS done, count(<<notified>>)
FROM done;
