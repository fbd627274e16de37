-- does: Lets the view of the lanes tell the first job of each.
-- locks lane: ACCESS EXCLUSIVE, for a moment

SET LOCAL search_path = pg_catalog, pg_temp;
SET LOCAL lock_timeout = '5s';

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

UPDATE haulier.schema_version SET version = 4;
