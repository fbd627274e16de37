-- The first jobs of a list in another order than newest first.

-- name: list_in_order
-- Live jobs in the order of these ids, if they still match, as far as a page has room: see `list_jobs`, also for the LIMIT
-- in the look-up of each.
WITH RECURSIVE newest AS MATERIALIZED (
    SELECT asked.number, job.*
    FROM unnest(%(ids)s::uuid[]) WITH ORDINALITY AS asked (id, number)
    CROSS JOIN LATERAL (
        SELECT *
        FROM haulier.jobs
        WHERE id = asked.id AND status IN ('queued', 'running', 'retrying')
        LIMIT 1
    ) AS job
    WHERE <<of_any>>
        AND (%(worker)s::uuid IS NULL OR worker_id = %(worker)s::uuid)
), <<large_ones_measured>>
SELECT page.*
<<newest_that_fit>>;
