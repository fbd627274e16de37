-- Find queues, kinds and schedules by a part of their names, and jobs by their idempotency key.

-- name: names_containing
-- Queues and kinds with live jobs, queues that the API has recently accepted, and schedules: of each at most 10,000. The
-- counts of old jobs are not read.
SELECT what, name
FROM (
    SELECT 'queue' AS what, queue AS name, queue FROM haulier.depth WHERE queue <> '*'
    UNION
    SELECT 'queue', name, name FROM haulier.queue
    UNION
    SELECT 'kind', kind, queue FROM haulier.depth WHERE kind <> '*'
    UNION
    SELECT 'schedule', name, coalesce(job ->> 'queue', 'default') FROM haulier.schedule
) AS known
WHERE strpos(name, %(text)s) > 0 AND (%(queues)s::text[] IS NULL OR queue = ANY(%(queues)s::text[]))
GROUP BY what, name
ORDER BY what, name
LIMIT %(limit)s;

-- name: jobs_of_key
-- Each API key has its own key space, also HAULIER_API_KEY: the key is asked for in all of them.
SELECT id
FROM haulier.jobs
WHERE id = ANY (ARRAY(
        SELECT job_id
        FROM haulier.idempotency
        WHERE key = ANY (ARRAY(
            SELECT %(idempotency_key)s::text
            UNION ALL
            SELECT 'env ' || %(idempotency_key)s
            UNION ALL
            SELECT api_key.id || ' ' || %(idempotency_key)s FROM haulier.api_key))))
    AND (%(queues)s::text[] IS NULL OR queue = ANY(%(queues)s::text[]));
