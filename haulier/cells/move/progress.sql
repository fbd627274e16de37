-- How far a move has come.

-- name: states_of_tables
-- i: it waits, d: it is copied, f and s: it catches up, r: it follows. On each connection until all are `r`.
SELECT relname::text AS name, srsubstate::text AS state
FROM pg_subscription_rel
JOIN pg_subscription ON pg_subscription.oid = srsubid
JOIN pg_class ON pg_class.oid = srrelid
WHERE subname = %(link)s AND subdbid = (SELECT oid FROM pg_database WHERE datname = current_database());
