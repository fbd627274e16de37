-- The names of queues that the API has recently accepted.

-- name: find_queues
-- Which of these queues have a row; their use is noted, once a minute at most. A row that is being purged is not found: it
-- has not been used for long, so it is locked here, and gone after the wait. In sorted order, as idempotency keys.
WITH known AS (
    SELECT name
    FROM haulier.queue
    WHERE name = ANY(%(names)s::text[]) AND used_at < now() - interval '1 minute'
    ORDER BY name
    FOR UPDATE
), noted AS (
    UPDATE haulier.queue
    SET used_at = now()
    FROM known
    WHERE queue.name = known.name
    RETURNING queue.name
)
SELECT name
FROM noted
UNION ALL
SELECT name
FROM haulier.queue
WHERE name = ANY(%(names)s::text[]) AND used_at >= now() - interval '1 minute';

-- name: take_turn_with_queues
-- Callers that add names take turns, by a lock on the row of `default`, which counts against no bound. Otherwise two that
-- count at the same time would both find room.
INSERT INTO haulier.queue (name)
VALUES ('default')
ON CONFLICT (name) DO UPDATE SET used_at = now();

-- name: add_queues
-- Add rows for these queues while there is room (with is_whole: only if there is room for all), and return which of them
-- have one. Its own statement: its snapshot has what earlier callers have added.
WITH room AS (
    SELECT least(%(per_key)s - count(*) FILTER (WHERE key_id IS NOT DISTINCT FROM %(key_id)s), %(in_all)s - count(*)) AS names
    FROM haulier.queue
    WHERE name <> 'default'
), missing AS (
    SELECT asked.name, row_number() OVER (ORDER BY asked.place) AS number, count(*) OVER () AS count
    FROM unnest(%(names)s::text[]) WITH ORDINALITY AS asked (name, place)
    WHERE NOT EXISTS (SELECT FROM haulier.queue WHERE queue.name = asked.name)
), added AS (
    INSERT INTO haulier.queue (name, key_id)
    SELECT missing.name, %(key_id)s
    FROM missing
    CROSS JOIN room
    WHERE CASE WHEN %(is_whole)s THEN missing.count ELSE missing.number END <= room.names
    RETURNING name
)
SELECT name
FROM added
UNION ALL
SELECT name
FROM haulier.queue
WHERE name = ANY(%(names)s::text[]);
