-- The sessions of the dashboard, each opened with an API key.

-- name: open_session
SELECT haulier.open_session(%(hash)s, %(key_id)s, %(key_hash)s, %(idle)s * interval '1 second', %(most_sessions)s);

-- name: find_session
-- One that has not expired, and whether it is time to note its use: once a minute.
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

-- name: clock
SELECT now() AS now;
