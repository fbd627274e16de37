-- Delete old rows, a bounded number at a time. Those that the database refuses stay the first, and are passed over by an
-- OFFSET.

-- name: purge_idempotency
-- Forget the keys that are old enough, unless their job is still live. A bounded number: the next call takes the rest.
WITH old AS (
    SELECT key
    FROM haulier.idempotency
    WHERE created_at < now() - make_interval(days => %(idempotency_days)s)
        AND NOT EXISTS (SELECT FROM haulier.job WHERE job.id = idempotency.job_id)
    ORDER BY created_at
    LIMIT %(limit)s OFFSET %(offset)s
    FOR UPDATE SKIP LOCKED
)
DELETE FROM haulier.idempotency
USING old
WHERE idempotency.key = old.key
RETURNING idempotency.key;

-- name: purge_audit
-- Forget the entries that are older than the history. A bounded number, as for keys.
WITH old AS (
    SELECT id
    FROM haulier.audit
    WHERE at < now() - make_interval(days => %(retention_days)s)
    ORDER BY at, id
    LIMIT %(limit)s OFFSET %(offset)s
    FOR UPDATE SKIP LOCKED
)
DELETE FROM haulier.audit
USING old
WHERE audit.id = old.id
RETURNING audit.id;

-- name: purge_workers
-- Forget the workers that ended before the history begins. A bounded number, as for keys.
WITH old AS (
    SELECT id
    FROM haulier.worker_past
    WHERE ended_at < now() - make_interval(days => %(retention_days)s)
    ORDER BY ended_at
    LIMIT %(limit)s OFFSET %(offset)s
    FOR UPDATE SKIP LOCKED
)
DELETE FROM haulier.worker_past
USING old
WHERE worker_past.id = old.id
RETURNING worker_past.id;

-- name: purge_operations
-- Forget the operations that ended longer ago than the history reaches. A bounded number, as for keys.
WITH old AS (
    SELECT id
    FROM haulier.operation
    WHERE finished_at < now() - make_interval(days => %(retention_days)s)
    ORDER BY id
    LIMIT %(limit)s OFFSET %(offset)s
    FOR UPDATE SKIP LOCKED
)
DELETE FROM haulier.operation
USING old
WHERE operation.id = old.id AND finished_at IS NOT NULL
RETURNING operation.id;

-- name: purge_previews
-- Forget the previews to which no operation can be bound any more. A bounded number, as for keys.
WITH old AS (
    SELECT id
    FROM haulier.preview
    WHERE as_of < now() - make_interval(days => %(preview_days)s)
    ORDER BY as_of
    LIMIT %(limit)s OFFSET %(offset)s
    FOR UPDATE SKIP LOCKED
)
DELETE FROM haulier.preview
USING old
WHERE preview.id = old.id
RETURNING preview.id;

-- name: purge_queues
-- Forget the names that were not used for a while and have no live job. A bounded number, as for keys. A web process
-- that has a name in memory notes its use far more often than that. Each name costs one or two looks at the index,
-- however many jobs wait.
WITH busy AS MATERIALIZED (
    SELECT DISTINCT queue
    FROM haulier.running()
), old AS (
    SELECT name
    FROM haulier.queue
    LEFT JOIN LATERAL (
        (
            SELECT true AS is_there
            FROM haulier.job
            WHERE status IN ('queued', 'retrying') AND NOT suspect AND job.queue = queue.name
            ORDER BY priority DESC, run_at, id
            LIMIT 1
        )
        UNION ALL
        (
            SELECT true
            FROM haulier.job
            WHERE status IN ('queued', 'retrying') AND suspect AND job.queue = queue.name
            ORDER BY priority DESC, run_at, id
            LIMIT 1
        )
        LIMIT 1
    ) AS waiting ON true
    WHERE used_at < now() - make_interval(secs => %(idle)s) AND name <> 'default'
        AND waiting.is_there IS NULL AND name NOT IN (SELECT queue FROM busy)
    LIMIT %(limit)s OFFSET %(offset)s
    FOR UPDATE OF queue SKIP LOCKED
)
DELETE FROM haulier.queue
USING old
WHERE queue.name = old.name AND used_at < now() - make_interval(secs => %(idle)s)
RETURNING queue.name;

-- name: purge_progress
-- Forget what was said under claims that run no more, and whose worker has died before it could do so. A bounded number,
-- as for keys. A worker that writes such a row just now is left alone.
WITH old AS (
    SELECT job_id, claim
    FROM haulier.progress
    WHERE NOT EXISTS (
        SELECT FROM haulier.job
        WHERE job.id = progress.job_id AND job.claim = progress.claim AND worker_id IS NOT NULL)
    LIMIT %(limit)s OFFSET %(offset)s
    FOR UPDATE SKIP LOCKED
)
DELETE FROM haulier.progress
USING old
WHERE progress.job_id = old.job_id AND progress.claim = old.claim
RETURNING progress.job_id;

-- name: purge_sessions
-- Forget the sessions that have expired. A bounded number, as for keys.
WITH old AS (
    SELECT hash
    FROM haulier.session
    WHERE expires_at < now()
    ORDER BY expires_at
    LIMIT %(limit)s OFFSET %(offset)s
    FOR UPDATE SKIP LOCKED
)
DELETE FROM haulier.session
USING old
WHERE session.hash = old.hash AND expires_at < now()
RETURNING session.hash;

-- name: purge_error_counts
-- Forget the counts that are older than the history. A bounded number, as for keys. The index has them by source and
-- then by time. Before PostgreSQL 18 the server would read all of it to find what is old: so one source after another.
WITH RECURSIVE known AS (
    (SELECT source FROM haulier.error_count ORDER BY source LIMIT 1)
    UNION ALL
    SELECT later.source
    FROM known
    CROSS JOIN LATERAL (
        SELECT source
        FROM haulier.error_count
        WHERE error_count.source > known.source
        ORDER BY source
        LIMIT 1
    ) AS later
), old AS MATERIALIZED (
    SELECT found.*
    FROM known
    CROSS JOIN LATERAL (
        SELECT error_id, minute, queue, source
        FROM haulier.error_count
        WHERE error_count.source = known.source
            AND minute < now() - make_interval(days => %(retention_days)s)
        ORDER BY source, minute
        LIMIT %(limit)s + %(offset)s
        FOR UPDATE SKIP LOCKED
    ) AS found
    LIMIT %(limit)s OFFSET %(offset)s
)
DELETE FROM haulier.error_count AS counted
USING old
WHERE (counted.error_id, counted.minute, counted.queue, counted.source) = (old.error_id, old.minute, old.queue, old.source)
RETURNING counted.error_id;

-- name: purge_error_groups
-- Look at the next groups by their ids, and forget those of which no attempt is counted any more. One that is muted
-- stays until its mute ends, or it would come back without. Where an attempt is being counted just now, the group comes
-- back with the next. Each group costs one look at the index of the counts, however many these are.
WITH slice AS MATERIALIZED (
    SELECT id, ctid AS place, first_seen
    FROM haulier.error_group
    WHERE %(after_error)s::bigint IS NULL OR id > %(after_error)s
    ORDER BY id
    LIMIT %(limit)s OFFSET %(offset)s
), forgotten AS (
    DELETE FROM haulier.error_group
    -- By place, in whose order the server takes them: so two that purge do not wait for each other in a circle.
    WHERE ctid = ANY (ARRAY(
            SELECT place
            FROM slice
            WHERE first_seen < now() - make_interval(days => %(retention_days)s)
                -- Not NOT EXISTS, for which the server might read all counts.
                AND (
                    SELECT error_id
                    FROM haulier.error_count
                    WHERE error_id = slice.id
                    ORDER BY error_id, minute
                    LIMIT 1
                ) IS NULL))
        -- Here, since somebody may mute it meanwhile.
        AND (muted_until IS NULL OR muted_until < now())
    RETURNING id
)
SELECT count(*) AS seen, max(id) AS last, (SELECT count(*) FROM forgotten) AS forgotten
FROM slice;

-- name: purge_ticks
-- Forget the ticks that are older than the history, but of each schedule that is there keep the newest. A bounded number,
-- as for keys.
WITH old AS (
    SELECT schedule, schedule_id, scheduled_at
    FROM haulier.tick
    WHERE decided_at < now() - make_interval(days => %(retention_days)s)
        AND (
            scheduled_at < (
                SELECT newer.scheduled_at
                FROM haulier.tick AS newer
                WHERE newer.schedule = tick.schedule AND newer.schedule_id = tick.schedule_id
                ORDER BY newer.scheduled_at DESC
                OFFSET %(kept_ticks)s - 1
                LIMIT 1
            )
            OR NOT EXISTS (
                SELECT FROM haulier.schedule
                WHERE schedule.name = tick.schedule AND schedule.id = tick.schedule_id))
    ORDER BY decided_at
    LIMIT %(limit)s OFFSET %(offset)s
    FOR UPDATE SKIP LOCKED
)
DELETE FROM haulier.tick
USING old
WHERE (tick.schedule, tick.schedule_id, tick.scheduled_at) = (old.schedule, old.schedule_id, old.scheduled_at)
RETURNING tick.scheduled_at;

-- name: purge_rollups
-- Forget what is older than the history.
DELETE FROM haulier.rollup
WHERE ctid = ANY (ARRAY(
    SELECT ctid
    FROM haulier.rollup
    WHERE step = 21600 AND at < now() - make_interval(days => %(retention_days)s)
    ORDER BY step, at, queue, kind
    LIMIT %(limit)s OFFSET %(offset)s
))
RETURNING at;

-- name: purge_moved
-- Nobody asks for these of times before the oldest row of 21600 s.
DELETE FROM haulier.moved
WHERE ctid = ANY (ARRAY(
    SELECT ctid
    FROM haulier.moved
    WHERE came_at < now() - make_interval(days => %(retention_days)s + 1)
    ORDER BY came_at, queue, kind
    LIMIT %(limit)s OFFSET %(offset)s
))
RETURNING came_at;
