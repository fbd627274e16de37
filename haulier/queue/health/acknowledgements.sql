-- Notices of the dashboard that somebody has acknowledged.

-- name: list_acknowledged
-- What callers with the same sight have acknowledged, or those who see every queue; newest first.
SELECT rule, thing, size, at, actor, sight = %(sight)s AS is_own
FROM haulier.acknowledged
WHERE sight IN ('', %(sight)s) AND at > now() - make_interval(secs => %(longest)s)
ORDER BY at DESC, rule, thing
LIMIT %(limit)s;

-- name: acknowledge
-- In sorted order, so that two who acknowledge the same notice do not wait for each other in a circle.
WITH written AS (
    INSERT INTO haulier.acknowledged (rule, thing, size, sight, actor)
    SELECT %(rule)s, thing, size, %(sight)s, %(actor)s
    FROM unnest(%(things)s::text[], %(sizes)s::integer[]) AS about (thing, size)
    ORDER BY thing
    ON CONFLICT ON CONSTRAINT acknowledged_pkey DO UPDATE SET size = excluded.size, actor = excluded.actor, at = now()
)
INSERT INTO haulier.audit (actor, action, target, details)
VALUES (%(actor)s, 'acknowledge', %(rule)s, %(details)s::jsonb);

-- name: show_again
WITH gone AS (
    DELETE FROM haulier.acknowledged
    WHERE rule = %(rule)s AND thing = ANY (%(things)s::text[]) AND sight = %(sight)s
    RETURNING thing
)
INSERT INTO haulier.audit (actor, action, target, details)
SELECT %(actor)s, 'show_again', %(rule)s, %(details)s::jsonb
WHERE EXISTS (SELECT FROM gone);

-- name: forget_acknowledged
-- What has ended by itself, of callers with this sight; and what was acknowledged too long ago. Not what was
-- acknowledged a moment ago: another process may not know yet that it has begun. A locked row is left to the next call.
DELETE FROM haulier.acknowledged
WHERE ctid = ANY (ARRAY(
    SELECT ctid
    FROM haulier.acknowledged
    WHERE at < now() - make_interval(secs => %(longest)s)
        OR (
            sight = %(sight)s AND at < now() - interval '1 minute'
            AND (rule, thing) IN (SELECT * FROM unnest(%(rules)s::text[], %(things)s::text[]))
        )
    FOR UPDATE SKIP LOCKED
));
