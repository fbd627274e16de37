-- When jobs of a kind or a queue came, as far as it was counted.

-- name: arrivals
-- The spans in which such jobs came, the latest first. After `recounted` a count may be too low: a transaction that was
-- open for longer may have committed since. `known_from` is the end of the first step, which may be counted in part.
SELECT recounted, known_from, began_at, ended_at
FROM (
    SELECT recounted, (
        SELECT min(at + make_interval(secs => step))
        FROM unnest(ARRAY[10, 60, 300, 900, 3600, 21600]) AS kept (step)
        CROSS JOIN LATERAL (
            SELECT at FROM haulier.rollup WHERE rollup.step = kept.step ORDER BY at LIMIT 1
        ) AS oldest
    ) AS known_from
    FROM haulier.counting
) AS reach
LEFT JOIN LATERAL (
    SELECT began_at, ended_at
    FROM haulier.rollup
    CROSS JOIN LATERAL (
        SELECT coalesce(came_from, at) AS began_at, coalesce(came_to, at + make_interval(secs => step)) AS ended_at
    ) AS came
    WHERE arrived > 0
        AND at >= known_from AND at < least(recounted, %(came_before)s) AND began_at < %(came_before)s
        -- The row of all others may count any queue and kind.
        AND (queue = '*' OR (
            (%(kinds)s::text[] IS NULL OR kind = ANY(%(kinds)s::text[]))
            AND (%(queues)s::text[] IS NULL OR queue = ANY(%(queues)s::text[]))))
    UNION
    -- Jobs that came in another queue and are in one of these now.
    SELECT came_at, came_at + interval '1 minute'
    FROM haulier.moved
    WHERE queue = ANY(%(queues)s::text[]) AND (%(kinds)s::text[] IS NULL OR kind = ANY(%(kinds)s::text[]))
        AND came_at >= known_from AND came_at < least(recounted, %(came_before)s)
    ORDER BY ended_at DESC, began_at DESC
    LIMIT %(most)s
) AS step ON true
ORDER BY ended_at DESC, began_at DESC;
