-- Which schema there is, and whose turn it is to change it.

-- name: lock_schema
-- Processes that change the schema or add a partition (haulier.add_partition) take turns by this lock.
LOCK TABLE haulier.schema_version IN SHARE ROW EXCLUSIVE MODE;

-- name: lock_empty_database
-- For a database that has no table to lock yet.
SELECT pg_advisory_xact_lock(7236837241);

-- name: holder_of_empty_database
SELECT pid
FROM pg_locks
WHERE locktype = 'advisory' AND objsubid = 1 AND granted
    AND classid = (7236837241 >> 32)::oid AND objid = (7236837241 & 4294967295)::oid
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database());

-- name: oldest_user_of_tables
-- The process whose transaction has used one of these tables for longest. For sessions of other roles the server may
-- not show since when.
SELECT pg_locks.pid
FROM pg_locks
JOIN pg_class ON pg_class.oid = relation
JOIN pg_namespace ON pg_namespace.oid = relnamespace
JOIN pg_stat_activity ON pg_stat_activity.pid = pg_locks.pid
WHERE locktype = 'relation' AND granted AND pg_locks.pid <> pg_backend_pid()
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND nspname = 'haulier' AND relname = ANY(%(names)s)
ORDER BY xact_start
LIMIT 1;

-- name: schema_version
-- By way of JSON: the oldest development builds had no such column.
SELECT version, compatible_from, to_jsonb(schema_version) ? 'fingerprint' AS is_known,
    to_jsonb(schema_version) ->> 'fingerprint' AS fingerprint,
    (to_jsonb(schema_version) ->> 'cell')::integer AS cell
FROM haulier.schema_version;

-- name: set_fingerprint
UPDATE haulier.schema_version
SET fingerprint = %(fingerprint)s
WHERE version = %(schema_version)s;

-- name: set_cell
SELECT haulier.set_cell(%(cell)s);

-- name: find_move
-- A publication of haulier/cells/move, until the target is open.
SELECT FROM pg_publication WHERE starts_with(pubname::text, 'haulier_move_');

-- name: find_schema
-- Read from pg_class: to_regclass would answer from a cache, which a wait for an advisory lock does not refresh.
SELECT EXISTS (
    SELECT FROM pg_class
    JOIN pg_namespace ON pg_namespace.oid = relnamespace
    WHERE nspname = 'haulier' AND relname = 'schema_version'
) AS present, current_setting('server_encoding') AS encoding;

-- What `migrate` would do, only from the catalogue.

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
