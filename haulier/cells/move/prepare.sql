-- The target gets the source's schema, and a subscription.

-- name: tables_of_side
-- What a move copies. The target has the row of schema_version from its own `migrate`.
SELECT relname::text AS name, CASE
        WHEN relkind = 'p' THEN (
            SELECT coalesce(sum(pg_total_relation_size(relid)), 0) FROM pg_partition_tree(pg_class.oid) WHERE isleaf)
        ELSE pg_total_relation_size(pg_class.oid)
    END::bigint AS bytes
FROM pg_class
WHERE relnamespace = 'haulier'::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition
    AND relname <> 'schema_version'
ORDER BY relname;

-- name: bounds_of_partitions
SELECT pg_class.relname::text AS name, pg_get_expr(relpartbound, pg_class.oid) AS bound
FROM pg_inherits
JOIN pg_class ON pg_class.oid = inhrelid
WHERE inhparent = 'haulier.finished_job'::regclass AND NOT inhdetachpending
ORDER BY 2;

-- name: drop_new_partition
DO $do$
BEGIN
    EXECUTE 'DROP TABLE haulier.' || quote_ident(%(name)s);
END
$do$;

-- name: copy_partition
DO $do$
BEGIN
    EXECUTE 'CREATE TABLE haulier.' || quote_ident(%(name)s) || ' PARTITION OF haulier.finished_job ' || %(bound)s;
END
$do$;

-- name: empty_target
DO $do$
BEGIN
    EXECUTE 'TRUNCATE ' || (SELECT string_agg('haulier.' || quote_ident(name), ', ') FROM unnest(%(names)s::text[]) AS name);
END
$do$;

-- name: publish
-- Each table by its name: FOR TABLES IN SCHEMA takes a superuser. A partition that is made later is part of its table.
DO $do$
BEGIN
    EXECUTE 'CREATE PUBLICATION ' || quote_ident(%(link)s) || ' FOR TABLE '
        || (SELECT string_agg('haulier.' || quote_ident(name), ', ') FROM unnest(%(names)s::text[]) AS name)
        || ' WITH (publish_via_partition_root = true)';
END
$do$;

-- name: drop_publication
DROP PUBLICATION IF EXISTS {name};

-- name: make_slot
-- Here and not by the subscription, which would leave it behind if it fails. It waits for the transactions that have begun.
SELECT pg_create_logical_replication_slot(%(link)s, 'pgoutput')
WHERE NOT EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = %(link)s);

-- name: oldest_writer
SELECT pid
FROM pg_stat_activity
WHERE backend_xid IS NOT NULL AND pid <> pg_backend_pid()
ORDER BY xact_start
LIMIT 1;

-- name: enable_subscription
ALTER SUBSCRIPTION {name} ENABLE;

-- name: refresh_subscription
ALTER SUBSCRIPTION {name} REFRESH PUBLICATION;
