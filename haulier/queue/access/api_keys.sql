-- API keys, and what is left of their rates.

-- name: create_key
INSERT INTO haulier.api_key (id, name, hash, scopes, queues, rate_limit, expires_at)
VALUES (%(key_id)s, %(name)s, %(hash)s, %(scopes)s::text[], %(queues)s::text[], %(rate_limit)s,
    now() + %(lifetime)s::interval)
RETURNING *;

-- part: key
-- The hash of the time before the last rotation while that is good too.
id, name, scopes, queues, rate_limit, created_at, expires_at, last_used_at, revoked_at, hash,
CASE WHEN previous_until > now() THEN previous_hash END AS previous_hash,
CASE WHEN previous_until > now() THEN previous_until END AS previous_until

-- name: find_key
-- A key that is good now, and for how long it stays so.
SELECT <<key>>,
    extract(epoch FROM least(expires_at, CASE WHEN previous_until > now() THEN previous_until END) - now())
        ::double precision AS seconds
FROM haulier.api_key
WHERE id = %(key_id)s AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now());

-- name: any_key
-- Also one that is revoked: to revoke the last key must not open the door.
SELECT EXISTS (SELECT FROM haulier.api_key) AS found;

-- name: list_keys
SELECT <<key>>
FROM haulier.api_key
ORDER BY created_at, id;

-- name: rotate_key
-- Of three tokens the oldest goes: two are good at a time.
UPDATE haulier.api_key
SET previous_hash = hash,
    previous_until = now() + %(overlap)s::interval,
    hash = %(hash)s
WHERE id = %(key_id)s AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())
RETURNING *;

-- name: revoke_key
UPDATE haulier.api_key
SET revoked_at = now()
WHERE id = %(key_id)s AND revoked_at IS NULL
RETURNING *;

-- name: touch_key
-- Once a minute, whoever of the processes comes first.
UPDATE haulier.api_key
SET last_used_at = now()
WHERE id = %(key_id)s AND (last_used_at IS NULL OR last_used_at < now() - interval '1 minute');

-- name: borrow_requests
-- Take from what is left of a key's rate, up to what is asked for, and give back what was not used of the last loan.
-- At most a second's worth is ever left. Who waited for another borrower has a now() from before its own fill.
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
