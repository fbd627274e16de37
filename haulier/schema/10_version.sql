-- Haulier's schema: tables, constraints and functions. (The statements that use them are in the .sql files of
-- haulier/queue.)
-- Apply it with `python -m haulier migrate`, or with `psql --single-transaction -f schema.sql`.
-- It fills an empty database, may be applied again and by several at once, refuses a database of another version, and
-- needs only CREATE on the database. PostgreSQL 14 to 18.

-- The names below are looked up in pg_catalog, now and when the code runs. On the caller's own search_path a function
-- that somebody made in `public` could fit an expression better, and would run with the rights of the inserting role.
SET LOCAL search_path = pg_catalog, pg_temp;

-- The version of this file, and the oldest program's version that works with it.
SELECT set_config('haulier.version', '1', true), set_config('haulier.compatible_from', '1', true);

-- Two processes that apply this file at once take turns, by a lock on a table, which only the owner can take. Before
-- the table exists it is an advisory lock, which anybody can hold: so the wait for it is limited.
SELECT set_config('lock_timeout', '30s', true) WHERE current_setting('lock_timeout') = '0';
DO $do$
DECLARE
    wanted  CONSTANT integer := current_setting('haulier.version');
    present record;
BEGIN
    IF to_regclass('haulier.schema_version') IS NULL THEN
        PERFORM pg_advisory_xact_lock(7236837241);
    END IF;
    -- Not to_regclass again: its cache is not refreshed by the wait for that lock.
    IF EXISTS (
        SELECT FROM pg_class
        JOIN pg_namespace ON pg_namespace.oid = relnamespace
        WHERE nspname = 'haulier' AND relname = 'schema_version'
    ) THEN
        LOCK TABLE haulier.schema_version IN SHARE ROW EXCLUSIVE MODE;
        -- Nothing below would change an existing table.
        SELECT version, to_jsonb(schema_version) ? 'fingerprint' AS is_known INTO present FROM haulier.schema_version;
        IF NOT present.is_known THEN  -- null, and so no, if there is no row
            RAISE EXCEPTION 'this schema was made by a development build before version 1'
                USING HINT = 'Create it again after DROP SCHEMA haulier CASCADE, which deletes all jobs.';
        ELSIF present.version <> wanted THEN
            RAISE EXCEPTION 'the database has schema version %, but this file has version %', present.version, wanted
                USING HINT = CASE
                    WHEN present.version < wanted THEN 'Run `haulier migrate`.'
                    ELSE 'A newer release made it.'
                END;
        END IF;
    END IF;
END
$do$;

CREATE SCHEMA IF NOT EXISTS haulier;

-- Tables are locked below in the order in which running programs lock them (keys, workers, jobs, history), so that the
-- two never deadlock.

-- Version -----------------------------------------------------------------------------------------------------

CREATE TABLE IF NOT EXISTS haulier.schema_version (
    version         integer NOT NULL,                       -- of the schema in this database
    compatible_from integer NOT NULL,                       -- the oldest program's schema version that still works
    fingerprint     text,                                   -- of the schema.sql that `migrate` had; null: psql ran it
    cell            integer CHECK (cell BETWEEN 1 AND 255), -- with which ids end; null: this is the only database
    one_row         boolean PRIMARY KEY DEFAULT true CHECK (one_row)
);
