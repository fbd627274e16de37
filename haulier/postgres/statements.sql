-- What goes around the other statements.

-- name: bounded
-- Goes before a single statement in the same message, which makes them one transaction of their own.
-- A SET for the session would leak to other clients through PgBouncer. Level and path are stated as in `begin`.
SET TRANSACTION ISOLATION LEVEL READ COMMITTED; SET LOCAL search_path = pg_catalog, pg_temp;
SET LOCAL statement_timeout = %(milliseconds)s;

-- name: begin
-- The level is stated, because a role or a database may have another default, in which a statement does not see what
-- it has just waited for. A client that vanished between two statements must not hold its locks until TCP notices,
-- which takes hours. The path is stated, because in the role's own a function or an operator that somebody made in
-- `public` may fit a statement better than PostgreSQL's, and would run with our rights. Arrays are sent as texts, in
-- which NULL is a word like any other where a role has turned that off.
BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL search_path = pg_catalog, pg_temp; SET LOCAL array_nulls = on;
SET LOCAL statement_timeout = %(milliseconds)s;
SET LOCAL lock_timeout = %(lock_milliseconds)s; SET LOCAL idle_in_transaction_session_timeout = %(idle_milliseconds)s;

-- name: commit
COMMIT;

-- name: rollback
ROLLBACK;
