-- What `migrate` would do, from the catalogue alone.

-- name: partitions_to_make
-- All the partitions that haulier.partition_to_add would give if it were called again and again. It gives only the next
-- one, and an empty database lacks it.
WITH RECURSIVE present AS (
    SELECT coalesce(substring(bound FROM $$FROM \('([^']+)'\)$$)::timestamptz, '-infinity') AS lower,
        coalesce(substring(bound FROM $$TO \('([^']+)'\)$$)::timestamptz, 'infinity') AS upper
    FROM pg_inherits
    JOIN pg_class AS parent ON parent.oid = inhparent
    JOIN pg_namespace ON pg_namespace.oid = parent.relnamespace
    JOIN pg_class AS child ON child.oid = inhrelid
    CROSS JOIN LATERAL pg_get_expr(child.relpartbound, child.oid) AS bound
    WHERE nspname = 'haulier' AND parent.relname = 'finished_job' AND bound <> 'DEFAULT'
), made AS (
    SELECT NULL::timestamptz AS lower, date_trunc('day', now() AT TIME ZONE 'UTC') AT TIME ZONE 'UTC' AS upper
    UNION ALL
    SELECT gap.lower,
        least(
            (date_trunc(%(step)s, gap.lower AT TIME ZONE 'UTC') + ('1 ' || %(step)s)::interval) AT TIME ZONE 'UTC',
            (SELECT min(present.lower) FROM present WHERE present.lower > gap.lower))
    FROM made
    CROSS JOIN LATERAL (
        SELECT min(instant) AS lower
        FROM (
            SELECT made.upper AS instant
            UNION ALL
            SELECT present.upper FROM present WHERE present.upper > made.upper
        ) AS candidate
        WHERE NOT EXISTS (SELECT FROM present WHERE present.lower <= instant AND instant < present.upper)
    ) AS gap
    WHERE gap.lower < now() + make_interval(days => %(days_ahead)s)
)
SELECT name || CASE WHEN to_regclass('haulier.' || name) IS NULL THEN '' ELSE '_again_…' END AS name
FROM made
CROSS JOIN LATERAL (SELECT 'finished_job_' || to_char(lower AT TIME ZONE 'UTC', 'YYYYMMDD_HH24MISS') AS name) AS named
WHERE lower IS NOT NULL
ORDER BY lower;
