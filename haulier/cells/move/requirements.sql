-- What a server and a role need for a move.

-- name: problems_of_source
-- Each with what to change. A replica identity is asked of partitions too: what they write says whose it is.
WITH me AS (SELECT * FROM pg_roles WHERE rolname = current_user), ours AS (
    SELECT * FROM pg_class WHERE relnamespace = 'haulier'::regnamespace AND relkind IN ('r', 'p')
), free (setting, number) AS (
    VALUES
        ('max_replication_slots', current_setting('max_replication_slots')::bigint
            - (SELECT count(*) FROM pg_replication_slots)),
        ('max_wal_senders', current_setting('max_wal_senders')::bigint - (SELECT count(*) FROM pg_stat_replication))
), others AS (
    SELECT count(*) AS number, min(nspname || '.' || relname) AS first
    FROM pg_class
    JOIN pg_namespace ON pg_namespace.oid = relnamespace
    WHERE relkind IN ('r', 'p') AND relpersistence <> 't'
        AND nspname NOT IN ('haulier', 'pg_catalog', 'information_schema') AND NOT starts_with(nspname, 'pg_toast')
        AND NOT EXISTS (
            SELECT FROM pg_depend WHERE classid = 'pg_class'::regclass AND objid = pg_class.oid AND deptype = 'e')
        AND NOT EXISTS (
            SELECT FROM pg_inherits
            WHERE inhrelid = pg_class.oid AND inhparent = to_regclass('haulier.finished_job'))
)
SELECT 'its server has wal_level = ' || setting || ': set wal_level = logical and restart it' AS problem
FROM pg_settings
WHERE name = 'wal_level' AND setting <> 'logical'
UNION ALL
SELECT 'its server has ' || number || ' of 2 free: raise ' || setting || ' and restart it'
FROM free
WHERE number < 2 AND NOT %(is_begun)s
UNION ALL
-- A service that gives no attribute gives a role.
SELECT 'its role may not replicate: run ALTER ROLE ' || quote_ident(rolname) || ' REPLICATION (RDS: GRANT rds_replication)'
FROM me
WHERE NOT rolsuper AND NOT rolreplication AND NOT EXISTS (
    SELECT FROM pg_roles WHERE rolname = 'rds_replication' AND pg_has_role(oid, 'USAGE'))
UNION ALL
SELECT 'haulier.' || relname || ' has no replica identity: run ALTER TABLE haulier.' || quote_ident(relname)
    || ' REPLICA IDENTITY FULL'
FROM ours
WHERE relreplident = 'n' OR relreplident = 'd' AND NOT EXISTS (
    SELECT FROM pg_index WHERE indrelid = ours.oid AND indisprimary)
UNION ALL
SELECT 'haulier.' || relname || ' is not replicated: run ALTER TABLE haulier.' || quote_ident(relname) || ' SET LOGGED'
FROM ours
WHERE relkind = 'r' AND relpersistence <> 'p'
UNION ALL
SELECT DISTINCT 'a subscription writes to it: run ALTER SUBSCRIPTION ' || quote_ident(subname) || ' DISABLE'
FROM pg_subscription
JOIN pg_subscription_rel ON srsubid = pg_subscription.oid
JOIN ours ON ours.oid = srrelid
WHERE subdbid = (SELECT oid FROM pg_database WHERE datname = current_database()) AND subenabled
UNION ALL
SELECT 'it has ' || number || ' tables outside of the schema haulier, such as ' || first
    || ', which would be closed and not moved: keep them in another database'
FROM others
WHERE number > 0;

-- name: problems_of_target
WITH free (setting, number) AS (
    VALUES
        ('max_logical_replication_workers', current_setting('max_logical_replication_workers')::bigint
            - (SELECT count(*) FROM pg_stat_subscription WHERE pid IS NOT NULL)),
        -- Of PostgreSQL 18.
        (CASE
            WHEN current_setting('max_active_replication_origins', true) IS NULL THEN 'max_replication_slots'
            ELSE 'max_active_replication_origins'
        END, coalesce(
                current_setting('max_active_replication_origins', true), current_setting('max_replication_slots')
            )::bigint - (SELECT count(*) FROM pg_replication_origin))
)
SELECT 'its encoding is ' || setting || ': create it with ENCODING UTF8' AS problem
FROM pg_settings
WHERE name = 'server_encoding' AND setting <> 'UTF8'
UNION ALL
SELECT 'its server has ' || number || ' of 2 free: raise ' || setting || ' and restart it'
FROM free
WHERE number < 2 AND NOT %(is_begun)s;

-- name: problems_of_side
-- What both need.
WITH here AS (SELECT * FROM pg_database WHERE datname = current_database())
SELECT 'its role may not close it: run ALTER DATABASE ' || quote_ident(datname) || ' OWNER TO ' || quote_ident(current_user)
    AS problem
FROM here
WHERE NOT pg_has_role(datdba, 'USAGE')
UNION ALL
SELECT 'its role may not publish or subscribe: run GRANT CREATE ON DATABASE ' || quote_ident(datname) || ' TO '
    || quote_ident(current_user)
FROM here
WHERE NOT has_database_privilege(oid, 'CREATE')
UNION ALL
SELECT 'its role does not own haulier.' || relname || ': name the role that runs `haulier migrate`'
FROM pg_class
WHERE relnamespace = to_regnamespace('haulier') AND relkind IN ('r', 'p') AND NOT pg_has_role(relowner, 'USAGE')
UNION ALL
-- A role's own setting is stronger than the database's.
SELECT 'a role could write to it while it is closed: run ALTER ROLE ' || quote_ident(rolname)
    || CASE WHEN setdatabase = 0 THEN '' ELSE ' IN DATABASE ' || quote_ident(datname) END
    || ' RESET default_transaction_read_only'
FROM here
JOIN pg_db_role_setting ON setdatabase IN (0, here.oid)
JOIN pg_roles ON pg_roles.oid = setrole
CROSS JOIN unnest(setconfig) AS setting
WHERE CASE
    WHEN starts_with(setting, 'default_transaction_read_only=') THEN NOT split_part(setting, '=', 2)::boolean
END
UNION ALL
SELECT 'a prepared transaction could still write: commit or roll back ' || quote_literal(gid)
FROM pg_prepared_xacts
WHERE database = current_database()
UNION ALL
SELECT 'its role may not end the sessions of ' || string_agg(DISTINCT quote_ident(usename), ', ')
    || ': GRANT pg_signal_backend TO ' || quote_ident(current_user) || ', and end those of a superuser yourself'
FROM pg_stat_activity
JOIN pg_roles AS me ON me.rolname = current_user
JOIN pg_roles AS them ON them.oid = usesysid
WHERE datname = current_database() AND NOT me.rolsuper AND NOT pg_has_role(usesysid, 'USAGE')
    -- The target's own connection, which may have another role, stays.
    AND pid NOT IN (SELECT pid FROM pg_stat_replication) AND (
    them.rolsuper
    OR NOT pg_has_role((SELECT oid FROM pg_roles WHERE rolname = 'pg_signal_backend'), 'USAGE'))
HAVING count(*) > 0;

-- name: clock_of_side
SELECT extract(epoch FROM clock_timestamp())::double precision AS clock;

-- name: rows_of_target
-- A table with rows that nobody may lose. Others are written by processes that only started; they are truncated.
SELECT name
FROM (
    SELECT 'job' AS name WHERE EXISTS (SELECT FROM haulier.job)
    UNION ALL
    SELECT 'finished_job' WHERE EXISTS (SELECT FROM haulier.finished_job)
    UNION ALL
    SELECT 'idempotency' WHERE EXISTS (SELECT FROM haulier.idempotency)
    UNION ALL
    SELECT 'schedule' WHERE EXISTS (SELECT FROM haulier.schedule)
    UNION ALL
    SELECT 'api_key' WHERE EXISTS (SELECT FROM haulier.api_key)
    UNION ALL
    SELECT 'audit' WHERE EXISTS (SELECT FROM haulier.audit)
) AS filled
LIMIT 1;

-- name: rights_of_side
-- Who but the owner may do what in the schema. Partitions get no rights of their own.
WITH thing AS (
    SELECT 'schema' AS thing, nspowner AS owner, nspacl AS acl FROM pg_namespace WHERE nspname = 'haulier'
    UNION ALL
    SELECT relname, relowner, relacl
    FROM pg_class
    WHERE relnamespace = 'haulier'::regnamespace AND relkind IN ('r', 'p', 'v') AND NOT relispartition
    UNION ALL
    SELECT relname || '.' || attname, relowner, attacl
    FROM pg_attribute
    JOIN pg_class ON pg_class.oid = attrelid
    WHERE relnamespace = 'haulier'::regnamespace AND attacl IS NOT NULL AND NOT relispartition
    UNION ALL
    SELECT proname, proowner, proacl FROM pg_proc WHERE pronamespace = 'haulier'::regnamespace
)
SELECT coalesce(rolname::text, 'PUBLIC') AS role, thing::text || ' ' || privilege_type AS what
FROM thing
CROSS JOIN aclexplode(acl)
LEFT JOIN pg_roles ON pg_roles.oid = grantee
WHERE grantee <> owner;

-- name: unfinished_operations
SELECT id::text AS id FROM haulier.operation WHERE status IN ('waiting', 'running') ORDER BY id LIMIT 1;
