-- Jobs are claimed.

-- name: read_committed
-- Begins a message that is one transaction. The level is stated as in `begin`: in another, what somebody else has just
-- claimed is not skipped but an error. So is the path, before a statement that has a name to look up.
SET TRANSACTION ISOLATION LEVEL READ COMMITTED; SET LOCAL search_path = pg_catalog, pg_temp;

-- name: claim_by_index
-- Goes before a claim in the same message. Where the statistics are old the planner would rather sort everything that
-- waits; where the claim is prepared, one plan serves for all, and is not compiled anew each time because many jobs wait;
-- and a clock in UTC is read four times as fast. Not SET LOCAL, one by one: prepared, this takes half of the time.
SELECT set_config('statement_timeout', %(milliseconds)s::integer::text, true), set_config('timezone', 'UTC', true),
    set_config('enable_seqscan', 'off', true), set_config('enable_bitmapscan', 'off', true),
    set_config('enable_sort', 'off', true), set_config('plan_cache_mode', 'force_generic_plan', true),
    set_config('jit', 'off', true);

-- part: marked_lanes
unnest(%(queues)s::text[], %(priorities)s::smallint[], %(marks)s::timestamptz[], %(mark_ids)s::uuid[])
    AS lane (queue, priority, mark, mark_id)

-- part: due_from_the_mark
status IN ('queued', 'retrying')
AND suspect = %(suspect)s AND queue = lane.queue AND priority = lane.priority
AND run_at <= now() AND (run_at, id) >= (lane.mark, lane.mark_id)
AND id <> ALL(%(passed_over)s::uuid[])

-- name: claim
-- Hand the best due jobs of these lanes to this worker. A lane is (queue, priority); each is read in the order of its
-- index and from its mark on, so that neither jobs that are not due nor the dead rows of those before are walked.
-- Jobs on their last attempt are taken only for threads that are free: they start at once, or somebody else's crash
-- would be their end. No more is taken than most_bytes as text, but for one job, and for what is small, which is not
-- counted: the size as it is stored says little of what is large, which may be compressed a hundredfold. The first row is
-- no job: it tells the time, and what a settle in the same message did.
-- A row that is locked stays where it is, so that it is found again by its place: `ctid`.
WITH locked AS MATERIALIZED (
    SELECT head.place, head.is_last, head.bytes
    FROM <<marked_lanes>>
    CROSS JOIN LATERAL (
        SELECT ctid AS place, attempts + 1 >= max_attempts AS is_last,
            CASE
                WHEN pg_column_size(payload) + pg_column_size(errors) < 2000
                    AND coalesce(pg_column_compression(payload), pg_column_compression(errors)) IS NULL
                THEN 0
                ELSE octet_length(payload::text) + octet_length(errors::text)
            END AS bytes
        FROM haulier.job
        WHERE <<due_from_the_mark>>
        ORDER BY run_at, id
        LIMIT %(limit)s
        FOR UPDATE SKIP LOCKED
    ) AS head
    -- A worker that was declared dead must not claim in its old name.
    WHERE EXISTS (SELECT FROM haulier.worker WHERE id = %(worker)s)
    LIMIT %(limit)s
), best AS (
    SELECT place, is_last, row_number() OVER so_far AS number,
        count(*) FILTER (WHERE is_last) OVER so_far AS lasts,
        sum(bytes) OVER so_far - bytes AS bytes_before
    FROM locked
    WINDOW so_far AS (ROWS UNBOUNDED PRECEDING)
), claimed AS (
    UPDATE haulier.job
    SET status = 'running',
        worker_id = %(worker)s,
        claim = %(claim)s,
        attempt = attempt + 1,
        attempts = attempts + 1,
        started_at = now(),
        updated_at = now()
    FROM best
    WHERE job.ctid = best.place AND (NOT best.is_last OR best.lasts <= %(free)s)
        AND best.bytes_before < %(most_bytes)s
    RETURNING best.number, NULL AS settled, NULL::timestamptz AS now, <<claimed>>
)
SELECT NULL::bigint AS number, current_setting('haulier.settled', true) AS settled, now() AS now, <<claimed>>
FROM (VALUES (true)) AS head
-- No job: the columns, and their types.
LEFT JOIN haulier.job ON false
UNION ALL
SELECT *
FROM claimed;

-- name: lock_next
-- Lock the one job that a claim of one would take.
SELECT lane.queue, lane.priority, head.run_at, head.id
FROM <<marked_lanes>>
CROSS JOIN LATERAL (
    SELECT run_at, id
    FROM haulier.job
    WHERE <<due_from_the_mark>>
    ORDER BY run_at, id
    LIMIT 1
    FOR UPDATE SKIP LOCKED
) AS head
LIMIT 1;
