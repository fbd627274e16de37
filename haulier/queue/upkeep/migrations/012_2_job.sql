-- does: Adds the tags of live jobs, and a check of them. An API under a role of its own may set them.
-- locks job: ACCESS EXCLUSIVE, for a moment

SET LOCAL search_path = pg_catalog, pg_temp;
SET LOCAL lock_timeout = '5s';

-- Whether a job may have these tags. For a row without tags no check calls it: written out, each statement that writes
-- jobs would read the twenty lengths anew.
CREATE OR REPLACE FUNCTION haulier.are_tags(tags text[]) RETURNS boolean LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN cardinality(tags) <= 10
        AND coalesce(array_ndims(tags), 1) = 1
        AND coalesce((SELECT bool_and(coalesce(length(tag), 0) BETWEEN 1 AND 64) FROM unnest(tags) AS tag), true);
END
$$;
-- A check calls it with the rights of whoever writes the job: default privileges must not take it away.
GRANT EXECUTE ON FUNCTION haulier.are_tags(text[]) TO PUBLIC;

ALTER TABLE haulier.job ADD COLUMN IF NOT EXISTS tags text[];
ALTER TABLE haulier.job
    DROP CONSTRAINT IF EXISTS tags_up_to_10_of_1_to_64,
    ADD CONSTRAINT tags_up_to_10_of_1_to_64 CHECK (tags IS NULL OR status = 'running' OR haulier.are_tags(tags)) NOT VALID;

-- As grants.sql does, for whoever may enqueue under an idempotency key: so the API of version 12 works before it is
-- applied again. An application that INSERTs jobs gets the right from whoever gave it the others.
DO $do$
DECLARE
    caller regrole;
BEGIN
    FOR caller IN
        SELECT DISTINCT grantee
        FROM pg_attribute
        CROSS JOIN aclexplode(attacl)
        WHERE attrelid = 'haulier.job'::regclass AND attname = 'idempotency_key' AND privilege_type = 'INSERT'
            AND grantee NOT IN (0, (SELECT relowner FROM pg_class WHERE oid = 'haulier.job'::regclass))
    LOOP
        EXECUTE format('GRANT INSERT (tags) ON haulier.job TO %s', caller);
    END LOOP;
END
$do$;
