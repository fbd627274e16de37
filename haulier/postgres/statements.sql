-- Statements that go around others.

-- name: bounded
-- Goes before a single statement in the same message, so that both are one transaction. A SET for the session would
-- leak to other clients through PgBouncer. Isolation level and search_path are stated for the reasons in `begin`.
SET TRANSACTION ISOLATION LEVEL READ COMMITTED; SET LOCAL search_path = pg_catalog, pg_temp;
SET LOCAL statement_timeout = %(milliseconds)s;

-- name: locks_bounded
-- Goes between `bounded` and its statement.
SET LOCAL lock_timeout = %(lock_milliseconds)s;

-- name: begin
-- The isolation level is stated because a role or a database may default to a stricter one, in which a statement does not
-- see the change that it has just waited for. The search_path is stated because on the role's own path a function or an
-- operator in `public` may match a statement better than PostgreSQL's, and would run with our rights. array_nulls is on
-- because arrays are sent as text, in which NULL would be a plain word. The idle timeout frees the locks of a client that
-- vanished between two statements: TCP takes hours to notice.
BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL search_path = pg_catalog, pg_temp; SET LOCAL array_nulls = on;
SET LOCAL statement_timeout = %(milliseconds)s;
SET LOCAL lock_timeout = %(lock_milliseconds)s; SET LOCAL idle_in_transaction_session_timeout = %(idle_milliseconds)s;

-- name: commit
COMMIT;

-- name: rollback
ROLLBACK;

-- name: begin_part
SAVEPOINT haulier_part;

-- name: end_part
SET CONSTRAINTS ALL IMMEDIATE; RELEASE SAVEPOINT haulier_part;

-- name: undo_part
ROLLBACK TO SAVEPOINT haulier_part; RELEASE SAVEPOINT haulier_part;

-- name: nothing
-- Takes the signal of a limit that was met too late by the statement before.
SELECT;
