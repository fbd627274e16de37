-- Where the due jobs of a queue come from.

-- part: some_due_jobs
-- The first due jobs of a queue, in the order in which claims take them, by the index of claims. The scan of its lanes ends
-- after `most` lanes or `look` seconds.
<<lanes_of_one_queue>>, looked AS MATERIALIZED (
    SELECT job.*, row_number() OVER () AS place
    FROM (SELECT queue, priority FROM lane WHERE id IS NOT NULL LIMIT %(most)s) AS found
    CROSS JOIN LATERAL (
        SELECT id, kind, tags, idempotency_key
        FROM haulier.job
        WHERE status IN ('queued', 'retrying') AND suspect = %(suspect)s AND queue = found.queue
            AND priority = found.priority AND run_at <= now()
        ORDER BY suspect, queue, priority DESC, run_at, id
        LIMIT %(most_rows)s
    ) AS job
    LIMIT %(most_rows)s
)

-- part: keys_of_some
-- The API keys that enqueued some of these jobs, which are spread over all. A job does not say by which key it came: the key's id
-- stands before its idempotency key, which is looked up for each of the 50 keys that were used last (3 ms for 100 jobs and 20 keys).
sampled AS MATERIALIZED (
    SELECT id, idempotency_key
    FROM looked
    WHERE place %% greatest(1, (SELECT count(*) FROM looked) / %(sample)s) = 0
    LIMIT %(sample)s
), known AS MATERIALIZED (
    (SELECT id FROM haulier.api_key ORDER BY last_used_at DESC NULLS LAST, id LIMIT 50)
    UNION ALL
    SELECT 'env'
), keyed AS MATERIALIZED (
    SELECT sampled.id, (
        SELECT known.id
        FROM known
        JOIN haulier.idempotency ON idempotency.key = known.id || ' ' || sampled.idempotency_key
        WHERE idempotency.job_id = sampled.id
        LIMIT 1
    ) AS key_id
    FROM sampled
)

-- name: count_producers
-- How many of them there are, and the most frequent of their API keys, tags and kinds.
WITH RECURSIVE <<some_due_jobs>>, <<keys_of_some>>
SELECT 'all' AS what, NULL AS name, count(*) AS jobs FROM looked
UNION ALL
SELECT 'looked up', NULL, count(*) FROM keyed
UNION ALL
(SELECT 'API key', coalesce(key_id, ''), count(*) FROM keyed GROUP BY key_id ORDER BY 3 DESC, key_id LIMIT %(limit)s)
UNION ALL
SELECT 'tag', '', count(*) FROM looked WHERE tags IS NULL
UNION ALL
(SELECT 'tag', tag, count(*) FROM looked CROSS JOIN unnest(tags) AS tag GROUP BY tag ORDER BY 3 DESC, tag LIMIT %(limit)s)
UNION ALL
(SELECT 'kind', kind, count(*) FROM looked GROUP BY kind ORDER BY 3 DESC, kind LIMIT %(limit)s);
