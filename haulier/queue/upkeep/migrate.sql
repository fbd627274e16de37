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
    to_jsonb(schema_version) ->> 'fingerprint' AS fingerprint
FROM haulier.schema_version;

-- name: set_fingerprint
UPDATE haulier.schema_version
SET fingerprint = %(fingerprint)s
WHERE version = %(schema_version)s;

-- name: find_schema
-- Read from pg_class: to_regclass would answer from a cache, which a wait for an advisory lock does not refresh.
SELECT EXISTS (
    SELECT FROM pg_class
    JOIN pg_namespace ON pg_namespace.oid = relnamespace
    WHERE nspname = 'haulier' AND relname = 'schema_version'
) AS present, current_setting('server_encoding') AS encoding;
