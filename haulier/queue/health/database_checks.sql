-- What shows whether the database is well: from the catalogue, the server's own figures, and tables of a few rows.

-- name: open_transactions
-- The oldest open transaction of this database, of those in which nothing happens or of the others; and how many sessions
-- do not show theirs to this role. A transaction that is idle only between two of its statements is one of the others.
SELECT pid, application_name, state, extract(epoch FROM now() - xact_start)::double precision AS seconds,
    'SELECT pg_terminate_backend(' || pid || ');' AS remedy,
    count(*) FILTER (WHERE query = '<insufficient privilege>') OVER ()::integer AS hidden
FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND coalesce(backend_type, 'client backend') = 'client backend'
    AND (
        state IS NULL OR %(is_idle)s =
            (state LIKE 'idle in transaction%%' AND state_change <= now() - make_interval(secs => %(idle)s))
    )
ORDER BY xact_start
LIMIT 1;

-- name: prepared_transactions
SELECT gid, extract(epoch FROM now() - prepared)::double precision AS seconds,
    'ROLLBACK PREPARED ' || quote_literal(gid) || ';' AS remedy
FROM pg_prepared_xacts
WHERE database = current_database()
ORDER BY prepared
LIMIT 1;

-- name: idle_slots
-- The replication slot that has been unused for longest, since when (PostgreSQL 17 and later), and how many bytes of the
-- log the server keeps for it.
SELECT slot_name, 'SELECT pg_drop_replication_slot(' || quote_literal(slot_name) || ');' AS remedy,
    extract(epoch FROM now() - (to_jsonb(slot) ->> 'inactive_since')::timestamptz)::double precision AS seconds,
    CASE WHEN NOT pg_is_in_recovery() THEN pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn)::bigint END AS bytes
FROM pg_replication_slots AS slot
WHERE NOT active AND (restart_lsn IS NOT NULL OR xmin IS NOT NULL OR catalog_xmin IS NOT NULL)
ORDER BY seconds DESC NULLS FIRST
LIMIT 1;

-- name: standby_snapshots
-- The oldest snapshot that a standby keeps (hot_standby_feedback), by itself or by its slot; and how many standbys do not
-- show theirs to this role.
WITH held AS (
    SELECT application_name AS name, age(backend_xmin) AS transactions, pid IS NOT NULL AND state IS NULL AS is_hidden
    FROM pg_stat_replication
    UNION ALL
    SELECT slot_name::text, age(xmin), false FROM pg_replication_slots WHERE active
)
SELECT name, transactions, hidden, 'SELECT pid, query FROM pg_stat_activity ORDER BY xact_start;' AS remedy
FROM (SELECT count(*) FILTER (WHERE is_hidden)::integer AS hidden FROM held) AS counted
LEFT JOIN (
    SELECT name, transactions FROM held WHERE transactions IS NOT NULL ORDER BY transactions DESC LIMIT 1
) AS oldest ON true;

-- name: dead_rows
-- The table with the most dead rows of those in which they are over a fifth of the live ones, which vacuum allows by
-- default; and whether autovacuum runs.
SELECT stat.relname AS name, n_dead_tup AS dead, n_live_tup AS live, 5 * n_dead_tup > n_live_tup AS matters,
    current_setting('autovacuum')::boolean AND current_setting('track_counts')::boolean AS is_on,
    'ALTER SYSTEM SET autovacuum = on; ALTER SYSTEM SET track_counts = on; SELECT pg_reload_conf();' AS remedy_for_all,
    'ALTER TABLE haulier.' || quote_ident(stat.relname) || ' RESET (autovacuum_enabled);' AS remedy_here,
    'VACUUM haulier.' || quote_ident(stat.relname) || ';' AS remedy,
    EXISTS (
        SELECT FROM pg_options_to_table(reloptions)
        WHERE option_name = 'autovacuum_enabled' AND NOT option_value::boolean
    ) AS is_off_here
FROM pg_stat_all_tables AS stat
JOIN pg_class ON pg_class.oid = relid
WHERE schemaname = 'haulier'
ORDER BY is_off_here DESC, matters DESC, n_dead_tup DESC
LIMIT 1;

-- name: bloat
-- How many times the live jobs would fit into their table or one of its indexes, by estimate: the widths come from the last ANALYZE, and an index entry has 64 bytes. Tables and indexes below 100 MB do not count.
SELECT name, bytes, bytes / greatest(expected, 1) AS times, left_over, CASE
        WHEN left_over THEN 'DROP INDEX CONCURRENTLY haulier.' || quote_ident(name) || ';'
        WHEN name = 'job' THEN 'VACUUM (FULL) haulier.job; it stops everything meanwhile.'
        ELSE 'REINDEX INDEX CONCURRENTLY haulier.' || quote_ident(name) || ';'
    END AS remedy
FROM (
    SELECT relname AS name, pg_relation_size(pg_class.oid) AS bytes, false AS left_over,
        greatest(reltuples, 0)
            * (28 + (SELECT sum(avg_width) FROM pg_stats WHERE schemaname = 'haulier' AND tablename = 'job')) AS expected
    FROM pg_class
    WHERE oid = 'haulier.job'::regclass
    UNION ALL
    SELECT relname, pg_relation_size(indexrelid), NOT indisvalid AND relname ~ '_cc(new|old)[0-9]*$',
        greatest(reltuples, 0) * 64
    FROM pg_index
    JOIN pg_class ON pg_class.oid = indexrelid
    WHERE indrelid = 'haulier.job'::regclass
) AS measured
WHERE bytes >= 100 * 1024 * 1024 OR left_over
ORDER BY left_over DESC, times DESC NULLS LAST
LIMIT 1;

-- name: oldest_partition
-- How much longer than the retention the oldest partition is kept, in lengths of that partition.
SELECT name, extract(epoch FROM now() - make_interval(days => %(retention_days)s) - upper)::double precision
    / greatest(extract(epoch FROM upper - lower)::double precision, 1) AS late
FROM haulier.history_partitions()
WHERE NOT is_default AND lower IS NOT NULL AND upper IS NOT NULL
ORDER BY upper
LIMIT 1;

-- name: sizes
SELECT sum(pg_total_relation_size(oid))::bigint AS bytes,
    sum(pg_total_relation_size(oid)) FILTER (WHERE starts_with(relname, 'finished_job'))::bigint AS history
FROM pg_class
WHERE relnamespace = 'haulier'::regnamespace AND relkind = 'r';

-- name: wraparound
SELECT greatest(age(datfrozenxid), mxid_age(datminmxid))::double precision AS age,
    ARRAY(
        SELECT oid::regclass::text
        FROM pg_class
        WHERE relkind IN ('r', 'm', 't') AND relfrozenxid <> '0'::xid
        ORDER BY age(relfrozenxid) DESC
        LIMIT 3
    ) AS oldest
FROM pg_database
WHERE datname = current_database();

-- name: waits_for_locks
-- The session that has waited longest for a lock while it uses a table of Haulier's, and the sessions that it waits for.
SELECT pid, extract(epoch FROM now() - waitstart)::double precision AS seconds, pg_blocking_pids(pid) AS blockers, (
        SELECT string_agg('SELECT pg_terminate_backend(' || blocker || ');', ' ')
        FROM unnest(pg_blocking_pids(pid)) AS blocker
    ) AS remedy
FROM pg_locks AS waiting
WHERE NOT granted AND waitstart IS NOT NULL AND EXISTS (
    SELECT
    FROM pg_locks AS used
    JOIN pg_class ON pg_class.oid = used.relation AND relnamespace = 'haulier'::regnamespace
    WHERE used.pid = waiting.pid AND used.database = (SELECT oid FROM pg_database WHERE datname = current_database())
)
ORDER BY waitstart
LIMIT 1;

-- name: unheard_sleepers
-- How many workers have slept for long while a job was due in a queue of theirs: nobody has woken them.
WITH RECURSIVE <<lane_by_lane>>
SELECT count(*)::integer AS workers
FROM haulier.sleeper
JOIN haulier.worker ON worker.id = sleeper.worker_id AND beat_at >= now() - lease
WHERE since < now() - make_interval(secs => %(asleep)s)
    AND EXISTS (
        SELECT FROM lane
        WHERE run_at < now() - make_interval(secs => %(due_for)s)
            AND (sleeper.queues IS NULL OR lane.queue = ANY(sleeper.queues))
    );

-- name: age_of_statistics
-- The age of the planner's statistics of a large table. Only an ANALYZE by hand makes those of the whole history.
SELECT relname AS name, 'ANALYZE haulier.' || quote_ident(relname) || ';' AS remedy,
    extract(epoch FROM now() - greatest(last_analyze, last_autoanalyze))::double precision / 86400 AS days
FROM pg_stat_all_tables AS stat
WHERE relid IN ('haulier.job'::regclass, 'haulier.finished_job'::regclass)
    AND %(rows)s < CASE
        WHEN relid = 'haulier.job'::regclass THEN n_live_tup
        ELSE (
            SELECT sum(n_live_tup)
            FROM pg_stat_all_tables AS partition
            JOIN pg_inherits ON partition.relid = inhrelid
            WHERE inhparent = stat.relid
        )
    END
ORDER BY days DESC NULLS FIRST
LIMIT 1;

-- name: age_of_numbers
SELECT extract(epoch FROM now() - through)::double precision AS seconds, depth_took AS took,
    (SELECT count(*) FROM haulier.worker WHERE beat_at >= now() - lease)::integer AS workers
FROM haulier.counting;

-- name: server_version
SELECT current_setting('server_version') AS version, now() AS at,
    'GRANT pg_read_all_stats TO ' || quote_ident(current_user) || ';' AS remedy;
