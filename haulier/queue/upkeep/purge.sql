-- Delete old rows, a bounded number at a time: the next call takes the rest. Rows that the database refuses to delete stay
-- the first ones, and are skipped by an OFFSET.
-- A locked row stays where it is, so the DELETE finds it again by its place, `ctid`. A row that was changed while the
-- statement began has another place, and is left to the next call.

-- part: a_bounded_number
LIMIT %(limit)s OFFSET %(offset)s
FOR UPDATE SKIP LOCKED

-- name: purge_idempotency
-- Delete the keys that are old enough, unless their job is still live.
DELETE FROM haulier.idempotency
WHERE ctid = ANY (ARRAY(
    SELECT ctid
    FROM haulier.idempotency
    WHERE created_at < now() - make_interval(days => %(idempotency_days)s)
        AND NOT EXISTS (SELECT FROM haulier.job WHERE job.id = idempotency.job_id)
    ORDER BY created_at
    <<a_bounded_number>>
))
RETURNING key;

-- name: purge_audit
-- With the rights of the owner: a worker could delete entries of any age otherwise.
SELECT haulier.purge_audit(%(retention_days)s, %(limit)s, %(offset)s) AS id;

-- name: purge_workers
DELETE FROM haulier.worker_past
WHERE ctid = ANY (ARRAY(
    SELECT ctid
    FROM haulier.worker_past
    WHERE ended_at < now() - make_interval(days => %(retention_days)s)
    ORDER BY ended_at
    <<a_bounded_number>>
))
RETURNING id;

-- name: purge_operations
DELETE FROM haulier.operation
WHERE ctid = ANY (ARRAY(
    SELECT ctid
    FROM haulier.operation
    WHERE finished_at < now() - make_interval(days => %(retention_days)s)
    ORDER BY id
    <<a_bounded_number>>
))
RETURNING id;

-- name: purge_previews
-- No operation can be bound to these any more.
DELETE FROM haulier.preview
WHERE ctid = ANY (ARRAY(
    SELECT ctid
    FROM haulier.preview
    WHERE as_of < now() - make_interval(days => %(preview_days)s)
    ORDER BY as_of
    <<a_bounded_number>>
))
RETURNING id;

-- name: purge_queues
-- Delete the names that were not used for a while and have no live job. A web process that has a name in memory notes its
-- use far more often. Each name costs one or two looks at the index, however many jobs wait.
DELETE FROM haulier.queue
WHERE ctid = ANY (ARRAY(
    SELECT queue.ctid
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
        AND waiting.is_there IS NULL AND name NOT IN (SELECT queue FROM haulier.running())
    ORDER BY name
    LIMIT %(limit)s OFFSET %(offset)s
    FOR UPDATE OF queue SKIP LOCKED
))
RETURNING name;

-- name: purge_progress
-- Delete what was said under claims that run no more, if the worker has died before it could do so.
DELETE FROM haulier.progress
WHERE ctid = ANY (ARRAY(
    SELECT ctid
    FROM haulier.progress
    WHERE NOT EXISTS (
        SELECT FROM haulier.job
        WHERE job.id = progress.job_id AND job.claim = progress.claim AND worker_id IS NOT NULL)
    ORDER BY job_id, claim
    <<a_bounded_number>>
))
RETURNING job_id;

-- name: purge_sessions
-- By the hash: a worker has no right to read the other columns, of which `ctid` is one. A session that was used meanwhile
-- has a later end, so that is checked again.
DELETE FROM haulier.session
WHERE expires_at < now() AND hash = ANY (ARRAY(
    SELECT hash
    FROM haulier.session
    WHERE expires_at < now()
    ORDER BY expires_at
    <<a_bounded_number>>
))
RETURNING hash;

-- name: purge_error_counts
-- The index has the counts by source and then by time. Before PostgreSQL 18 the server would read all of it to find what
-- is old, so this looks at one source after another.
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
)
DELETE FROM haulier.error_count
WHERE ctid = ANY (ARRAY(
    SELECT old.place
    FROM known
    CROSS JOIN LATERAL (
        SELECT ctid AS place
        FROM haulier.error_count
        WHERE source = known.source AND minute < now() - make_interval(days => %(retention_days)s)
        ORDER BY source, minute
        LIMIT %(limit)s + %(offset)s
        FOR UPDATE SKIP LOCKED
    ) AS old
    LIMIT %(limit)s OFFSET %(offset)s
))
RETURNING error_id;

-- name: purge_error_groups
-- Look at the next groups by their ids, and delete those of which no attempt is counted any more. A muted group stays until
-- its mute ends: if it came back, it would not be muted. An attempt that is just being counted makes its group again.
-- Each group costs one look at the index of the counts, however many there are.
WITH slice AS MATERIALIZED (
    SELECT id, ctid AS place, first_seen
    FROM haulier.error_group
    WHERE %(after_error)s::bigint IS NULL OR id > %(after_error)s
    ORDER BY id
    LIMIT %(limit)s OFFSET %(offset)s
), forgotten AS (
    DELETE FROM haulier.error_group
    -- The server takes places in their order, so two purges do not wait for each other in a circle.
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
        -- Here, because somebody may mute it meanwhile.
        AND (muted_until IS NULL OR muted_until < now())
    RETURNING id
)
SELECT count(*) AS seen, max(id) AS last, (SELECT count(*) FROM forgotten) AS forgotten
FROM slice;

-- name: purge_ticks
-- Delete old ticks, but keep the newest of each schedule that is there.
DELETE FROM haulier.tick
WHERE ctid = ANY (ARRAY(
    SELECT ctid
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
    <<a_bounded_number>>
))
RETURNING scheduled_at;

-- name: purge_rollups
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
-- Nobody asks for these of times before the oldest row of 21600 s. No row is locked, because a worker has no right to
-- change one; nobody else does either.
DELETE FROM haulier.moved
WHERE ctid = ANY (ARRAY(
    SELECT ctid
    FROM haulier.moved
    WHERE came_at < now() - make_interval(days => %(retention_days)s + 1)
    ORDER BY came_at, queue, kind
    LIMIT %(limit)s OFFSET %(offset)s
))
RETURNING came_at;
