-- API keys ----------------------------------------------------------------------------------------------------

-- Only the owner writes keys, because a role that may could make a key that may do everything. With `-v web_makes_keys=yes`
-- the API calls these functions, which bound what a key may be, and record who made it.

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
    IF NOT coalesce(
        made ~ '^[a-z0-9]{12}$' AND coalesce(lifetime, interval '0') <= interval '3650 days'
        AND coalesce(cardinality(within), 1) <= 1000
        AND NOT EXISTS (SELECT FROM unnest(within) AS queue WHERE coalesce(queue !~ '^[a-z][a-z0-9_.-]{0,63}$', true)),
        false)
    THEN
        RAISE EXCEPTION 'a key must have an id of 12 letters and digits, valid queue names, and at most 3,650 days'
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
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

-- Give a good key another secret, and record it. At most two are good at a time: a second rotation ends the oldest. No row
-- if there is no such key, or another cell takes its new jobs: the secret would not be good there.
CREATE OR REPLACE FUNCTION haulier.rotate_key(rotated text, hashed bytea, overlap interval, by_whom text)
RETURNS SETOF haulier.api_key LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    key haulier.api_key;
BEGIN
    IF NOT coalesce(overlap <= interval '3650 days', false) THEN
        RAISE EXCEPTION 'the old secret of a key may stay valid for at most 3,650 days'
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    UPDATE haulier.api_key
    SET previous_hash = hash,
        previous_until = now() + overlap,
        hash = hashed
    WHERE id = rotated AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now()) AND moved_to IS NULL
    RETURNING * INTO key;
    IF FOUND THEN
        INSERT INTO haulier.audit (actor, action, key_id, details)
        VALUES (by_whom, 'rotate_key', key.id, jsonb_build_object(
            'name', key.name, 'rotated_until', haulier.time_text(key.previous_until)));
        RETURN NEXT key;
    END IF;
END
$$;

-- End a key, and the operations that were started with it and are not over, and record it. No row if there is no such key,
-- or it had ended.
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
        WITH ended AS (
            UPDATE haulier.operation
            SET status = 'cancelled', finished_at = now(), worked_by = NULL, worked_until = NULL,
                error = 'the API key that it was started with was revoked'
            WHERE actor = key.id AND status IN ('waiting', 'running')
            RETURNING id
        )
        INSERT INTO haulier.audit (actor, action, target)
        SELECT by_whom, 'cancel_operation', id::text FROM ended ORDER BY id;
        RETURN NEXT key;
    END IF;
END
$$;
