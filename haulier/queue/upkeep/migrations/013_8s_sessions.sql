-- does: Adds the sessions of the dashboard.
-- locks no table that is there

SET LOCAL search_path = pg_catalog, pg_temp;
SET LOCAL lock_timeout = '5s';

CREATE TABLE IF NOT EXISTS haulier.session (
    hash       bytea       NOT NULL,                        -- SHA-256 of the token, which is kept nowhere
    key_id     text        NOT NULL,                        -- with which it was opened; `env`: HAULIER_API_KEY
    key_hash   bytea       NOT NULL,                        -- SHA-256 of the key's token: rotated, it ends the session
    created_at timestamptz NOT NULL DEFAULT now(),
    seen_at    timestamptz NOT NULL DEFAULT now(),          -- to the minute
    expires_at timestamptz NOT NULL,

    CONSTRAINT session_pkey PRIMARY KEY (hash),
    CONSTRAINT session_hashes_are_sha_256 CHECK (length(hash) = 32 AND length(key_hash) = 32),
    CONSTRAINT session_key_id_from_1_to_100 CHECK (length(key_id) BETWEEN 1 AND 100)
);

CREATE INDEX IF NOT EXISTS session_key ON haulier.session (key_id);
CREATE INDEX IF NOT EXISTS session_expiry ON haulier.session (expires_at);

-- As grants.sql does, so that the programs work before it is applied again: the API is whoever may cancel jobs, a worker
-- whoever may claim them.
DO $do$
DECLARE
    caller regrole;
BEGIN
    FOR caller IN
        SELECT DISTINCT grantee
        FROM pg_proc
        CROSS JOIN aclexplode(proacl)
        WHERE pg_proc.oid = 'haulier.cancel(uuid, text)'::regprocedure AND grantee NOT IN (0, proowner)
    LOOP
        EXECUTE format(
            'GRANT SELECT, INSERT (hash, key_id, key_hash, expires_at), UPDATE (seen_at, expires_at), DELETE'
            ' ON haulier.session TO %s', caller);
    END LOOP;
    FOR caller IN
        SELECT DISTINCT grantee
        FROM (
            SELECT relacl AS acl FROM pg_class WHERE oid = 'haulier.job'::regclass
            UNION ALL
            SELECT attacl FROM pg_attribute WHERE attrelid = 'haulier.job'::regclass AND attname = 'claim'
        ) AS given
        CROSS JOIN aclexplode(acl)
        WHERE privilege_type = 'UPDATE'
            AND grantee NOT IN (0, (SELECT relowner FROM pg_class WHERE oid = 'haulier.job'::regclass))
    LOOP
        EXECUTE format('GRANT SELECT (hash, expires_at), UPDATE (seen_at), DELETE ON haulier.session TO %s', caller);
    END LOOP;
END
$do$;
