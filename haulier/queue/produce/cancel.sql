-- Cancel a job.

-- name: cancel
SELECT haulier.cancel(%(id)s, %(actor)s, %(queues)s::text[]) AS was;
