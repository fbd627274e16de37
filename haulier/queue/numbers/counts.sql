-- The numbers: what came and ended, by time, queue and kind. They are read from the tables of jobs, and not kept by the
-- statements that enqueue and settle: an upsert for each INSERT cost lone INSERTs 15 to 19 %.
-- A span may be counted again, also after a crash: a count only ever replaces a lower one.

-- name: begin_counting
-- The first process begins a day ago: what came before there was a worker counts as well.
INSERT INTO haulier.counting (through, folded, recounted)
SELECT began_at, began_at, began_at
FROM date_bin('1 hour', now() - interval '24 hours', 'epoch'::timestamptz) AS began_at
ON CONFLICT (one_row) DO NOTHING;

-- name: counting_ends_in
-- For how long nobody may relieve the process that counts.
SELECT extract(epoch FROM counted_until - now())::double precision AS seconds
FROM haulier.counting;

-- part: what_to_count
-- How far the numbers reach, and what there is to count. A span ends `late` before now: a transaction is seen only when it
-- commits, but has the times at which it began. What ended just before the span is counted again.
-- A process that is far behind counts whole minutes, up to one that is surely over.
SELECT recounted, folded, through, is_behind, through < now() - interval '2 hours' AS is_old,
    CASE WHEN is_behind THEN 60 ELSE 10 END AS step,
    CASE
        WHEN is_behind THEN date_bin('1 minute', through, 'epoch'::timestamptz)
        ELSE greatest(through - make_interval(secs => %(again)s), folded)
    END AS count_from,
    CASE
        WHEN is_behind THEN least(
            date_bin('1 minute', ready - interval '1 minute', 'epoch'::timestamptz),
            date_bin('1 minute', through, 'epoch'::timestamptz) + make_interval(secs => greatest(%(most_seconds)s, 60)))
        ELSE least(ready, through + make_interval(secs => %(most_seconds)s))
    END AS count_to,
    extract(epoch FROM ready - now())::double precision + %(late)s + 10 AS next_in,
    coalesce(now() - depth_at >= make_interval(secs => %(live_pause)s * depth_took), true) AS is_live_wanted
FROM taken
CROSS JOIN LATERAL (
    SELECT date_bin('10 seconds', now() - make_interval(secs => %(late)s), 'epoch'::timestamptz) AS ready
) AS span
CROSS JOIN LATERAL (
    SELECT through < ready - interval '5 minutes' AS is_behind
) AS how

-- name: take_counting
-- Become, or stay, the process that counts; no row if another one does, or holds the row. If the clock was set back, begin
-- again from now.
WITH taken AS (
    UPDATE haulier.counting
    SET counted_by = %(counter)s,
        counted_until = now() + make_interval(secs => %(lease)s),
        through = least(through, date_bin('10 seconds', now(), 'epoch'::timestamptz)),
        folded = least(folded, date_bin('1 minute', now(), 'epoch'::timestamptz)),
        recounted = least(recounted, date_bin('1 minute', now(), 'epoch'::timestamptz))
    WHERE one_row = (
        SELECT one_row
        FROM haulier.counting
        WHERE counted_by = %(counter)s OR counted_until IS NULL OR counted_until <= now()
        FOR UPDATE SKIP LOCKED
    )
    RETURNING *
)
<<what_to_count>>;

-- name: lock_counting
-- Wait for the process that counts, and keep it from counting.
SELECT recounted, folded, through
FROM haulier.counting
FOR UPDATE;

-- name: leave_counting
-- Let another process count at once.
UPDATE haulier.counting
SET counted_until = now()
WHERE counted_by = %(counter)s;

-- name: count_by_index
-- Goes before count_span in its transaction. No statistics reach to now: the planner expects a few jobs if there are many
-- thousands. It would read all of a partition, or of an index whose second column is the time, or fetch the jobs one by one
-- where a bitmap reads each page once; and sort them by name, on disk, instead of hashing them.
-- Without JIT: if nothing but a scan that is off is possible, its cost would make the server compile the statement.
SET LOCAL enable_seqscan = off;
SET LOCAL enable_indexscan = off;
SET LOCAL enable_indexonlyscan = off;
SET LOCAL enable_sort = off;
SET LOCAL jit = off;

-- part: of_these_pairs
-- Only rows of these pairs of queue and kind; null: of all. No name has a space.
(%(pairs)s::text[] IS NULL OR queue || ' ' || kind = ANY(%(pairs)s::text[]))

-- part: ended
-- What ended in the span, in groups that are far fewer than the jobs. Cancelled jobs may never have run. haulier/domain/histogram.py has the same buckets; the factor is 3 / ln 2. Logarithms of numeric take ten times as long, and
-- extract, whose result is one, takes longer than date_part.
SELECT at, queue, kind, status, waited_in, ran_in, count(*)::integer AS jobs, sum(attempts) AS attempts
FROM (
    SELECT date_bin(make_interval(secs => %(step_seconds)s), finished_at, 'epoch'::timestamptz) AS at,
        queue, kind, status, attempts,
        CASE WHEN status <> 'cancelled' THEN least(96, floor(
            4.328085122666891 * ln(greatest(
                0.0625, 1000 * date_part('epoch', started_at - run_at)))))
        END::smallint AS waited_in,
        CASE WHEN status <> 'cancelled' THEN least(96, floor(
            4.328085122666891 * ln(greatest(
                0.0625, 1000 * date_part('epoch', finished_at - started_at)))))
        END::smallint AS ran_in
    FROM haulier.jobs
    WHERE status IN ('succeeded', 'failed_permanent', 'cancelled')
        AND finished_at >= %(count_from)s AND finished_at < %(count_to)s AND <<of_these_pairs>>
) AS job
GROUP BY at, queue, kind, status, waited_in, ran_in

-- part: figures
arrived, succeeded, failed, cancelled, attempts, waited, ran

-- part: sums
sum(arrived)::bigint AS arrived, sum(succeeded)::bigint AS succeeded, sum(failed)::bigint AS failed,
sum(cancelled)::bigint AS cancelled, sum(attempts)::bigint AS attempts, sum(waited) AS waited, sum(ran) AS ran

-- part: peaks
-- The most jobs that were due at once, so that a longer step does not lose a flood. What runs is as last counted: the peaks
-- of several queues, added up, could be more than there are threads.
max(due) AS due,
(array_agg(running ORDER BY at DESC) FILTER (WHERE due IS NOT NULL))[1] AS running,
max(oldest) AS oldest

-- part: arrived
-- What was created in the span, by the indexes of the newest jobs, as in `list_jobs`. A job ends after it was created, so
-- older partitions are left out, except for an hour by which the clock may have been set back.
SELECT date_bin(make_interval(secs => %(step_seconds)s), created_at, 'epoch'::timestamptz) AS at, queue, kind,
    count(*)::integer AS jobs
FROM (
    SELECT queue, kind, created_at
    FROM haulier.job
    WHERE status IN ('queued', 'retrying') AND created_at >= %(count_from)s AND created_at < %(count_to)s
    UNION ALL
    SELECT queue, kind, created_at
    FROM haulier.running()
    WHERE created_at >= %(count_from)s AND created_at < %(count_to)s
    UNION ALL
    SELECT queue, kind, created_at
    FROM haulier.jobs
    WHERE status IN ('succeeded', 'failed_permanent', 'cancelled')
        AND created_at >= %(count_from)s AND created_at < %(count_to)s
        AND finished_at >= %(count_from)s::timestamptz - interval '1 hour'
) AS job
WHERE <<of_these_pairs>>
GROUP BY 1, 2, 3

-- name: pairs_of_span
-- The pairs for which count_span may write rows.
WITH arrived AS MATERIALIZED (
    <<arrived>>
), ended AS MATERIALIZED (
    <<ended>>
)
SELECT queue || ' ' || kind AS pair FROM arrived
UNION
SELECT queue || ' ' || kind FROM ended;

-- name: count_span
-- Count what came and ended in a span into rows of a step, and return how many more there are than before. A step has rows
-- for most_pairs of queue and kind, and one for all others. A pair that has a row keeps it; once there is a row for all
-- others, no new pair gets a row, so that none is counted in both. If rows of smaller steps were summed (only_whole), a
-- pair may be in both: such a step stays as it is.
WITH ended AS MATERIALIZED (
    <<ended>>
), arrived AS MATERIALIZED (
    <<arrived>>
), figures AS (
    SELECT at, queue, kind, <<sums>>
    FROM (
        SELECT at, queue, kind, jobs AS arrived, 0 AS succeeded, 0 AS failed, 0 AS cancelled, 0 AS attempts, 0 AS waited,
            0 AS ran
        FROM arrived
        UNION ALL
        SELECT at, queue, kind, 0, CASE status WHEN 'succeeded' THEN jobs ELSE 0 END,
            CASE status WHEN 'failed_permanent' THEN jobs ELSE 0 END,
            CASE status WHEN 'cancelled' THEN jobs ELSE 0 END, attempts,
            coalesce(jobs * ('1e' || 12 * (waited_in + 12))::numeric, 0),
            coalesce(jobs * ('1e' || 12 * (ran_in + 12))::numeric, 0)
        FROM ended
    ) AS figure
    GROUP BY at, queue, kind
), old AS MATERIALIZED (
    SELECT at, queue, kind, arrived, succeeded + failed + cancelled AS ended
    FROM haulier.rollup
    WHERE step = %(step_seconds)s AND at >= %(count_from)s AND at < %(count_to)s
), placed AS (
    SELECT figures.*, old.at IS NOT NULL AS has_row,
        figures.at IN (SELECT at FROM old WHERE queue = '*') AS is_full,
        row_number() OVER (
            PARTITION BY figures.at
            ORDER BY old.at IS NULL, figures.arrived + figures.succeeded + figures.failed + figures.cancelled DESC,
                queue, kind
        ) AS place
    FROM figures
    LEFT JOIN old USING (at, queue, kind)
), named AS MATERIALIZED (
    SELECT placed.*, has_row OR (place <= %(most_pairs)s AND NOT is_full) AS is_shown
    FROM placed
    WHERE NOT (is_full AND %(only_whole)s)
), summed AS MATERIALIZED (
    SELECT at, CASE WHEN is_shown THEN queue ELSE '*' END AS queue, CASE WHEN is_shown THEN kind ELSE '*' END AS kind,
        <<sums>>
    FROM named
    GROUP BY 1, 2, 3
), written AS (
    INSERT INTO haulier.rollup AS kept (step, at, queue, kind, <<figures>>)
    SELECT %(step_seconds)s, at, queue, kind, <<figures>>
    FROM summed
    -- A retry takes a job out of the history, but it had ended.
    ON CONFLICT (step, at, queue, kind) DO UPDATE
    SET arrived = greatest(kept.arrived, excluded.arrived),
        came_from = CASE WHEN excluded.arrived <= kept.arrived THEN kept.came_from END,
        came_to = CASE WHEN excluded.arrived <= kept.arrived THEN kept.came_to END,
        succeeded = greatest(kept.succeeded, excluded.succeeded),
        failed = greatest(kept.failed, excluded.failed),
        cancelled = greatest(kept.cancelled, excluded.cancelled),
        attempts = greatest(kept.attempts, excluded.attempts),
        (waited, ran) = (
            SELECT
                CASE WHEN is_more THEN excluded.waited ELSE kept.waited END,
                CASE WHEN is_more THEN excluded.ran ELSE kept.ran END
            FROM (SELECT excluded.succeeded + excluded.failed >= kept.succeeded + kept.failed AS is_more) AS compared)
    WHERE excluded.arrived > kept.arrived OR excluded.succeeded > kept.succeeded OR excluded.failed > kept.failed
        OR excluded.cancelled > kept.cancelled
    RETURNING at, queue, kind, arrived, succeeded + failed + cancelled AS ended
)
SELECT coalesce(sum(written.arrived - coalesce(old.arrived, 0)), 0)::bigint AS arrived,
    coalesce(sum(written.ended - coalesce(old.ended, 0)), 0)::bigint AS ended
FROM written
LEFT JOIN old USING (at, queue, kind);

-- name: advance_counting
UPDATE haulier.counting
SET through = %(through)s,
    folded = %(folded)s,
    recounted = %(recounted)s;

-- name: fold_rollups
-- Sum the rows of one step that begin before some time into those of a longer step. When the jobs of a rare kind came
-- stays known as exactly as before.
WITH moved AS (
    DELETE FROM haulier.rollup
    WHERE step = %(step_seconds)s AND at < %(upto)s AND <<of_these_pairs>>
    RETURNING date_bin(make_interval(secs => %(longer_seconds)s), at, 'epoch'::timestamptz) AS longer_at, rollup.*
), summed AS (
    SELECT longer_at AS at, queue, kind, <<sums>>, <<peaks>>,
        min(coalesce(came_from, at)) FILTER (WHERE arrived > 0) AS came_from,
        max(coalesce(came_to, at + make_interval(secs => %(step_seconds)s))) FILTER (WHERE arrived > 0) AS came_to
    FROM moved
    GROUP BY longer_at, queue, kind
)
INSERT INTO haulier.rollup AS kept (step, at, queue, kind, <<figures>>, came_from, came_to, due, running, oldest)
SELECT %(longer_seconds)s, at, queue, kind, <<figures>>, came_from, came_to, due, running, oldest
FROM summed
-- There is a row already if the first part of a step was counted in whole minutes, or live jobs were counted ahead.
ON CONFLICT (step, at, queue, kind) DO UPDATE
SET arrived = kept.arrived + excluded.arrived,
    came_from = CASE
        WHEN kept.arrived = 0 THEN excluded.came_from
        WHEN kept.came_from IS NOT NULL THEN least(kept.came_from, excluded.came_from)
    END,
    came_to = CASE
        WHEN kept.arrived = 0 THEN excluded.came_to
        WHEN kept.came_to IS NOT NULL THEN greatest(kept.came_to, excluded.came_to)
    END,
    succeeded = kept.succeeded + excluded.succeeded,
    failed = kept.failed + excluded.failed,
    cancelled = kept.cancelled + excluded.cancelled,
    attempts = kept.attempts + excluded.attempts,
    waited = kept.waited + excluded.waited,
    ran = kept.ran + excluded.ran,
    due = greatest(excluded.due, kept.due),
    running = coalesce(excluded.running, kept.running),
    oldest = greatest(excluded.oldest, kept.oldest);

-- name: pairs_of_rollups
-- The pairs of which fold_rollups moves rows.
SELECT DISTINCT queue || ' ' || kind AS pair
FROM haulier.rollup
WHERE step = %(step_seconds)s AND at < %(upto)s;

-- name: summarize_history
SELECT haulier.summarize_history();

-- name: steps_begin
-- Where the rows of a minute begin, and those of five; what is older is in rows of longer steps.
SELECT minutes, coalesce(
    (SELECT date_bin('15 minutes', min(at), 'epoch'::timestamptz) FROM haulier.rollup WHERE step = 300),
    date_bin('15 minutes', minutes, 'epoch'::timestamptz)) AS fives
FROM (
    SELECT coalesce(
        (SELECT date_bin('5 minutes', min(at), 'epoch'::timestamptz) FROM haulier.rollup WHERE step = 60),
        date_bin('5 minutes', folded, 'epoch'::timestamptz)) AS minutes
    FROM haulier.counting
) AS begin;
