-- The two databases of a move: what each says of it, and how it is closed and opened.

-- name: mover_session
-- The mover writes to closed databases too. What it writes must survive a crash, also if the server's commits need not. A
-- server notices within 11 s that the mover was cut off, and frees its lock. The limits are for statements that cannot run
-- in a transaction, before which no other limit can be sent.
SET default_transaction_read_only = off; SET synchronous_commit = on; SET timezone = 'UTC'; SET datestyle = 'ISO';
SET search_path = pg_catalog, pg_temp; SET tcp_keepalives_idle = 5; SET tcp_keepalives_interval = 2;
SET tcp_keepalives_count = 3; SET statement_timeout = '60s'; SET lock_timeout = '10s';

-- name: lock_side
-- Of the session: it is free as soon as nothing that this mover has sent can happen any more.
SELECT pg_try_advisory_lock(7236837242) AS is_mine;

-- name: holder_of_side
SELECT pid
FROM pg_locks
WHERE locktype = 'advisory' AND objsubid = 1 AND granted
    AND classid = (7236837242 >> 32)::oid AND objid = (7236837242 & 4294967295)::oid
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database());

-- name: read_side
SELECT system_identifier::text AS system,
    pg_database.oid::bigint AS oid,
    datname::text AS name,
    pg_is_in_recovery() AS is_standby,
    EXISTS (
        SELECT FROM pg_db_role_setting
        CROSS JOIN unnest(setconfig) AS setting
        WHERE setdatabase = pg_database.oid AND setrole = 0
            AND CASE
                WHEN starts_with(setting, 'default_transaction_read_only=') THEN split_part(setting, '=', 2)::boolean
            END
    ) AS is_closed,
    EXISTS (
        SELECT FROM pg_class
        WHERE relnamespace = to_regnamespace('haulier') AND relname = 'schema_version'
    ) AS has_schema,
    ARRAY(
        SELECT pubname::text FROM pg_publication WHERE starts_with(pubname::text, 'haulier_move') ORDER BY pubname
    ) AS publications,
    ARRAY(
        SELECT slot_name::text
        FROM pg_replication_slots
        WHERE database = current_database() AND starts_with(slot_name::text, 'haulier_move')
        ORDER BY slot_name
    ) AS slots,
    ARRAY(
        SELECT subname::text
        FROM pg_subscription
        WHERE subdbid = pg_database.oid AND starts_with(subname::text, 'haulier_move')
        ORDER BY subname
    ) AS subscriptions
FROM pg_database
CROSS JOIN pg_control_system()
WHERE datname = current_database();

-- name: slot
-- What A keeps for B. Without the right to see other sessions `is_active` is still known.
SELECT active AS is_active, coalesce(wal_status, '') = 'lost' AS is_lost,
    pg_wal_lsn_diff(pg_current_wal_lsn(), confirmed_flush_lsn)::bigint AS lag_bytes
FROM pg_replication_slots
WHERE slot_name = %(link)s;

-- name: close_side
ALTER DATABASE {name} SET default_transaction_read_only = on;

-- name: open_side
ALTER DATABASE {name} RESET default_transaction_read_only;

-- name: sessions_inside
-- The sessions of others in this database, and first the processes that are about to have one: these hold a lock on it until
-- they have read its settings and are sessions. Whoever comes later reads what is set by now. Receivers of replication, and
-- vacuums, which have no role, stay.
SELECT DISTINCT pid
FROM (
    SELECT pid
    FROM pg_locks
    WHERE locktype = 'object' AND classid = 'pg_database'::regclass AND mode = 'RowExclusiveLock'
        AND objid = (SELECT oid FROM pg_database WHERE datname = current_database())
    UNION ALL
    SELECT pid
    FROM pg_stat_activity
    WHERE datname = current_database() AND usesysid IS NOT NULL
) AS inside
WHERE pid <> pg_backend_pid() AND pid NOT IN (SELECT pid FROM pg_stat_replication);

-- name: end_sessions
SELECT pid, pg_terminate_backend(pid) AS is_told
FROM pg_stat_activity
WHERE pid = ANY(%(pids)s) AND datname = current_database();

-- name: send_address
-- No setting makes a server log what COPY gets.
CREATE TEMP TABLE haulier_move_address (address bytea) ON COMMIT DROP; COPY pg_temp.haulier_move_address FROM STDIN;

-- name: subscribe
-- A statement with a warning or an error is logged, and so is one that plpgsql ran inside it, as its context. Of a function
-- in SQL the context is only the name.
DO $do$
BEGIN
    EXECUTE (
        SELECT format('CREATE FUNCTION pg_temp.haulier_subscribe() RETURNS void LANGUAGE sql AS %%L',
            format('CREATE SUBSCRIPTION %%1$I CONNECTION %%2$L PUBLICATION %%1$I WITH (%%3$s)',
                %(name)s, convert_from(address, 'UTF8'), %(options)s))
        FROM pg_temp.haulier_move_address);
EXCEPTION WHEN OTHERS THEN
    RAISE EXCEPTION USING ERRCODE = SQLSTATE, MESSAGE = SQLERRM;
END
$do$;
SELECT pg_temp.haulier_subscribe(); DROP FUNCTION pg_temp.haulier_subscribe();
