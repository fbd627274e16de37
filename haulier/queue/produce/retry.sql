-- A job that has ended is queued again.

-- name: retry
SELECT * FROM haulier.retry(%(id)s, %(actor)s);
