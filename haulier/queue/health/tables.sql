-- The tables of the schema: sizes, dead rows, when vacuum and ANALYZE last came.

-- name: tables
-- Largest first. The partitions of a table are summed, except for ANALYZE, which the whole table needs by hand. `bloat` is
-- how many times the rows would fit, by the widths of the last ANALYZE: null below 10 MB, or if the role may not read the
-- widths.
SELECT name, partitions, rows, dead, table_bytes, index_bytes, vacuumed_at, analyzed_at, CASE
        WHEN partitions = 0 AND main_bytes >= 10 * 1024 * 1024 THEN main_bytes / nullif(expected_bytes, 0)
    END AS bloat
FROM (
    SELECT coalesce(parent.relname, pg_class.relname) AS name,
        count(parent.oid)::integer AS partitions,
        sum(stat.n_live_tup)::bigint AS rows,
        sum(stat.n_dead_tup)::bigint AS dead,
        coalesce(sum(pg_table_size(pg_class.oid)), 0)::bigint AS table_bytes,
        coalesce(sum(pg_indexes_size(pg_class.oid)), 0)::bigint AS index_bytes,
        sum(pg_relation_size(pg_class.oid))::double precision AS main_bytes,
        sum(greatest(pg_class.reltuples, 0) * (28 + width.bytes))::double precision AS expected_bytes,
        max(greatest(stat.last_vacuum, stat.last_autovacuum)) AS vacuumed_at,
        max(CASE
            WHEN parent.oid IS NULL THEN greatest(stat.last_analyze, stat.last_autoanalyze)
            ELSE whole.last_analyze
        END) AS analyzed_at
    FROM pg_class
    JOIN pg_stat_all_tables AS stat ON stat.relid = pg_class.oid
    LEFT JOIN pg_inherits ON inhrelid = pg_class.oid
    LEFT JOIN pg_class AS parent ON parent.oid = inhparent
    LEFT JOIN pg_stat_all_tables AS whole ON whole.relid = inhparent
    LEFT JOIN (
        SELECT tablename, sum(avg_width) AS bytes
        FROM pg_stats
        WHERE schemaname = 'haulier' AND NOT starts_with(tablename, 'finished_job')
        GROUP BY tablename
    ) AS width ON width.tablename = pg_class.relname
    WHERE pg_class.relnamespace = 'haulier'::regnamespace AND pg_class.relkind = 'r'
    GROUP BY 1
) AS measured
ORDER BY table_bytes + index_bytes DESC, name
LIMIT %(limit)s;
