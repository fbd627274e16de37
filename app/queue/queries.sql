-- Every statement that the program sends, in the order of a job's life. (schema.sql says what may be.)
-- Parameters are %(name)s; braces hold identifiers, quoted by the caller. The clock is the database's now():
-- Python sends durations, and never an instant of its own.


-- Around the statements -----------------------------------------------------------------------------------------

-- name: bounded
-- Goes before a single statement in the same message, which makes them one transaction of their own.
-- A SET for the session would leak to other clients through PgBouncer. Level and path are stated as in `begin`.
SET TRANSACTION ISOLATION LEVEL READ COMMITTED; SET LOCAL search_path = pg_catalog, pg_temp;
SET LOCAL statement_timeout = %(milliseconds)s;

-- name: begin
-- The level is stated, because a role or a database may have another default, in which a statement does not see what
-- it has just waited for. A client that vanished between two statements must not hold its locks until TCP notices,
-- which takes hours. The path is stated, because in the role's own a function or an operator that somebody made in
-- `public` may fit a statement better than PostgreSQL's, and would run with our rights. Arrays are sent as texts, in
-- which NULL is a word like any other where a role has turned that off.
BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL search_path = pg_catalog, pg_temp; SET LOCAL array_nulls = on;
SET LOCAL statement_timeout = %(milliseconds)s;
SET LOCAL lock_timeout = %(lock_milliseconds)s; SET LOCAL idle_in_transaction_session_timeout = %(idle_milliseconds)s;

-- name: commit
COMMIT;

-- name: rollback
ROLLBACK;

-- name: ping
-- On on a standby as well, and where a role or a database has default_transaction_read_only.
SELECT current_setting('transaction_read_only') = 'on' AS is_read_only;

-- name: server_process
SELECT pg_backend_pid() AS pid;


-- Enqueue -------------------------------------------------------------------------------------------------------

-- name: enqueue
INSERT INTO haulier.job (kind, payload, queue, priority, max_attempts, timeout_seconds, run_at)
VALUES (%(kind)s, %(payload)s, %(queue)s, %(priority)s, %(max_attempts)s, %(timeout_seconds)s,
    greatest(now(), %(run_at)s::timestamptz, now() + %(delay)s::interval))
RETURNING id, run_at, created_at;

-- name: enqueue_keyed
-- Take the idempotency key and store the job, or do neither where somebody holds the key. One that another transaction
-- is just taking is waited for.
WITH taken AS (
    INSERT INTO haulier.idempotency (key, fingerprint, job_id)
    VALUES (%(scoped_key)s, %(fingerprint)s, haulier.uuidv7())
    ON CONFLICT (key) DO NOTHING
    RETURNING job_id
)
INSERT INTO haulier.job (id, kind, payload, queue, priority, max_attempts, timeout_seconds, idempotency_key, run_at)
SELECT job_id, %(kind)s, %(payload)s, %(queue)s, %(priority)s, %(max_attempts)s, %(timeout_seconds)s, %(key)s,
    greatest(now(), %(run_at)s::timestamptz, now() + %(delay)s::interval)
FROM taken
RETURNING id, run_at, created_at;

-- name: find_queues
-- Which of these queues have a row, noted as used. One that is just being forgotten has not: it was not used for long, and
-- so would have to be noted. In sorted order, as with keys.
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
-- Whoever adds names does so one after the other, by this row, which counts as none; or two that count at the same time
-- would both find room.
INSERT INTO haulier.queue (name)
VALUES ('default')
ON CONFLICT (name) DO UPDATE SET used_at = now();

-- name: add_queues
-- Give these queues rows, as far as there is room for them, or none where not all fit; and return which of them have one. A
-- statement of its own: its snapshot has what those before it in turn have added.
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

-- name: reserve
-- Ids for many jobs, and the clock of the transaction.
SELECT now() AS now, ARRAY(SELECT haulier.uuidv7()::text FROM generate_series(1, %(count)s)) AS ids;

-- name: take_keys
-- Take the idempotency keys that nobody holds, for these jobs. In sorted order: two batches then never wait for each
-- other in a circle.
INSERT INTO haulier.idempotency (key, fingerprint, job_id)
SELECT asked.key, asked.fingerprint, asked.job_id
FROM unnest(%(keys)s::text[], %(fingerprints)s::bytea[], %(ids)s::uuid[]) AS asked (key, fingerprint, job_id)
ORDER BY asked.key
ON CONFLICT (key) DO NOTHING
RETURNING key;

-- name: find_keys
-- Who holds the keys that could not be taken. A statement of its own: only a new snapshot sees the winner's row.
SELECT key, fingerprint, job_id
FROM haulier.idempotency
WHERE key = ANY(%(keys)s::text[]);

-- name: copy_jobs
-- Many jobs, in 0.6 of the time that an INSERT of arrays takes.
COPY haulier.job (id, kind, payload, queue, priority, max_attempts, timeout_seconds, idempotency_key, run_at)
FROM STDIN;

-- name: which_jobs
-- Which of these ids are of jobs that are still kept.
SELECT id::text AS id
FROM haulier.jobs
WHERE id = ANY(%(ids)s::uuid[]);


-- Look ----------------------------------------------------------------------------------------------------------

-- name: get_jobs
SELECT *
FROM haulier.jobs
WHERE id = ANY(%(ids)s::uuid[]);

-- name: list_jobs
-- The waiting, the running and the finished each by an index of their own; a page is the newest of all three. The finished
-- come first: what lives and is older than a whole page of them is not on it, and so the dead entries of all that
-- waited since somebody took a snapshot are not walked. (Those of what ran are: there is no index of them in time's order.)
-- Of these no more are given than most_bytes as text, but for one job, and for what is small, which is not counted: see
-- `claim`. The large ones are counted one by one, so that what is cut off is not even unpacked. `matched` tells how many
-- there were before that.
WITH RECURSIVE finished AS MATERIALIZED (
    SELECT *
    FROM haulier.jobs
    WHERE status IN ('succeeded', 'failed_permanent', 'cancelled')
        AND (%(status)s::text IS NULL OR status = %(status)s)
        AND (%(kind)s::text IS NULL OR kind = %(kind)s)
        AND (%(queue)s::text IS NULL OR queue = %(queue)s)
        AND (%(queues)s::text[] IS NULL OR queue = ANY(%(queues)s))
        AND (%(created_after)s::timestamptz IS NULL OR created_at > %(created_after)s)
        AND (%(created_before)s::timestamptz IS NULL OR created_at < %(created_before)s)
        AND (%(after_at)s::timestamptz IS NULL OR (created_at, id) < (%(after_at)s, %(after_id)s::uuid))
    ORDER BY created_at DESC, id DESC
    LIMIT %(limit)s + %(offset)s::bigint
), page AS MATERIALIZED (
    -- Where they fill it, the last of them; else none.
    SELECT created_at, id
    FROM finished
    ORDER BY created_at DESC, id DESC
    OFFSET %(limit)s + %(offset)s::bigint - 1
    LIMIT 1
), newest AS MATERIALIZED (
    SELECT row_number() OVER (ORDER BY created_at DESC, id DESC) AS number, candidate.*
    FROM (
        (
            SELECT *
            FROM haulier.jobs
            WHERE status IN ('queued', 'retrying')
                AND (created_at, id) >= (
                    coalesce((SELECT created_at FROM page), '-infinity'), coalesce((SELECT id FROM page), %(least_id)s::uuid))
                AND (%(status)s::text IS NULL OR status = %(status)s)
                AND (%(kind)s::text IS NULL OR kind = %(kind)s)
                AND (%(queue)s::text IS NULL OR queue = %(queue)s)
                AND (%(queues)s::text[] IS NULL OR queue = ANY(%(queues)s))
                AND (%(created_after)s::timestamptz IS NULL OR created_at > %(created_after)s)
                AND (%(created_before)s::timestamptz IS NULL OR created_at < %(created_before)s)
                AND (%(after_at)s::timestamptz IS NULL OR (created_at, id) < (%(after_at)s, %(after_id)s::uuid))
            ORDER BY created_at DESC, id DESC
            LIMIT %(limit)s + %(offset)s::bigint
        )
        UNION ALL
        (
            SELECT job.*
            FROM (
                SELECT id
                FROM haulier.running()
                WHERE (created_at, id) >= (
                        coalesce((SELECT created_at FROM page), '-infinity'),
                        coalesce((SELECT id FROM page), %(least_id)s::uuid))
                    AND (%(status)s::text IS NULL OR %(status)s = 'running')
                    AND (%(kind)s::text IS NULL OR kind = %(kind)s)
                    AND (%(queue)s::text IS NULL OR queue = %(queue)s)
                    AND (%(queues)s::text[] IS NULL OR queue = ANY(%(queues)s))
                    AND (%(created_after)s::timestamptz IS NULL OR created_at > %(created_after)s)
                    AND (%(created_before)s::timestamptz IS NULL OR created_at < %(created_before)s)
                    AND (%(after_at)s::timestamptz IS NULL OR (created_at, id) < (%(after_at)s, %(after_id)s::uuid))
                ORDER BY created_at DESC, id DESC
                LIMIT %(limit)s + %(offset)s::bigint
            ) AS running
            -- Filter on `worker_id`, not `status`: for `status` the planner may walk all that ran for each of them. The
            -- LIMIT keeps each a look by its id.
            CROSS JOIN LATERAL (
                SELECT *
                FROM haulier.jobs
                WHERE id = running.id AND worker_id IS NOT NULL
                LIMIT 1
            ) AS job
        )
        UNION ALL
        SELECT *
        FROM finished
    ) AS candidate
    ORDER BY created_at DESC, id DESC
    LIMIT %(limit)s OFFSET %(offset)s
), large AS MATERIALIZED (
    SELECT row_number() OVER (ORDER BY number) AS place, number, payload, errors, result
    FROM newest
    WHERE pg_column_size(payload) + pg_column_size(errors) + coalesce(pg_column_size(result), 0) >= 2000
        OR coalesce(pg_column_compression(payload), pg_column_compression(errors), pg_column_compression(result))
            IS NOT NULL
), counted (place, number, bytes) AS (
    SELECT 0::bigint, 0::bigint, 0::bigint
    UNION ALL
    SELECT large.place, large.number,
        counted.bytes + octet_length(payload::text) + octet_length(errors::text)
            + coalesce(octet_length(result::text), 0)
    FROM counted
    JOIN large ON large.place = counted.place + 1
    WHERE counted.bytes < %(most_bytes)s
)
SELECT newest.*, (SELECT count(*) FROM newest) AS matched
FROM newest
WHERE number <= coalesce((SELECT number FROM counted WHERE bytes >= %(most_bytes)s), number)
ORDER BY number
LIMIT %(limit)s - 1;

-- name: queue_depths
-- The largest queues, and the sum of all others under the name `other`. A large table is not read but sampled, so many of
-- its pages; of the running, which are few, all are counted.
WITH sample AS (
    SELECT greatest(pg_relation_size('haulier.job') / current_setting('block_size')::integer, 1) AS pages
), found AS (
    SELECT queue, status, (count(*) * greatest(1, (SELECT pages FROM sample) / %(most_pages)s::double precision)) AS jobs,
        min(run_at) FILTER (WHERE run_at <= now()) AS oldest
    FROM haulier.job TABLESAMPLE SYSTEM (
        least(100, 100 * %(most_pages)s::double precision
            / greatest(pg_relation_size('haulier.job') / current_setting('block_size')::integer, 1)))
    WHERE status <> 'running'
    GROUP BY queue, status
    UNION ALL
    SELECT queue, 'running', count(*), NULL
    FROM haulier.running()
    GROUP BY queue
), largest AS (
    SELECT queue
    FROM found
    WHERE queue <> 'other'
    GROUP BY queue
    ORDER BY sum(jobs) DESC, queue
    LIMIT %(most)s
)
SELECT coalesce(largest.queue, 'other') AS queue, status, round(sum(jobs))::bigint AS jobs,
    extract(epoch FROM now() - min(oldest))::double precision AS oldest_due_seconds
FROM found
LEFT JOIN largest USING (queue)
GROUP BY 1, 2
ORDER BY 1, 2;

-- name: worker_health
SELECT count(*) FILTER (WHERE beat_at >= now() - lease) AS workers,
    count(*) FILTER (WHERE beat_at >= now() - lease AND scans_fail) AS workers_without_scans,
    extract(epoch FROM now() - min(beat_at))::double precision AS oldest_beat_seconds
FROM haulier.worker;


-- Claim ---------------------------------------------------------------------------------------------------------

-- name: lanes
-- The lanes that have waiting jobs, in the order of the index and from behind one of them on, each with the place of its
-- first job, how long until that is due (negative: it is), and how long the look has taken. So many at most, and for so
-- long: a loose index scan reads a few entries a lane, but anybody who enqueues can make a million lanes.
WITH RECURSIVE lane AS (
    SELECT %(after_queue)s::text AS queue, %(after_priority)s::smallint AS priority, NULL::timestamptz AS run_at,
        NULL::uuid AS id
    UNION ALL
    SELECT next.*
    FROM lane
    CROSS JOIN LATERAL (
        (
            SELECT queue, priority, run_at, id
            FROM haulier.job
            WHERE status IN ('queued', 'retrying')
                AND suspect = %(suspect)s AND queue = lane.queue AND priority < lane.priority
            ORDER BY suspect, queue, priority DESC, run_at, id
            LIMIT 1
        )
        UNION ALL
        (
            SELECT queue, priority, run_at, id
            FROM haulier.job
            WHERE status IN ('queued', 'retrying') AND suspect = %(suspect)s AND queue > lane.queue
            ORDER BY suspect, queue, priority DESC, run_at, id
            LIMIT 1
        )
        LIMIT 1
    ) AS next
    WHERE lane.id IS NULL OR clock_timestamp() < now() + make_interval(secs => %(look)s)
)
SELECT queue, priority, run_at, id, extract(epoch FROM run_at - now())::double precision AS seconds,
    extract(epoch FROM clock_timestamp() - now())::double precision AS elapsed
FROM lane
WHERE id IS NOT NULL
LIMIT %(limit)s;

-- name: lanes_of
-- The same, of these queues.
SELECT lane.queue, lane.priority, lane.run_at, lane.id, extract(epoch FROM lane.run_at - now())::double precision AS seconds,
    0::double precision AS elapsed
FROM (
    SELECT DISTINCT queue
    FROM unnest(%(queues)s::text[]) AS queue
    WHERE queue >= %(after_queue)s
    ORDER BY queue
) AS named
CROSS JOIN LATERAL (
    WITH RECURSIVE lane AS (
        SELECT named.queue,
            CASE WHEN named.queue = %(after_queue)s THEN %(after_priority)s ELSE 32767 END::smallint AS priority,
            NULL::timestamptz AS run_at, NULL::uuid AS id
        UNION ALL
        SELECT next.*
        FROM lane
        CROSS JOIN LATERAL (
            SELECT queue, priority, run_at, id
            FROM haulier.job
            WHERE status IN ('queued', 'retrying')
                AND suspect = %(suspect)s AND queue = lane.queue AND priority < lane.priority
            ORDER BY suspect, queue, priority DESC, run_at, id
            LIMIT 1
        ) AS next
    )
    SELECT *
    FROM lane
    WHERE id IS NOT NULL
) AS lane
LIMIT %(limit)s;

-- name: heads
-- The first job of each of these lanes, where it has any.
SELECT lane.queue, lane.priority, head.run_at, head.id, extract(epoch FROM head.run_at - now())::double precision AS seconds
FROM unnest(%(queues)s::text[], %(priorities)s::smallint[]) AS lane (queue, priority)
CROSS JOIN LATERAL (
    SELECT run_at, id
    FROM haulier.job
    WHERE status IN ('queued', 'retrying')
        AND NOT suspect AND queue = lane.queue AND priority = lane.priority
    ORDER BY run_at, id
    LIMIT 1
) AS head;

-- name: fresh_lanes
-- The lanes of the jobs that have come lately, and are due or soon will be: so that one in a lane of its own is found before
-- a look that goes round a million others has come to it.
SELECT queue, priority
FROM (
    SELECT queue, priority, run_at, suspect
    FROM haulier.job
    WHERE status IN ('queued', 'retrying') AND created_at >= now() - make_interval(secs => %(lately)s)
    ORDER BY created_at DESC, id DESC
    LIMIT %(newest)s
) AS fresh
WHERE NOT suspect AND run_at <= now() + make_interval(secs => %(soon)s)
GROUP BY queue, priority
ORDER BY min(run_at)
LIMIT %(limit)s;

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

-- name: claim
-- Hand the best due jobs of these lanes to this worker. A lane is (queue, priority); each is read in the order of its
-- index and from its mark on, so that neither jobs that are not due nor the dead rows of those before are walked.
-- Jobs on their last attempt are taken only for threads that are free: they start at once, or somebody else's crash
-- would be their end. No more is taken than most_bytes as text, but for one job, and for what is small, which is not
-- counted: the size as it is stored says little of what is large, which may be compressed a hundredfold. The first row
-- tells the time and (as its kind) what a settle in the same message did.
-- A row that is locked stays where it is, so that it is found again by its place: `ctid`.
WITH locked AS MATERIALIZED (
    SELECT head.place, head.is_last, head.bytes
    FROM unnest(%(queues)s::text[], %(priorities)s::smallint[], %(marks)s::timestamptz[], %(mark_ids)s::uuid[])
        AS lane (queue, priority, mark, mark_id)
    CROSS JOIN LATERAL (
        SELECT ctid AS place, attempts + 1 >= max_attempts AS is_last,
            CASE
                WHEN pg_column_size(payload) + pg_column_size(errors) < 2000
                    AND coalesce(pg_column_compression(payload), pg_column_compression(errors)) IS NULL
                THEN 0
                ELSE octet_length(payload::text) + octet_length(errors::text)
            END AS bytes
        FROM haulier.job
        WHERE status IN ('queued', 'retrying')
            AND suspect = %(suspect)s AND queue = lane.queue AND priority = lane.priority
            AND run_at <= now() AND (run_at, id) >= (lane.mark, lane.mark_id)
            AND id <> ALL(%(passed_over)s::uuid[])
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
    RETURNING best.number, id, kind, queue, priority, run_at, attempts, max_attempts, timeout_seconds, payload,
        idempotency_key, last_error, created_at, attempt, crashes, snoozes, backoff, errors
)
SELECT NULL::bigint AS number, NULL::uuid AS id, current_setting('haulier.settled', true) AS kind, NULL AS queue,
    NULL::smallint AS priority, now() AS run_at, NULL::integer AS attempts, NULL::integer AS max_attempts,
    NULL::integer AS timeout_seconds, NULL::jsonb AS payload, NULL AS idempotency_key, NULL AS last_error,
    NULL::timestamptz AS created_at, NULL::integer AS attempt, NULL::integer AS crashes, NULL::integer AS snoozes,
    NULL::double precision AS backoff, NULL::jsonb AS errors
UNION ALL
SELECT *
FROM claimed;

-- name: lock_next
-- Lock the one job that a claim of one would take.
SELECT lane.queue, lane.priority, head.run_at, head.id
FROM unnest(%(queues)s::text[], %(priorities)s::smallint[], %(marks)s::timestamptz[], %(mark_ids)s::uuid[])
    AS lane (queue, priority, mark, mark_id)
CROSS JOIN LATERAL (
    SELECT run_at, id
    FROM haulier.job
    WHERE status IN ('queued', 'retrying')
        AND suspect = %(suspect)s AND queue = lane.queue AND priority = lane.priority
        AND run_at <= now() AND (run_at, id) >= (lane.mark, lane.mark_id)
        AND id <> ALL(%(passed_over)s::uuid[])
    ORDER BY run_at, id
    LIMIT 1
    FOR UPDATE SKIP LOCKED
) AS head
LIMIT 1;


-- Settle --------------------------------------------------------------------------------------------------------

-- name: lock_held
-- Lock what is to be settled, in id order (settling in random order against a bulk cancel made 70 deadlocks).
-- Its own statement: the one that settles then sees each row as it was locked, a cancel just requested included.
-- Each is looked up by its id, as there: a join may read the whole index instead, where statistics say that little lives.
SELECT job.id
FROM (
    SELECT *
    FROM unnest(%(ids)s::uuid[], %(attempts)s::integer[], %(claims)s::uuid[]) AS held (id, attempt, claim)
    ORDER BY id
) AS held
CROSS JOIN LATERAL (
    SELECT id
    FROM haulier.job
    WHERE id = held.id AND attempt = held.attempt AND claim = held.claim AND worker_id IS NOT NULL
    FOR UPDATE
) AS job;

-- name: settle_by_index
-- Goes before a settle in the same message. Where that is prepared one plan serves for all, and one that was made when
-- the table was small would read all of it.
SET LOCAL plan_cache_mode = force_generic_plan; SET LOCAL enable_seqscan = off;

-- name: settle
-- Let each job leave `running` as its outcome says, if the fence still fits; what ends moves to history. A requested
-- cancel wins over every outcome. `alone` tells of a crash that no other job can be blamed for.
-- Each is looked up by its id. Who runs it is asked for, and not whether it runs, which the index of what runs could
-- answer: all that it still holds of what ran would be walked, and while somebody holds a snapshot that is all that ran.
-- A row that somebody else has locked is left out, not waited for, so that no order of locking is needed. What became
-- of each is kept for a later statement of the message: a letter for each outcome, in the order given (of its new
-- status, or - for one left out). `version` is the place of the locked row, where it is found again without an index.
WITH outcome AS MATERIALIZED (
    SELECT *
    FROM unnest(
        %(ids)s::uuid[], %(attempts)s::integer[], %(claims)s::uuid[], %(verbs)s::text[], %(results)s::jsonb[],
        %(errors)s::text[], %(delays)s::double precision[], %(backoffs)s::double precision[], %(alone)s::boolean[]
    ) WITH ORDINALITY AS outcome (id, attempt, claim, verb, result, error, delay, backoff, alone, place)
), held AS MATERIALIZED (
    SELECT job.version, outcome.place, outcome.verb, outcome.result, outcome.delay, outcome.backoff, said.error,
        CASE
            WHEN outcome.verb = 'complete' OR job.cancel_requested THEN job.attempts
            WHEN outcome.verb = 'snooze' AND job.snoozes >= %(max_snoozes)s THEN job.attempts
            WHEN outcome.verb IN ('release', 'snooze') THEN job.attempts - 1
            -- A bystander's last attempt, taken by somebody else's crash, is given back.
            WHEN outcome.verb = 'crash' AND job.attempts >= job.max_attempts AND NOT outcome.alone
                THEN job.attempts - 1
            ELSE job.attempts
        END AS attempts,
        CASE
            WHEN job.cancel_requested THEN 'cancelled'
            WHEN outcome.verb = 'complete' THEN 'succeeded'
            WHEN outcome.verb = 'fail' AND (outcome.delay IS NULL OR job.attempts >= job.max_attempts)
                THEN 'failed_permanent'
            WHEN outcome.verb = 'crash' AND job.attempts >= job.max_attempts AND outcome.alone
                THEN 'failed_permanent'
            -- Its hundredth snooze was its last.
            WHEN outcome.verb = 'snooze' AND job.snoozes >= %(max_snoozes)s THEN 'failed_permanent'
            WHEN outcome.verb IN ('release', 'snooze') AND job.attempts <= 1 THEN 'queued'
            ELSE 'retrying'
        END AS status,
        CASE WHEN said.error IS NULL THEN job.errors
            ELSE
                CASE WHEN jsonb_array_length(job.errors) >= %(kept_errors)s THEN job.errors - 0 ELSE job.errors END
                || jsonb_build_object(
                    'attempt', job.attempts,
                    'at', to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
                    'error', said.error)
        END AS errors
    FROM outcome
    CROSS JOIN LATERAL (
        SELECT ctid AS version, attempts, max_attempts, snoozes, cancel_requested, errors
        FROM haulier.job
        WHERE id = outcome.id AND attempt = outcome.attempt AND claim = outcome.claim AND worker_id IS NOT NULL
        FOR UPDATE SKIP LOCKED
    ) AS job
    CROSS JOIN LATERAL (
        SELECT CASE
            WHEN outcome.verb = 'snooze' AND job.snoozes >= %(max_snoozes)s AND NOT job.cancel_requested
                THEN 'snoozed more than ' || %(max_snoozes)s || ' times'
            ELSE outcome.error
        END AS error
    ) AS said
), gone AS (
    DELETE FROM haulier.job
    USING held
    WHERE job.ctid = held.version AND held.status IN ('succeeded', 'failed_permanent', 'cancelled')
    RETURNING held.*
), finished AS (
    INSERT INTO haulier.finished_job (
        id, status, kind, queue, priority, run_at, attempt, claim, started_at, attempts, max_attempts, crashes,
        snoozes, timeout_seconds, cancel_requested, payload, idempotency_key, last_error, errors, created_at,
        updated_at, finished_at, result)
    SELECT
        job.id, gone.status, kind, queue, priority, run_at, attempt, claim, started_at, gone.attempts, max_attempts,
        crashes + (gone.verb = 'crash')::integer, snoozes, timeout_seconds, cancel_requested, payload,
        idempotency_key, coalesce(gone.error, last_error), gone.errors, created_at, now(), now(),
        CASE WHEN gone.status = 'succeeded' THEN gone.result END
    FROM gone
    -- As it was: to this statement's own snapshot it is not gone.
    JOIN haulier.job ON job.ctid = gone.version
), kept AS (
    UPDATE haulier.job
    SET status = held.status,
        worker_id = NULL,
        attempts = held.attempts,
        crashes = crashes + (held.verb = 'crash')::integer,
        snoozes = snoozes + (held.verb = 'snooze')::integer,
        backoff = coalesce(held.backoff, job.backoff),
        -- Without a delay the job keeps its place in the queue: it has not been started.
        run_at = CASE WHEN held.delay IS NULL THEN job.run_at ELSE now() + make_interval(secs => held.delay) END,
        last_error = coalesce(held.error, job.last_error),
        errors = held.errors,
        updated_at = now()
    FROM held
    WHERE job.ctid = held.version AND held.status IN ('queued', 'retrying')
    RETURNING held.place, held.status
), done AS (
    SELECT place, status FROM gone
    UNION ALL
    SELECT place, status FROM kept
)
SELECT set_config('haulier.settled', coalesce(string_agg(coalesce(left(done.status, 1), '-'), '' ORDER BY place), ''), false)
    AS settled
FROM outcome
LEFT JOIN done USING (place);

-- name: settled
-- What the settle before it in the same message did. Qualified, since its transaction sets no path.
SELECT pg_catalog.current_setting('haulier.settled') AS settled;

-- name: settled_earlier
-- What settles whose reply was lost have left behind, where they were committed: the fence is kept on the row.
SELECT jobs.id, jobs.attempt, jobs.claim, jobs.status
FROM haulier.jobs
JOIN unnest(%(ids)s::uuid[], %(attempts)s::integer[], %(claims)s::uuid[]) AS lost (id, attempt, claim)
    ON jobs.id = lost.id AND jobs.attempt = lost.attempt AND jobs.claim = lost.claim
WHERE jobs.id = ANY(%(ids)s::uuid[]) AND jobs.status <> 'running';


-- Cancel --------------------------------------------------------------------------------------------------------

-- name: cancel
SELECT haulier.cancel(%(id)s, %(actor)s) AS was;



-- Retry ---------------------------------------------------------------------------------------------------------

-- name: retry
SELECT * FROM haulier.retry(%(id)s, %(actor)s);



-- Beat and rescue -----------------------------------------------------------------------------------------------

-- name: register
INSERT INTO haulier.worker (host, pid, threads, queues, lease)
VALUES (%(host)s, %(pid)s, %(threads)s, %(queues)s::text[], make_interval(secs => %(lease)s))
RETURNING id;

-- name: beat
-- No row back: somebody has declared this worker dead.
UPDATE haulier.worker
SET beat_at = now(), scans_fail = %(scans_fail)s
FROM (SELECT id, beat_at FROM haulier.worker WHERE id = %(worker)s) AS before
WHERE worker.id = before.id
RETURNING extract(epoch FROM now() - before.beat_at)::double precision AS seconds;

-- name: has_turn
-- Whether the present slot of time is this worker's: the live workers of the same queues have them one after the other.
SELECT floor(extract(epoch FROM now()) / %(slot)s)::bigint %% nullif(count(*), 0)
    = count(*) FILTER (WHERE peer.id < me.id) AS has_turn
FROM haulier.worker AS me
JOIN haulier.worker AS peer
    ON peer.queues IS NOT DISTINCT FROM me.queues AND (peer.id = me.id OR peer.beat_at >= now() - peer.lease)
WHERE me.id = %(worker)s;

-- name: held
-- What the database thinks this worker runs under these claims.
SELECT id, attempt, claim, cancel_requested
FROM haulier.job
WHERE worker_id = %(worker)s AND status = 'running' AND claim = ANY(%(claims)s::uuid[]);

-- name: strays
-- What the database thinks this worker runs under other claims than these. All that ran since somebody took a snapshot is
-- walked for it.
SELECT id, attempt, claim, cancel_requested
FROM haulier.job
WHERE status = 'running' AND worker_id = %(worker)s AND claim <> ALL(%(claims)s::uuid[]);

-- name: cancelled
-- What this worker runs and is to stop. By an index of its own: those of all that runs, or of what a worker holds, also
-- have all that ran, for as long as somebody holds a snapshot from before.
SELECT id, attempt, claim
FROM haulier.job
WHERE worker_id = %(worker)s AND status = 'running' AND cancel_requested;

-- name: deregister
DELETE FROM haulier.worker
WHERE id = %(worker)s;

-- name: lapsed
-- Who has let its lease run out.
SELECT id
FROM haulier.worker
WHERE beat_at < now() - lease
ORDER BY id;

-- name: bury
-- Declare dead whoever of these, or of all, has let its lease run out. A beat that comes while this is under way waits,
-- then finds no row.
DELETE FROM haulier.worker
WHERE id IN (
    SELECT id
    FROM haulier.worker
    WHERE beat_at < now() - lease AND (%(workers)s::uuid[] IS NULL OR id = ANY(%(workers)s::uuid[]))
    ORDER BY id
    FOR UPDATE SKIP LOCKED
)
RETURNING id, host, pid;

-- name: orphans
-- The running jobs whose worker has no row: of these workers, or of all. `company` counts the jobs that went down together.
WITH orphan AS MATERIALIZED (
    SELECT id, count(*) OVER (PARTITION BY worker_id) AS company
    FROM (
        SELECT id, worker_id
        FROM haulier.running()
        WHERE %(workers)s::uuid[] IS NULL
        UNION ALL
        SELECT id, worker_id
        FROM haulier.job
        WHERE status = 'running' AND worker_id = ANY(%(workers)s::uuid[])
    ) AS running
    WHERE NOT EXISTS (SELECT FROM haulier.worker WHERE worker.id = running.worker_id)
        AND id <> ALL(%(passed_over)s::uuid[])
    ORDER BY id
    LIMIT %(limit)s
)
SELECT job.*, company
FROM orphan
CROSS JOIN LATERAL (
    SELECT id, attempt, claim, worker_id, crashes, pg_column_size(payload) AS bytes
    FROM haulier.job
    WHERE id = orphan.id AND worker_id IS NOT NULL
    LIMIT 1
) AS job
ORDER BY id;


-- Wake-ups ------------------------------------------------------------------------------------------------------

-- name: listen
LISTEN haulier_job; LISTEN haulier_cancel;

-- name: unlisten
UNLISTEN haulier_job; UNLISTEN haulier_cancel;

-- name: call_myself
-- A knock that whoever listens for this worker has to hear. It looks for cancels then, and finds none.
SELECT pg_notify('haulier_cancel', %(worker)s::text);

-- name: fall_asleep
-- From now on the trigger of an INSERT finds this worker. Its row is locked first, as whoever declares it dead does.
INSERT INTO haulier.sleeper (worker_id, queues)
SELECT id, queues
FROM haulier.worker
WHERE id = %(worker)s
FOR KEY SHARE
ON CONFLICT (worker_id) DO NOTHING;

-- name: get_up
DELETE FROM haulier.sleeper
WHERE worker_id = %(worker)s;

-- name: wake_another
-- Wake one more sleeper of this worker's queues, if there is any; which one, as the trigger of an INSERT does.
SELECT pg_notify('haulier_job', another.worker_id::text)
FROM (
    SELECT sleeper.worker_id
    FROM haulier.sleeper
    JOIN haulier.worker AS me ON me.id = %(worker)s AND me.queues IS NOT DISTINCT FROM sleeper.queues
    JOIN haulier.worker AS other ON other.id = sleeper.worker_id AND other.id <> me.id
    ORDER BY other.beat_at DESC, random()
    LIMIT 1
) AS another;

-- name: pass_on
-- Get up, and wake another in one's place.
WITH gone AS (
    DELETE FROM haulier.sleeper
    WHERE worker_id = %(worker)s
)
SELECT pg_notify('haulier_job', another.worker_id::text)
FROM (
    SELECT sleeper.worker_id
    FROM haulier.sleeper
    JOIN haulier.worker AS me ON me.id = %(worker)s AND me.queues IS NOT DISTINCT FROM sleeper.queues
    JOIN haulier.worker AS other ON other.id = sleeper.worker_id AND other.id <> me.id
    ORDER BY other.beat_at DESC, random()
    LIMIT 1
) AS another;


-- API keys ------------------------------------------------------------------------------------------------------

-- name: create_key
INSERT INTO haulier.api_key (id, name, hash, scopes, queues, rate_limit, expires_at)
VALUES (%(key_id)s, %(name)s, %(hash)s, %(scopes)s::text[], %(queues)s::text[], %(rate_limit)s,
    now() + %(lifetime)s::interval)
RETURNING *;

-- name: find_key
-- A key that is good now, and for how long it stays so; the hash of the time before the last rotation while that is
-- good too.
SELECT id, name, scopes, queues, rate_limit, created_at, expires_at, last_used_at, revoked_at, hash,
    CASE WHEN previous_until > now() THEN previous_hash END AS previous_hash,
    CASE WHEN previous_until > now() THEN previous_until END AS previous_until,
    extract(epoch FROM least(expires_at, CASE WHEN previous_until > now() THEN previous_until END) - now())
        ::double precision AS seconds
FROM haulier.api_key
WHERE id = %(key_id)s AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now());

-- name: any_key
-- Also one that is revoked: to revoke the last key must not open the door.
SELECT EXISTS (SELECT FROM haulier.api_key) AS found;

-- name: list_keys
SELECT id, name, scopes, queues, rate_limit, created_at, expires_at, last_used_at, revoked_at, hash,
    CASE WHEN previous_until > now() THEN previous_hash END AS previous_hash,
    CASE WHEN previous_until > now() THEN previous_until END AS previous_until
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


-- The record ----------------------------------------------------------------------------------------------------

-- name: note_action
-- What is done to keys; what is done to jobs is noted by the statement that does it.
INSERT INTO haulier.audit (actor, action, key_id)
VALUES (%(actor)s, %(action)s, %(key_id)s);

-- name: list_audit
SELECT id, at, actor, action, job_id, key_id
FROM haulier.audit
WHERE %(before)s::bigint IS NULL OR id < %(before)s
ORDER BY id DESC
LIMIT %(limit)s;


-- Housekeeping --------------------------------------------------------------------------------------------------

-- name: lock_schema
-- Whoever changes the schema or adds a partition does so one after the other (haulier.add_partition).
LOCK TABLE haulier.schema_version IN SHARE ROW EXCLUSIVE MODE;

-- name: lock_empty_database
-- Before there is a table to lock. Programs of version 5 take this one in either case.
SELECT pg_advisory_xact_lock(7236837241);

-- name: holder_of_empty_database
SELECT pid
FROM pg_locks
WHERE locktype = 'advisory' AND objsubid = 1 AND granted
    AND classid = (7236837241 >> 32)::oid AND objid = (7236837241 & 4294967295)::oid
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database());

-- name: schema_version
SELECT version, compatible_from
FROM haulier.schema_version;

-- name: find_schema
-- Read from the table: to_regclass goes on answering from a cache that a wait for an advisory lock does not refresh.
SELECT EXISTS (
    SELECT FROM pg_class
    JOIN pg_namespace ON pg_namespace.oid = relnamespace
    WHERE nspname = 'haulier' AND relname = 'schema_version'
) AS present;

-- name: partitions
SELECT * FROM haulier.history_partitions();

-- name: oldest_user_of_table
-- Whose transaction a detach waits for: that has used the history for longest. Of other roles' sessions the server may
-- not say since when.
SELECT pg_locks.pid
FROM pg_locks
JOIN pg_stat_activity USING (pid)
WHERE locktype = 'relation' AND relation IN (%(table)s::oid, 'haulier.finished_job'::regclass) AND granted
    AND pg_locks.pid <> pg_backend_pid()
ORDER BY xact_start
LIMIT 1;

-- name: owns_history
-- By its own right, or by that of a role whose rights it has.
SELECT pg_has_role(relowner, 'USAGE') AS owns
FROM pg_class
WHERE oid = 'haulier.finished_job'::regclass;

-- name: partition_to_add
SELECT * FROM haulier.partition_to_add(%(step)s, %(days_ahead)s);

-- name: add_partition
SELECT haulier.add_partition(%(step)s, %(days_ahead)s) AS name;

-- name: partitions_to_drop
SELECT "table"
FROM unnest(%(tables)s::oid[], %(uppers)s::timestamptz[]) AS partition ("table", upper)
WHERE upper <= now() - make_interval(days => %(retention_days)s)
ORDER BY upper;

-- name: mark_expired
SELECT * FROM haulier.mark_expired(%(table)s::oid, %(retention_days)s);

-- name: detach_partition_in_session
ALTER TABLE haulier.finished_job DETACH PARTITION {name} CONCURRENTLY;

-- name: detach_partition
SELECT haulier.detach_partition(%(table)s::oid, %(retention_days)s) AS name;

-- name: finish_detach
SELECT haulier.finish_detach(%(table)s::oid) AS name;

-- name: detached_partitions
SELECT "table" FROM haulier.detached_partitions();

-- name: drop_partition
SELECT haulier.drop_partition(%(table)s::oid) AS name;

-- name: session_lock_timeout
-- For DETACH CONCURRENTLY, which no transaction may hold; its connection, which no pool has, is closed right after.
SET lock_timeout = %(lock_milliseconds)s;

-- name: history_days_ahead
-- For how long from now on every instant has a partition; 0 when nothing can settle. A year stands for ever.
WITH present AS (
    SELECT coalesce(lower, '-infinity') AS lower, coalesce(upper, 'infinity') AS upper
    FROM unnest(%(lowers)s::timestamptz[], %(uppers)s::timestamptz[]) AS bounds (lower, upper)
)
SELECT extract(epoch FROM least(min(instant), now() + interval '365 days') - now())::double precision / 86400 AS days
FROM (
    SELECT now() AS instant
    UNION ALL
    SELECT upper FROM present WHERE upper > now()
) AS candidate
WHERE NOT EXISTS (SELECT FROM present WHERE present.lower <= instant AND instant < present.upper);

-- name: purge_keys
-- Forget the keys that are old enough, unless their job still lives. A bounded number: the next call takes the rest.
WITH old AS (
    SELECT key
    FROM haulier.idempotency
    WHERE created_at < now() - make_interval(days => %(idempotency_days)s)
        AND NOT EXISTS (SELECT FROM haulier.job WHERE job.id = idempotency.job_id)
    ORDER BY created_at
    LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED
)
DELETE FROM haulier.idempotency
USING old
WHERE idempotency.key = old.key
RETURNING idempotency.key;


-- name: purge_audit
-- A bounded number, as of keys.
WITH old AS (
    SELECT id
    FROM haulier.audit
    WHERE at < now() - make_interval(days => %(retention_days)s)
    ORDER BY at, id
    LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED
)
DELETE FROM haulier.audit
USING old
WHERE audit.id = old.id
RETURNING audit.id;

-- name: purge_queues
-- Forget the names that were not used for a while and have no live job. A bounded number, as of keys. Whoever has one in
-- memory notes it as used far more often. Each is looked for at its place in the index, however many jobs wait.
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
    LIMIT %(limit)s
    FOR UPDATE OF queue SKIP LOCKED
)
DELETE FROM haulier.queue
USING old
WHERE queue.name = old.name AND used_at < now() - make_interval(secs => %(idle)s)
RETURNING queue.name;


-- Scratch databases ----------------------------------------------------------------------------------------------

-- name: create_database
-- From template0, which is what PostgreSQL ships: others may be in use, or hold what an operator put there.
CREATE DATABASE {name} TEMPLATE template0;

-- name: drop_unused_database
-- Fails while anyone is connected to it.
DROP DATABASE IF EXISTS {name};

-- name: drop_database
DROP DATABASE IF EXISTS {name} WITH (FORCE);
