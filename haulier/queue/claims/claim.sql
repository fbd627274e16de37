-- Claim jobs.

-- name: read_committed
-- Begins a message that is one transaction. The isolation level is stated as in `begin`: in a stricter one, a job that was
-- just claimed elsewhere is not skipped but raises an error. The search_path is set before any name is looked up.
SET TRANSACTION ISOLATION LEVEL READ COMMITTED; SET LOCAL search_path = pg_catalog, pg_temp;

-- name: claim_by_index
-- Goes before a claim in the same message. With old statistics the planner would sort all waiting jobs instead of walking
-- the index. A prepared claim has one plan for all calls; with JIT each call would compile it while many jobs wait.
-- Times in UTC are parsed four times as fast. One prepared set_config takes half of the time of several SET LOCAL.
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

-- part: paused_queues
-- The queues of which no job may start now. Not correlated, so it is read once a statement, before any lane.
ARRAY(SELECT queue FROM haulier.pause WHERE until IS NULL OR until > now())

-- part: may_claim
NOT worker.quiet

-- name: claim
-- Give the best due jobs of these lanes to this worker. A lane is (queue, priority). Each is read in the order of its
-- index from its mark on, so that neither jobs that are not due nor the dead rows before the mark are walked.
-- A job on its last attempt is taken only for a free thread, which starts it at once: while it waited in the process,
-- another job's crash could end it permanently.
-- The claim ends at most_bytes of text, but takes one job at least. Small jobs are not counted. Large ones are measured
-- as text, since their stored size says little: it may be compressed a hundredfold. Making text of a dozen jobs can take
-- half a second, in which no other queue is served, so the claim also ends after `measure` seconds of that.
-- The first row is no job: it has the time, how many jobs were locked, and the result of a settle in the same message.
-- A locked row stays where it is, so that the UPDATE finds it again by its place, `ctid`.
WITH locked AS MATERIALIZED (
    SELECT head.place, head.is_last, head.bytes
    FROM <<marked_lanes>>
    CROSS JOIN LATERAL (
        SELECT ctid AS place, attempts + 1 >= max_attempts AS is_last,
            CASE
                WHEN pg_column_size(payload) + pg_column_size(errors) < 2000
                    AND coalesce(pg_column_compression(payload), pg_column_compression(errors)) IS NULL
                THEN 0
                WHEN clock_timestamp() > now() + make_interval(secs => %(measure)s) THEN %(most_bytes)s
                ELSE octet_length(payload::text) + octet_length(errors::text)
            END AS bytes
        FROM haulier.job
        WHERE <<due_from_the_mark>>
        ORDER BY run_at, id
        LIMIT %(limit)s
        FOR UPDATE SKIP LOCKED
    ) AS head
    -- A worker that was declared dead must not claim under its old id.
    WHERE lane.queue <> ALL (<<paused_queues>>) AND EXISTS (SELECT FROM haulier.worker WHERE id = %(worker)s AND <<may_claim>>)
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
SELECT (SELECT count(*) FROM locked) AS number, current_setting('haulier.settled', true) AS settled, now() AS now, <<claimed>>
-- Only the columns and their types. A join that finds no row gives them too, but makes a single job wait 12 µs longer.
FROM (SELECT (NULL::haulier.job).*) AS head
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
WHERE lane.queue <> ALL (<<paused_queues>>)
LIMIT 1;
