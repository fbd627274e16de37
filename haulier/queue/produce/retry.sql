-- Queue a job again that has ended.

-- name: retry
SELECT * FROM haulier.retry(%(id)s, %(actor)s);
