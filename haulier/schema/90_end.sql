-- Last, so that the version is there only when all of the above is.
INSERT INTO haulier.schema_version (version, compatible_from)
SELECT current_setting('haulier.version')::integer, current_setting('haulier.compatible_from')::integer
ON CONFLICT (one_row) DO NOTHING;
