-- The sessions of the dashboard, each opened with an API key.

-- name: open_session
SELECT haulier.open_session(
    %(hash)s, %(key_id)s, %(key_hash)s, %(idle)s * interval '1 second', %(most_sessions)s) AS is_open;

-- name: find_session
-- A session that has not expired, and whether it is time to note its use: once a minute.
SELECT key_id, key_hash, now() AS now, seen_at < now() - interval '1 minute' AS is_stale
FROM haulier.session
WHERE hash = %(hash)s AND expires_at > now();

-- name: touch_session
UPDATE haulier.session
SET seen_at = now(),
    expires_at = least(now() + %(idle)s * interval '1 second', created_at + %(longest)s * interval '1 second')
WHERE hash = %(hash)s AND expires_at > now();

-- name: close_session
DELETE FROM haulier.session
WHERE hash = %(hash)s;

-- name: sign_out
SELECT haulier.sign_out(%(hash)s);

-- name: sign_out_all
-- In the order of their hashes, as whoever locks several sessions does.
SELECT haulier.sign_out(hash)
FROM (
    SELECT hash
    FROM haulier.session
    WHERE key_id = %(key_id)s
    ORDER BY hash
) AS held;

-- name: list_sessions
-- The good sessions of a key, last used first. A session of the secret before a rotation ends with that secret.
SELECT session.created_at, seen_at, count(*) OVER () AS found,
    least(session.expires_at, CASE WHEN key_hash = api_key.hash THEN api_key.expires_at ELSE previous_until END) AS ends_at
FROM haulier.session
JOIN haulier.api_key ON api_key.id = session.key_id
WHERE session.key_id = %(key_id)s AND session.expires_at > now()
    AND (key_hash = api_key.hash OR (key_hash = previous_hash AND previous_until > now()))
ORDER BY seen_at DESC, session.hash
LIMIT %(limit)s;

-- name: clock
SELECT now() AS now;
