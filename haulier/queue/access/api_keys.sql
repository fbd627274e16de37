-- API keys, and the requests that are left of their rates.

-- name: create_key
SELECT *
FROM haulier.create_key(
    %(key_id)s, %(name)s, %(hash)s, %(scopes)s::text[], %(queues)s::text[], %(rate_limit)s, %(lifetime)s::interval,
    %(actor)s);

-- part: key
-- A key; the hash from before the last rotation only while that token is still good.
id, name, scopes, queues, rate_limit, created_at, expires_at, last_used_at, revoked_at, moved_to, hash,
CASE WHEN previous_until > now() THEN previous_hash END AS previous_hash,
CASE WHEN previous_until > now() THEN previous_until END AS previous_until

-- name: find_key
-- A key that is good now, and how long until it or its previous token expires.
SELECT <<key>>,
    extract(epoch FROM least(expires_at, CASE WHEN previous_until > now() THEN previous_until END) - now())
        ::double precision AS seconds
FROM haulier.api_key
WHERE id = %(key_id)s AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now());

-- name: list_key_ids
SELECT id FROM haulier.api_key WHERE revoked_at IS NULL;

-- name: any_key
-- Revoked keys count: else revoking the last key would let callers in without one.
SELECT EXISTS (SELECT FROM haulier.api_key) AS found;

-- name: list_keys
SELECT <<key>>
FROM haulier.api_key
ORDER BY created_at, id;

-- name: page_of_keys
-- Newest first, behind a given key. There are few: all are read and sorted.
SELECT <<key>>
FROM haulier.api_key
WHERE %(before_key)s::text IS NULL
    OR (created_at, id) < (SELECT created_at, id FROM haulier.api_key WHERE id = %(before_key)s)
ORDER BY created_at DESC, id DESC
LIMIT %(limit)s;

-- name: key_names
-- Of revoked and expired keys too. A caller that may use only some queues gets the names of keys that may use no others.
SELECT id, name
FROM haulier.api_key
WHERE %(queues)s::text[] IS NULL OR coalesce(queues <@ %(queues)s::text[], false)
ORDER BY created_at DESC
LIMIT %(limit)s;

-- name: lock_key
SELECT <<key>>
FROM haulier.api_key
WHERE id = %(key_id)s
FOR NO KEY UPDATE;

-- name: may_write_keys
SELECT bool_and(coalesce(has_function_privilege(to_regproc('haulier.' || name), 'EXECUTE'), false)) AS is_allowed
FROM unnest(ARRAY['create_key', 'rotate_key', 'revoke_key']) AS name;

-- name: rotate_key
SELECT * FROM haulier.rotate_key(%(key_id)s, %(hash)s, %(overlap)s, %(actor)s);

-- name: revoke_key
SELECT * FROM haulier.revoke_key(%(key_id)s, %(actor)s);

-- name: touch_key
-- Once a minute at most, by the process that comes first. A request does not wait for whoever changes the key, such as
-- `haulier cell assign`, which keeps the lock while it asks another server.
UPDATE haulier.api_key
SET last_used_at = now()
WHERE id = (
    SELECT id
    FROM haulier.api_key
    WHERE id = %(key_id)s AND (last_used_at IS NULL OR last_used_at < now() - interval '1 minute')
    FOR NO KEY UPDATE SKIP LOCKED
);

-- name: borrow_requests
-- Borrow requests from a key's rate, as many as are asked for if they are left, and give back the unused ones of the last
-- loan. At most a second's worth is ever left. After a wait for another borrower, now() may be before filled_at.
INSERT INTO haulier.rate_budget AS budget (key_id, tokens, granted)
SELECT id, burst - least(%(asked)s, floor(burst)), least(%(asked)s, floor(burst))::integer
FROM haulier.api_key
CROSS JOIN (SELECT greatest(%(rate)s, 1) AS burst) AS full_budget
WHERE id = %(key_id)s
ON CONFLICT (key_id) DO UPDATE
SET (tokens, granted, filled_at) = (
    SELECT available - least(%(asked)s, floor(available)), least(%(asked)s, floor(available))::integer,
        greatest(now(), budget.filled_at)
    FROM (
        SELECT least(
            greatest(%(rate)s, 1),
            budget.tokens + %(unused)s
                + %(rate)s * greatest(0, extract(epoch FROM now() - budget.filled_at)::double precision)) AS available
    ) AS left_over
)
RETURNING granted, greatest(0, (1 - tokens) / %(rate)s)::double precision AS wait;
