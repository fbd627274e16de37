-- Partitions of the history: added ahead, dropped when they are old enough.

-- name: partitions
SELECT * FROM haulier.history_partitions();

-- name: oldest_user_of_table
-- The process that a detach waits for: its transaction has used the history for longest. For sessions of other roles
-- the server may not show since when.
SELECT pg_locks.pid
FROM pg_locks
JOIN pg_stat_activity USING (pid)
WHERE locktype = 'relation' AND relation IN (%(table)s::oid, 'haulier.finished_job'::regclass) AND granted
    AND pg_locks.pid <> pg_backend_pid()
ORDER BY xact_start
LIMIT 1;

-- name: owns_history
-- True for the owner, and for a role that inherits its rights.
SELECT pg_has_role(relowner, 'USAGE') AS owns
FROM pg_class
WHERE oid = 'haulier.finished_job'::regclass;

-- name: partition_to_add
SELECT * FROM haulier.partition_to_add(%(step)s, %(days_ahead)s);

-- name: add_partition
SELECT haulier.add_partition(%(step)s, %(days_ahead)s) AS name;

-- name: partitions_to_drop
SELECT "table"
FROM unnest(%(tables)s::oid[], %(uppers)s::timestamptz[]) AS partition ("table", upper)
WHERE upper <= now() - make_interval(days => %(retention_days)s)
ORDER BY upper;

-- name: mark_expired
SELECT * FROM haulier.mark_expired(%(table)s::oid, %(retention_days)s);

-- name: detach_partition_in_session
ALTER TABLE haulier.finished_job DETACH PARTITION {name} CONCURRENTLY;

-- name: detach_partition
SELECT haulier.detach_partition(%(table)s::oid, %(retention_days)s) AS name;

-- name: finish_detach
SELECT haulier.finish_detach(%(table)s::oid) AS name;

-- name: detached_partitions
SELECT "table" FROM haulier.detached_partitions();

-- name: drop_partition
SELECT haulier.drop_partition(%(table)s::oid) AS name;

-- name: session_lock_timeout
-- For DETACH CONCURRENTLY, which cannot run in a transaction. The setting reaches no other client: the connection goes
-- through no pool, and is closed right after.
SET lock_timeout = %(lock_milliseconds)s;

-- name: history_days_ahead
-- For how many days from now every instant has a partition; 0 when nothing can settle, 365 at most.
WITH present AS (
    SELECT coalesce(lower, '-infinity') AS lower, coalesce(upper, 'infinity') AS upper
    FROM unnest(%(lowers)s::timestamptz[], %(uppers)s::timestamptz[]) AS bounds (lower, upper)
)
SELECT extract(epoch FROM least(min(instant), now() + interval '365 days') - now())::double precision / 86400 AS days
FROM (
    SELECT now() AS instant
    UNION ALL
    SELECT upper FROM present WHERE upper > now()
) AS candidate
WHERE NOT EXISTS (SELECT FROM present WHERE present.lower <= instant AND instant < present.upper);
