-- The end -----------------------------------------------------------------------------------------------------

-- Nobody but the owner may call a function, unless it is one of these, which give no right, or grants.sql names it.
DO $do$
BEGIN
    EXECUTE (
        SELECT string_agg(format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', oid::regprocedure), '; ')
        FROM pg_proc
        WHERE pronamespace = 'haulier'::regnamespace AND proname <> ALL (ARRAY[
            'are_tags', 'detached_partitions', 'history_partitions', 'partition_to_add', 'running', 'schedule_time',
            'tagged', 'uuidv7']));
END
$do$;

-- Last, so that the version is there only when all of the above is.
INSERT INTO haulier.schema_version (version, compatible_from)
SELECT current_setting('haulier.version')::integer, current_setting('haulier.compatible_from')::integer
ON CONFLICT (one_row) DO NOTHING;
