-- does: Lets the API make, rotate and revoke API keys where grants.sql says so; the record says of keys and mutes what was done.
-- locks no table that is there

SET LOCAL search_path = pg_catalog, pg_temp;
SET LOCAL lock_timeout = '5s';

-- Mute a group of errors until then, or, with null, no longer. Return whether there is such a group.
CREATE OR REPLACE FUNCTION haulier.mute_errors(muted bigint, until timestamptz, by_whom text) RETURNS boolean
LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    UPDATE haulier.error_group
    SET muted_until = until,
        muted_by = CASE WHEN until IS NOT NULL THEN by_whom END
    WHERE id = muted;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    INSERT INTO haulier.audit (actor, action, target, details)
    VALUES (
        by_whom, CASE WHEN until IS NULL THEN 'unmute' ELSE 'mute' END, lpad(to_hex(muted), 16, '0'),
        CASE WHEN until IS NOT NULL THEN jsonb_build_object('muted_until', haulier.time_text(until)) END);
    RETURN true;
END
$$;

-- Make an API key, and record it. The record never has the key itself, nor its hash.
CREATE OR REPLACE FUNCTION haulier.create_key(
    made text, named text, hashed bytea, may text[], within text[], rate double precision, lifetime interval,
    by_whom text
) RETURNS SETOF haulier.api_key LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    key haulier.api_key;
BEGIN
    INSERT INTO haulier.api_key (id, name, hash, scopes, queues, rate_limit, expires_at)
    VALUES (made, named, hashed, may, within, rate, now() + lifetime)
    RETURNING * INTO key;
    INSERT INTO haulier.audit (actor, action, key_id, details)
    VALUES (by_whom, 'create_key', key.id, jsonb_build_object(
        'name', key.name, 'scopes', key.scopes, 'queues', key.queues, 'rate_limit', key.rate_limit,
        'expires_at', haulier.time_text(key.expires_at)));
    RETURN NEXT key;
END
$$;

-- Give a key that is good another secret, and record it. At most two are good at a time: a second rotation ends the
-- oldest. No row where there is no such key.
CREATE OR REPLACE FUNCTION haulier.rotate_key(rotated text, hashed bytea, overlap interval, by_whom text)
RETURNS SETOF haulier.api_key LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    key haulier.api_key;
BEGIN
    UPDATE haulier.api_key
    SET previous_hash = hash,
        previous_until = now() + overlap,
        hash = hashed
    WHERE id = rotated AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())
    RETURNING * INTO key;
    IF FOUND THEN
        INSERT INTO haulier.audit (actor, action, key_id, details)
        VALUES (by_whom, 'rotate_key', key.id, jsonb_build_object(
            'name', key.name, 'rotated_until', haulier.time_text(key.previous_until)));
        RETURN NEXT key;
    END IF;
END
$$;

-- End a key, and record it. No row where there is no such key, or where it was ended before.
CREATE OR REPLACE FUNCTION haulier.revoke_key(revoked text, by_whom text) RETURNS SETOF haulier.api_key LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    key haulier.api_key;
BEGIN
    UPDATE haulier.api_key
    SET revoked_at = now()
    WHERE id = revoked AND revoked_at IS NULL
    RETURNING * INTO key;
    IF FOUND THEN
        INSERT INTO haulier.audit (actor, action, key_id, details)
        VALUES (by_whom, 'revoke_key', key.id, jsonb_build_object('name', key.name));
        RETURN NEXT key;
    END IF;
END
$$;

REVOKE ALL ON FUNCTION haulier.mute_errors(bigint, timestamptz, text),
    haulier.create_key(text, text, bytea, text[], text[], double precision, interval, text),
    haulier.rotate_key(text, bytea, interval, text), haulier.revoke_key(text, text) FROM PUBLIC;
