-- How many connections there may be.

-- name: connection_limits
-- The limits of the role that has logged in. Only the server's limit holds for a superuser. Every role may see whose
-- connections are counted. `reserved_connections` exists from PostgreSQL 16 on.
SELECT
    pg_backend_pid() AS pid,
    session_user::text AS role,
    current_database()::text AS database,
    CASE WHEN NOT rolsuper AND rolconnlimit >= 0 THEN rolconnlimit END AS of_role,
    CASE WHEN NOT rolsuper AND datconnlimit >= 0 THEN datconnlimit END AS of_database,
    current_setting('max_connections')::integer - CASE
        WHEN rolsuper THEN 0
        ELSE current_setting('superuser_reserved_connections')::integer
            + coalesce(current_setting('reserved_connections', true)::integer, 0)
    END AS of_server,
    (SELECT count(*) FROM pg_stat_activity WHERE usename = session_user AND datid IS NOT NULL) AS open_of_role,
    (SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND usesysid IS NOT NULL)
        AS open_of_database,
    (SELECT count(*) FROM pg_stat_activity WHERE usesysid IS NOT NULL) AS open_of_server
FROM pg_roles
CROSS JOIN pg_database
WHERE rolname = session_user AND datname = current_database();
