-- Running jobs and lanes --------------------------------------------------------------------------------------

-- The running jobs, by a bitmap scan, which reads each page of the table once at most. While somebody holds a snapshot
-- the index has a dead entry for each job that has run since. The planner counts only live rows: it would choose a
-- plain index scan, which reads a page for each of millions of dead entries.
CREATE OR REPLACE FUNCTION haulier.running() RETURNS TABLE (id uuid, worker_id uuid, kind text, queue text, created_at timestamptz)
LANGUAGE sql STABLE ROWS 100
SET search_path = pg_catalog, pg_temp SET enable_indexscan = off SET enable_seqscan = off SET work_mem = '32MB'
AS $$ SELECT id, worker_id, kind, queue, created_at FROM haulier.job WHERE status = 'running' $$;

-- The lanes that have waiting jobs, each with its first job and when that is due. A loose index scan: it reads a few
-- entries a lane, however many jobs wait in it.
CREATE OR REPLACE VIEW haulier.lane AS
WITH RECURSIVE lane AS (
    (
        SELECT suspect, queue, priority, run_at, id
        FROM haulier.job
        WHERE status IN ('queued', 'retrying')
        ORDER BY suspect, queue, priority DESC, run_at, id
        LIMIT 1
    )
    UNION ALL
    SELECT next.*
    FROM lane
    CROSS JOIN LATERAL (
        (
            SELECT suspect, queue, priority, run_at, id
            FROM haulier.job
            WHERE status IN ('queued', 'retrying')
                AND suspect = lane.suspect AND queue = lane.queue AND priority < lane.priority
            ORDER BY suspect, queue, priority DESC, run_at, id
            LIMIT 1
        )
        UNION ALL
        (
            SELECT suspect, queue, priority, run_at, id
            FROM haulier.job
            WHERE status IN ('queued', 'retrying') AND suspect = lane.suspect AND queue > lane.queue
            ORDER BY suspect, queue, priority DESC, run_at, id
            LIMIT 1
        )
        UNION ALL
        (
            SELECT suspect, queue, priority, run_at, id
            FROM haulier.job
            WHERE status IN ('queued', 'retrying') AND suspect > lane.suspect
            ORDER BY suspect, queue, priority DESC, run_at, id
            LIMIT 1
        )
        LIMIT 1
    ) AS next
)
SELECT suspect, queue, priority, run_at AS first_run_at, id AS first_id
FROM lane;
