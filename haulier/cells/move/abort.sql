-- A move is given up.

-- name: subscribers
-- The target's processes that follow the source or copy a table.
SELECT pid FROM pg_stat_subscription WHERE subname = %(link)s AND pid IS NOT NULL;

-- name: drop_schema
DROP SCHEMA IF EXISTS {name} CASCADE;
