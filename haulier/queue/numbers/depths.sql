-- How many jobs live, by queue, kind and status.

-- name: count_live
-- Count the live jobs, and note how many were due and ran then among the rows of 10 s: a 0 for what no longer lives.
WITH counted AS MATERIALIZED (
    SELECT queue, kind, status, count(*) AS jobs,
        count(*) FILTER (WHERE status <> 'running' AND run_at <= now()) AS due,
        min(run_at) FILTER (WHERE status <> 'running') AS first_run_at
    FROM haulier.job
    WHERE <<of_these_pairs>>
    GROUP BY queue, kind, status
), pair AS MATERIALIZED (
    SELECT queue, kind, row_number() OVER (ORDER BY sum(jobs) DESC, queue, kind) AS place
    FROM counted
    GROUP BY queue, kind
), found AS MATERIALIZED (
    SELECT CASE WHEN place <= %(most_depths)s THEN queue ELSE '*' END AS queue,
        CASE WHEN place <= %(most_depths)s THEN kind ELSE '*' END AS kind,
        status, sum(jobs) AS jobs, sum(due) AS due, min(first_run_at) AS first_run_at
    FROM counted
    JOIN pair USING (queue, kind)
    GROUP BY 1, 2, 3
), gone AS (
    DELETE FROM haulier.depth
    WHERE <<of_these_pairs>> AND NOT EXISTS (
        SELECT FROM found
        WHERE found.queue = depth.queue AND found.kind = depth.kind AND found.status = depth.status)
    RETURNING queue, kind
), written AS (
    INSERT INTO haulier.depth AS kept (queue, kind, status, jobs, due, first_run_at)
    SELECT queue, kind, status, jobs, due, first_run_at FROM found
    ON CONFLICT (queue, kind, status) DO UPDATE
    SET jobs = excluded.jobs, due = excluded.due, first_run_at = excluded.first_run_at
    WHERE (kept.jobs, kept.due, kept.first_run_at) IS DISTINCT FROM (excluded.jobs, excluded.due, excluded.first_run_at)
)
INSERT INTO haulier.rollup AS kept (step, at, queue, kind, due, running, oldest)
SELECT 10, date_bin('10 seconds', now(), 'epoch'::timestamptz), queue, kind, sum(due), sum(running),
    extract(epoch FROM now() - min(first_run_at) FILTER (WHERE first_run_at <= now()))
FROM (
    SELECT CASE WHEN place <= %(most_pairs)s THEN queue ELSE '*' END AS queue,
        CASE WHEN place <= %(most_pairs)s THEN kind ELSE '*' END AS kind,
        due, CASE status WHEN 'running' THEN jobs ELSE 0 END AS running, first_run_at
    FROM counted
    JOIN pair USING (queue, kind)
    UNION ALL
    SELECT queue, kind, 0, 0, NULL
    FROM (SELECT queue, kind FROM gone ORDER BY queue, kind LIMIT %(most_pairs)s) AS gone
) AS gauge
GROUP BY queue, kind
ON CONFLICT (step, at, queue, kind) DO UPDATE
SET due = excluded.due, running = excluded.running, oldest = excluded.oldest;

-- name: pairs_that_live
-- The pairs for which count_live may write rows.
SELECT DISTINCT queue || ' ' || kind AS pair FROM haulier.job
UNION
SELECT queue || ' ' || kind FROM haulier.depth;

-- name: note_live
UPDATE haulier.counting
SET depth_at = now(),
    depth_took = %(took)s;
