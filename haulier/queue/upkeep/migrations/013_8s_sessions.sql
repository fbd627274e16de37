-- does: Adds the sessions of the dashboard, and records who signs in and out.
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

-- Open a session with an API key, and record that somebody has signed in, unless that is the key's last entry of the kind,
-- less than a minute old. Of the key's sessions so many others are kept, those used last.
CREATE OR REPLACE FUNCTION haulier.open_session(
    opened bytea, key text, key_hashed bytea, idle interval, most_others bigint
) RETURNS void LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    DELETE FROM haulier.session
    WHERE hash = ANY (
        ARRAY(
            SELECT hash
            FROM haulier.session
            WHERE key_id = key
            ORDER BY seen_at DESC, hash
            OFFSET most_others
            FOR UPDATE SKIP LOCKED));
    INSERT INTO haulier.session (hash, key_id, key_hash, expires_at) VALUES (opened, key, key_hashed, now() + idle);
    INSERT INTO haulier.audit (actor, action, key_id)
    SELECT key, 'sign_in', key
    WHERE 'sign_in' IS DISTINCT FROM (
        SELECT action
        FROM haulier.audit
        WHERE at > now() - interval '1 minute' AND action IN ('sign_in', 'sign_out') AND key_id = key
        ORDER BY id DESC
        LIMIT 1);
END
$$;

-- End a session, and record that somebody has signed out, as above. One that has ended before leaves no entry.
CREATE OR REPLACE FUNCTION haulier.sign_out(ended bytea) RETURNS void LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    WITH gone AS (
        DELETE FROM haulier.session
        WHERE hash = ended
        RETURNING key_id, expires_at
    )
    INSERT INTO haulier.audit (actor, action, key_id)
    SELECT gone.key_id, 'sign_out', gone.key_id
    FROM gone
    WHERE gone.expires_at > now()
        AND 'sign_out' IS DISTINCT FROM (
            SELECT told.action
            FROM haulier.audit AS told
            WHERE told.at > now() - interval '1 minute' AND told.action IN ('sign_in', 'sign_out')
                AND told.key_id = gone.key_id
            ORDER BY told.id DESC
            LIMIT 1);
END
$$;

REVOKE ALL ON FUNCTION haulier.open_session(bytea, text, bytea, interval, bigint), haulier.sign_out(bytea) FROM PUBLIC;

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
        EXECUTE format('GRANT SELECT, UPDATE (seen_at, expires_at), DELETE ON haulier.session TO %s', caller);
        EXECUTE format(
            'GRANT EXECUTE ON FUNCTION haulier.open_session(bytea, text, bytea, interval, bigint),'
            ' haulier.sign_out(bytea) TO %s', caller);
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
