-- A job is cancelled.

-- name: cancel
SELECT haulier.cancel(%(id)s, %(actor)s) AS was;
