-- Every statement that the program sends, in the order of a job's life. (schema.sql says what may be.)
-- Parameters are %(name)s; braces hold identifiers, quoted by the caller. The clock is the database's now():
-- Python sends durations, and never an instant of its own.


-- Around the statements -----------------------------------------------------------------------------------------

-- name: bounded
-- Goes before a single statement in the same message, which makes the two one transaction of their own.
-- A SET for the session would leak to other clients through PgBouncer.
SET LOCAL statement_timeout = %(milliseconds)s;

-- name: begin
-- The level is stated, because a role or a database may have another default, in which a statement does not see what
-- it has just waited for. A client that vanished between two statements must not hold its locks until TCP notices,
-- which takes hours.
BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL statement_timeout = %(milliseconds)s;
SET LOCAL lock_timeout = %(lock_milliseconds)s; SET LOCAL idle_in_transaction_session_timeout = %(idle_milliseconds)s;

-- name: commit
COMMIT;

-- name: rollback
ROLLBACK;

-- name: ping
SELECT 1;


-- Enqueue -------------------------------------------------------------------------------------------------------

-- name: take_keys
-- Take the idempotency keys that nobody holds. In sorted order: two batches then never wait for each other in a
-- circle. A key that another transaction is just taking is waited for.
INSERT INTO haulier.idempotency (key, fingerprint, job_id)
SELECT asked.key, asked.fingerprint, haulier.uuidv7()
FROM unnest(%(keys)s::text[], %(fingerprints)s::bytea[]) AS asked (key, fingerprint)
ORDER BY asked.key
ON CONFLICT (key) DO NOTHING
RETURNING key, job_id;

-- name: find_keys
-- Who holds the keys that could not be taken. A statement of its own: only a new snapshot sees the winner's row.
SELECT key, fingerprint, job_id
FROM haulier.idempotency
WHERE key = ANY(%(keys)s);

-- name: enqueue
WITH asked AS MATERIALIZED (
    SELECT ordinality, coalesce(given_id, haulier.uuidv7()) AS id, kind, payload, queue, priority, max_attempts,
        run_at, delay, timeout_seconds, idempotency_key
    FROM unnest(
        %(ids)s::uuid[], %(kinds)s::text[], %(payloads)s::jsonb[], %(queues)s::text[], %(priorities)s::smallint[],
        %(max_attempts)s::integer[], %(run_ats)s::timestamptz[], %(delays)s::double precision[],
        %(timeouts)s::integer[], %(keys)s::text[]
    ) WITH ORDINALITY AS given (given_id, kind, payload, queue, priority, max_attempts, run_at, delay,
        timeout_seconds, idempotency_key, ordinality)
), stored AS (
    INSERT INTO haulier.job (
        id, kind, payload, queue, priority, max_attempts, timeout_seconds, idempotency_key, run_at)
    SELECT id, kind, payload, queue, priority, max_attempts, timeout_seconds, idempotency_key,
        greatest(now(), coalesce(run_at, now() + make_interval(secs => coalesce(delay, 0))))
    FROM asked
    ORDER BY ordinality
    RETURNING *
)
SELECT stored.*
FROM stored
JOIN asked USING (id)
ORDER BY asked.ordinality;


-- Look ----------------------------------------------------------------------------------------------------------

-- name: get_jobs
SELECT *
FROM haulier.jobs
WHERE id = ANY(%(ids)s::uuid[]);

-- name: list_jobs
SELECT *
FROM haulier.jobs
WHERE (%(status)s::text IS NULL OR status = %(status)s)
    AND (%(kind)s::text IS NULL OR kind = %(kind)s)
    AND (%(queue)s::text IS NULL OR queue = %(queue)s)
    AND (%(created_after)s::timestamptz IS NULL OR created_at > %(created_after)s)
    AND (%(created_before)s::timestamptz IS NULL OR created_at < %(created_before)s)
    AND (%(after_at)s::timestamptz IS NULL OR (created_at, id) < (%(after_at)s, %(after_id)s::uuid))
ORDER BY created_at DESC, id DESC
LIMIT %(limit)s OFFSET %(offset)s;

-- name: queue_depths
SELECT queue, status, count(*) AS jobs,
    extract(epoch FROM now() - min(run_at) FILTER (WHERE status <> 'running' AND run_at <= now()))::double precision
        AS oldest_due_seconds
FROM haulier.job
GROUP BY queue, status
ORDER BY queue, status;

-- name: worker_health
SELECT count(*) FILTER (WHERE beat_at >= now() - lease) AS workers,
    extract(epoch FROM now() - min(beat_at))::double precision AS oldest_beat_seconds
FROM haulier.worker;


-- Claim ---------------------------------------------------------------------------------------------------------

-- name: claim
-- Hand the best due jobs to this worker: highest priority, then longest due. Only lanes that have a due job are
-- entered, and each is read in the order of its index, so that jobs which are not due are never walked.
WITH best AS (
    SELECT due.id
    FROM (
        SELECT queue, priority
        FROM haulier.lane
        WHERE suspect = %(suspect)s
            AND first_run_at <= now()
            AND (%(queues)s::text[] IS NULL OR queue = ANY(%(queues)s))
        ORDER BY priority DESC, first_run_at
    ) AS lane
    CROSS JOIN LATERAL (
        SELECT id
        FROM haulier.job
        WHERE status IN ('queued', 'retrying')
            AND suspect = %(suspect)s AND queue = lane.queue AND priority = lane.priority
            AND run_at <= now()
        ORDER BY run_at, id
        LIMIT %(limit)s
        FOR UPDATE SKIP LOCKED
    ) AS due
    -- A worker that was declared dead must not claim in its old name.
    WHERE EXISTS (SELECT FROM haulier.worker WHERE id = %(worker)s)
    LIMIT %(limit)s
)
UPDATE haulier.job
SET status = 'running',
    worker_id = %(worker)s,
    claim = %(claim)s,
    attempt = attempt + 1,
    attempts = attempts + 1,
    started_at = now(),
    updated_at = now()
FROM best
WHERE job.id = best.id
RETURNING job.*;

-- name: next_due
-- How long until a waiting job is due; null when none waits.
SELECT extract(epoch FROM min(first_run_at) - now())::double precision AS seconds
FROM haulier.lane
WHERE suspect = %(suspect)s AND (%(queues)s::text[] IS NULL OR queue = ANY(%(queues)s));


-- Settle --------------------------------------------------------------------------------------------------------

-- name: lock_held
-- Lock what is to be settled, in id order (settling in random order against a bulk cancel made 70 deadlocks).
-- Its own statement: the one that settles then sees each row as it was locked, a cancel just requested included.
SELECT job.id
FROM haulier.job
JOIN unnest(%(ids)s::uuid[], %(attempts)s::integer[], %(claims)s::uuid[]) AS held (id, attempt, claim)
    ON job.id = held.id AND job.attempt = held.attempt AND job.claim = held.claim
WHERE job.status = 'running'
ORDER BY job.id
FOR UPDATE OF job;

-- name: settle
-- Let each job leave `running` as its outcome says, if the fence still fits; what ends moves to history. A requested
-- cancel wins over every outcome. `alone` tells of a crash that no other job can be blamed for.
WITH outcome AS (
    SELECT job.id, outcome.verb, outcome.result, outcome.delay, outcome.backoff,
        CASE
            WHEN outcome.verb = 'snooze' AND job.snoozes >= %(max_snoozes)s AND NOT job.cancel_requested
                THEN 'snoozed more than ' || %(max_snoozes)s || ' times'
            ELSE outcome.error
        END AS error,
        CASE
            WHEN job.cancel_requested THEN job.attempts
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
        END AS status
    FROM unnest(
        %(ids)s::uuid[], %(attempts)s::integer[], %(claims)s::uuid[], %(verbs)s::text[], %(results)s::jsonb[],
        %(errors)s::text[], %(delays)s::double precision[], %(backoffs)s::double precision[], %(alone)s::boolean[]
    ) AS outcome (id, attempt, claim, verb, result, error, delay, backoff, alone)
    JOIN haulier.job
        ON job.id = outcome.id AND job.attempt = outcome.attempt AND job.claim = outcome.claim
    WHERE job.status = 'running'
), noted AS (
    SELECT outcome.*,
        CASE WHEN error IS NULL THEN job.errors
            ELSE
                CASE WHEN jsonb_array_length(job.errors) >= %(kept_errors)s THEN job.errors - 0 ELSE job.errors END
                || jsonb_build_object(
                    'attempt', job.attempts,
                    'at', to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
                    'error', error)
        END AS errors
    FROM outcome
    JOIN haulier.job USING (id)
), gone AS (
    DELETE FROM haulier.job
    USING noted
    WHERE job.id = noted.id AND noted.status IN ('succeeded', 'failed_permanent', 'cancelled')
    RETURNING job.*, noted.status AS final_status, noted.attempts AS final_attempts, noted.result, noted.error,
        noted.errors AS final_errors, noted.verb
), finished AS (
    INSERT INTO haulier.finished_job (
        id, status, kind, queue, priority, run_at, attempt, claim, started_at, attempts, max_attempts, crashes,
        snoozes, timeout_seconds, cancel_requested, payload, idempotency_key, last_error, errors, created_at,
        updated_at, finished_at, result)
    SELECT
        id, final_status, kind, queue, priority, run_at, attempt, claim, started_at, final_attempts, max_attempts,
        crashes + (verb = 'crash')::integer, snoozes, timeout_seconds, cancel_requested, payload, idempotency_key,
        coalesce(error, last_error), final_errors, created_at, now(), now(),
        CASE WHEN final_status = 'succeeded' THEN result END
    FROM gone
    RETURNING id, status
), kept AS (
    UPDATE haulier.job
    SET status = noted.status,
        worker_id = NULL,
        attempts = noted.attempts,
        crashes = crashes + (noted.verb = 'crash')::integer,
        snoozes = snoozes + (noted.verb = 'snooze')::integer,
        backoff = coalesce(noted.backoff, job.backoff),
        run_at = now() + make_interval(secs => coalesce(noted.delay, 0)),
        last_error = coalesce(noted.error, job.last_error),
        errors = noted.errors,
        updated_at = now()
    FROM noted
    WHERE job.id = noted.id AND noted.status IN ('queued', 'retrying')
    RETURNING job.id, job.status
)
SELECT id, status FROM finished
UNION ALL
SELECT id, status FROM kept;

-- name: settled_earlier
-- What a settle whose reply was lost has left behind, if it was committed: the fence is kept on the row.
SELECT id, status
FROM haulier.jobs
WHERE id = %(id)s AND attempt = %(attempt)s AND claim = %(claim)s AND status <> 'running';


-- Cancel --------------------------------------------------------------------------------------------------------

-- name: lock_job
SELECT status
FROM haulier.job
WHERE id = %(id)s
FOR UPDATE;

-- name: cancel_waiting
WITH gone AS (
    DELETE FROM haulier.job
    WHERE id = %(id)s AND status IN ('queued', 'retrying')
    RETURNING *
)
INSERT INTO haulier.finished_job (
    id, status, kind, queue, priority, run_at, attempt, claim, started_at, attempts, max_attempts, crashes,
    snoozes, timeout_seconds, cancel_requested, payload, idempotency_key, last_error, errors, created_at,
    updated_at, finished_at)
SELECT
    id, 'cancelled', kind, queue, priority, run_at, attempt, claim, started_at, attempts, max_attempts, crashes,
    snoozes, timeout_seconds, true, payload, idempotency_key, last_error, errors, created_at, now(), now()
FROM gone
RETURNING id;

-- name: cancel_running
-- Raise the flag, and knock at the worker that runs the job; it looks for flags on its own as well.
UPDATE haulier.job
SET cancel_requested = true,
    updated_at = CASE WHEN cancel_requested THEN updated_at ELSE now() END
WHERE id = %(id)s AND status = 'running'
RETURNING pg_notify('haulier_cancel', worker_id::text);


-- Retry ---------------------------------------------------------------------------------------------------------

-- name: retry
-- Bring a failed or cancelled job back to life with a full budget. The fence goes on growing; a job that has crashed
-- before still runs alone.
WITH back AS (
    DELETE FROM haulier.finished_job
    WHERE id = %(id)s AND status IN ('failed_permanent', 'cancelled')
    RETURNING *
)
INSERT INTO haulier.job (
    id, kind, queue, priority, attempt, claim, started_at, max_attempts, crashes, timeout_seconds, payload,
    idempotency_key, last_error, errors, created_at)
SELECT
    id, kind, queue, priority, attempt, claim, started_at, max_attempts, crashes, timeout_seconds, payload,
    idempotency_key, last_error, errors, created_at
FROM back
RETURNING *;


-- Beat and rescue -----------------------------------------------------------------------------------------------

-- name: listen
LISTEN haulier_job; LISTEN haulier_cancel;

-- name: register
INSERT INTO haulier.worker (host, pid, threads, queues, lease)
VALUES (%(host)s, %(pid)s, %(threads)s, %(queues)s::text[], make_interval(secs => %(lease)s))
RETURNING id;

-- name: beat
-- No row back: somebody has declared this worker dead.
UPDATE haulier.worker
SET beat_at = now()
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
-- What the database thinks this worker runs, and which of it is to stop.
SELECT id, attempt, claim, cancel_requested
FROM haulier.job
WHERE worker_id = %(worker)s AND status = 'running';

-- name: deregister
DELETE FROM haulier.worker
WHERE id = %(worker)s;

-- name: bury
-- Declare dead whoever has let its lease run out. A beat that comes while this is under way waits, then finds no row.
DELETE FROM haulier.worker
WHERE id IN (
    SELECT id
    FROM haulier.worker
    WHERE beat_at < now() - lease
    ORDER BY id
    FOR UPDATE SKIP LOCKED
)
RETURNING id, host, pid;

-- name: lock_orphans
-- The running jobs whose worker has no row. `company` counts the jobs that went down together.
WITH orphan AS MATERIALIZED (
    SELECT id, count(*) OVER (PARTITION BY worker_id) AS company
    FROM haulier.job
    WHERE status = 'running' AND NOT EXISTS (SELECT FROM haulier.worker WHERE worker.id = job.worker_id)
)
SELECT job.id, job.attempt, job.claim, job.worker_id, job.crashes, orphan.company
FROM haulier.job
JOIN orphan USING (id)
WHERE job.status = 'running' AND NOT EXISTS (SELECT FROM haulier.worker WHERE worker.id = job.worker_id)
ORDER BY job.id
LIMIT %(limit)s
FOR UPDATE OF job SKIP LOCKED;


-- Housekeeping --------------------------------------------------------------------------------------------------

-- name: lock_migration
SELECT pg_advisory_xact_lock(7236837241);

-- name: schema_version
SELECT version, compatible_from
FROM haulier.schema_version;

-- name: find_schema
SELECT to_regclass('haulier.schema_version') IS NOT NULL AS present;

-- name: partitions
-- The history's partitions, oldest first, with their bounds as the catalogue has them.
SELECT child.relname AS name, inhdetachpending AS detaching,
    substring(pg_get_expr(child.relpartbound, child.oid) FROM $$FROM \('([^']+)'\)$$)::timestamptz AS lower,
    substring(pg_get_expr(child.relpartbound, child.oid) FROM $$TO \('([^']+)'\)$$)::timestamptz AS upper
FROM pg_inherits
JOIN pg_class AS child ON child.oid = inhrelid
WHERE inhparent = 'haulier.finished_job'::regclass
ORDER BY upper;

-- name: partition_to_add
-- The bounds of the next partition: from the first instant, today or later, that none holds, to the end of its day,
-- week or month, or to where the next one begins. No row when history reaches far enough.
WITH today AS (
    SELECT date_trunc('day', now() AT TIME ZONE 'UTC') AT TIME ZONE 'UTC' AS today
), present AS (
    SELECT coalesce(lower, '-infinity') AS lower, coalesce(upper, 'infinity') AS upper
    FROM unnest(%(lowers)s::timestamptz[], %(uppers)s::timestamptz[]) AS bounds (lower, upper)
), gap AS (
    SELECT min(instant) AS lower
    FROM (
        SELECT today AS instant FROM today
        UNION ALL
        SELECT upper FROM present JOIN today ON upper > today
    ) AS candidate
    WHERE NOT EXISTS (SELECT FROM present WHERE present.lower <= instant AND instant < present.upper)
), added AS (
    SELECT lower,
        least(
            (date_trunc(%(step)s, lower AT TIME ZONE 'UTC') + ('1 ' || %(step)s)::interval) AT TIME ZONE 'UTC',
            (SELECT min(present.lower) FROM present WHERE present.lower > gap.lower)) AS upper,
        'finished_job_' || to_char(lower AT TIME ZONE 'UTC', 'YYYYMMDD_HH24MISS') AS name
    FROM gap
    WHERE lower < now() + make_interval(days => %(days_ahead)s)
)
SELECT lower, upper,
    -- A partition that an operator detached keeps its name.
    name || CASE
        WHEN to_regclass('haulier.' || name) IS NULL THEN ''
        ELSE to_char(now() AT TIME ZONE 'UTC', '"_again_"YYYYMMDD_HH24MISS_US')
    END AS name
FROM added;

-- name: add_partition
-- ATTACH, because CREATE … PARTITION OF waits behind every open reader of the history, and everything behind it.
CREATE TABLE haulier.{name} (LIKE haulier.finished_job INCLUDING ALL);
ALTER TABLE haulier.finished_job ATTACH PARTITION haulier.{name}
    FOR VALUES FROM (%(lower)s) TO (%(upper)s);

-- name: partitions_to_drop
SELECT name
FROM unnest(%(names)s::text[], %(uppers)s::timestamptz[]) AS partition (name, upper)
WHERE upper <= now() - make_interval(days => %(retention_days)s)
ORDER BY upper;

-- name: mark_expired
-- So that a drop that was interrupted is finished later, and a partition that an operator detached is left alone.
COMMENT ON TABLE haulier.{name} IS 'expired';

-- name: detach_partition
ALTER TABLE haulier.finished_job DETACH PARTITION haulier.{name} CONCURRENTLY;

-- name: finish_detach
ALTER TABLE haulier.finished_job DETACH PARTITION haulier.{name} FINALIZE;

-- name: detached_partitions
SELECT relname AS name
FROM pg_class
WHERE relnamespace = 'haulier'::regnamespace AND relkind = 'r' AND NOT relispartition
    AND obj_description(oid, 'pg_class') = 'expired';

-- name: drop_partition
DROP TABLE haulier.{name};

-- name: session_lock_timeout
-- For DETACH CONCURRENTLY, which no transaction may hold; its connection is closed right after.
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


-- Scratch databases ----------------------------------------------------------------------------------------------

-- name: create_database
-- From template0, which is what PostgreSQL ships: others may be in use, or hold what an operator put there.
CREATE DATABASE {name} TEMPLATE template0;

-- name: drop_unused_database
-- Fails while anyone is connected to it.
DROP DATABASE IF EXISTS {name};

-- name: drop_database
DROP DATABASE IF EXISTS {name} WITH (FORCE);
