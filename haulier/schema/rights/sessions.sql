-- Sessions ----------------------------------------------------------------------------------------------------

-- The API may open a session only with the present secret of a good key, on record, and read no list of tokens.

-- Record that somebody signs in or out with a key, unless that is the key's last such entry, less than a minute old.
CREATE OR REPLACE FUNCTION haulier.record_sign(key text, act text) RETURNS void LANGUAGE sql
SET search_path = pg_catalog, pg_temp
AS $$
    INSERT INTO haulier.audit (actor, action, key_id)
    SELECT key, act, key
    WHERE act IS DISTINCT FROM (
        SELECT action
        FROM haulier.audit
        WHERE at > now() - interval '1 minute' AND action IN ('sign_in', 'sign_out') AND key_id = key
        ORDER BY id DESC
        LIMIT 1)
$$;

-- Open a session with a good API key that has a secret of this hash, and record it. Of the key's other sessions the last
-- used ones are kept. Return whether it was opened. The database does not know the secret of `env`, HAULIER_API_KEY: the
-- API compares its hash whenever the session is used.
CREATE OR REPLACE FUNCTION haulier.open_session(
    opened bytea, key text, key_hashed bytea, idle interval, most_others bigint
) RETURNS boolean LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF NOT coalesce(most_others BETWEEN 0 AND 99, false) THEN
        RAISE EXCEPTION 'a key may have at most 100 sessions' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    PERFORM
    FROM haulier.api_key
    WHERE id = key AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())
        AND (hash = key_hashed OR (previous_hash = key_hashed AND previous_until > now()));
    IF NOT FOUND AND key IS DISTINCT FROM 'env' THEN
        RETURN false;
    END IF;
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
    PERFORM haulier.record_sign(key, 'sign_in');
    RETURN true;
END
$$;

-- End a session, and record it unless it had expired.
CREATE OR REPLACE FUNCTION haulier.sign_out(ended bytea) RETURNS void LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    gone haulier.session;
BEGIN
    DELETE FROM haulier.session WHERE hash = ended RETURNING * INTO gone;
    IF gone.expires_at > now() THEN
        PERFORM haulier.record_sign(gone.key_id, 'sign_out');
    END IF;
END
$$;
