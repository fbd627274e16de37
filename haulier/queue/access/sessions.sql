-- The sessions of the dashboard, each opened with an API key.

-- name: open_session
-- Of one key's sessions the most_sessions used last are kept: whoever has a key cannot fill the table.
WITH oldest AS (
    SELECT hash
    FROM haulier.session
    WHERE key_id = %(key_id)s
    ORDER BY seen_at DESC, hash
    OFFSET %(most_sessions)s
    FOR UPDATE SKIP LOCKED
), closed AS (
    DELETE FROM haulier.session
    USING oldest
    WHERE session.hash = oldest.hash
)
INSERT INTO haulier.session (hash, key_id, key_hash, expires_at)
VALUES (%(hash)s, %(key_id)s, %(key_hash)s, now() + %(idle)s * interval '1 second');

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

-- name: clock
SELECT now() AS now;
