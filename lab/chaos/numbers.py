"""Holds the numbers that the workers have counted against the tables."""

from __future__ import annotations

import time

from lab.chaos.stage import Stage
from lab.waiting import pause

# A span is counted 15 s after its end; if the process that counts was killed, another takes over after 30 s.
WITHIN_SECONDS = 60.0
# What is counted and what is there, by queue, kind and what it is; only if they differ. Of c.acted there is also
# what was deleted, and each end of what was queued again. What went, or was moved, before it was counted for good may
# be missing, or be counted in both queues: as the design has it, and no further.
DIFFERENT = """
    WITH counted AS (
        SELECT queue, kind, what, sum(jobs) AS counted
        FROM haulier.rollup
        CROSS JOIN LATERAL (VALUES
            ('arrived', arrived), ('succeeded', succeeded), ('failed_permanent', failed), ('cancelled', cancelled)
        ) AS figure (what, jobs)
        GROUP BY 1, 2, 3
    ), bounds AS (
        SELECT 'arrived' AS what,
            count(*) FILTER (WHERE what IN ('enqueue', 'copy'))
                - (SELECT count(*) FROM chaos.deleted WHERE came_early) AS least,
            count(*) FILTER (WHERE what IN ('enqueue', 'copy'))
                + count(*) FILTER (WHERE is_moved AND came_early) AS most
        FROM chaos.written
        UNION ALL
        SELECT job ->> 'status',
            count(*) FILTER (WHERE what <> 'gone') - count(*) FILTER (WHERE what = 'gone' AND ended_early),
            count(*) FILTER (WHERE what <> 'gone')
        FROM chaos.written
        WHERE job ->> 'status' IN ('succeeded', 'failed_permanent', 'cancelled')
        GROUP BY 1
    ), acted AS (
        SELECT what, sum(counted) AS counted FROM counted WHERE kind = 'c.acted' GROUP BY 1
    ), there AS (
        SELECT queue, kind, what, count(*) AS there
        FROM haulier.jobs
        CROSS JOIN LATERAL (VALUES ('arrived'), (CASE WHEN finished_at IS NOT NULL THEN status END)) AS figure (what)
        WHERE what IS NOT NULL
        GROUP BY 1, 2, 3
    )
    SELECT format('%s %s %s: %s counted, %s there', queue, kind, what, coalesce(counted, 0), coalesce(there, 0))
    FROM counted
    FULL JOIN there USING (queue, kind, what)
    WHERE coalesce(counted, 0) <> coalesce(there, 0) AND kind <> 'c.acted'
    UNION ALL
    SELECT format('c.acted %s: %s counted, %s to %s there', what, coalesce(counted, 0), least, most)
    FROM bounds
    FULL JOIN acted USING (what)
    WHERE coalesce(counted, 0) NOT BETWEEN coalesce(least, 0) AND coalesce(most, 0)
    UNION ALL
    SELECT format('%s %s %s: %s counted as live, %s there', queue, kind, status, coalesce(counted.jobs, 0),
        coalesce(there.jobs, 0))
    FROM haulier.depth AS counted
    FULL JOIN (SELECT queue, kind, status, count(*) AS jobs FROM haulier.job GROUP BY 1, 2, 3) AS there
        USING (queue, kind, status)
    WHERE coalesce(counted.jobs, 0) <> coalesce(there.jobs, 0)
    ORDER BY 1
"""


def miscounted(running: Stage) -> list[str]:
    """Return in what the numbers differ from the tables, some seconds after everything has ended."""
    began_at = time.monotonic()
    while (different := running.run(DIFFERENT)) and time.monotonic() - began_at < WITHIN_SECONDS:
        pause(0.5)
    return [what for (what,) in different]
