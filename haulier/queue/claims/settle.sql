-- Jobs leave `running` as their outcomes say.

-- name: lock_held
-- Lock the rows to be settled, in id order (settling in random order against a bulk cancel made 70 deadlocks).
-- Its own statement: `settle` then sees each row as it was when locked, a cancel just requested included.
-- As in `settle`, each row is looked up by its id: if statistics say that few jobs are live, a join may read the whole
-- index.
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

-- name: answers_bounded
-- For as long as a connection lasts that claims. The jobs of a claim are sent before it commits: if the worker's host is
-- cut off, the server would wait, with locked rows, until TCP gives up after 15 minutes, and no other limit ends that
-- wait. Not for each claim: a server without this limit, as on macOS, logs each SET.
SET tcp_user_timeout = '5s';

-- name: one_plan_by_index
-- Goes before a settle, or an act of an operator, in the same message. A prepared statement has one plan for all calls, and
-- a plan that was made while the table was small would read all of it.
SET LOCAL plan_cache_mode = force_generic_plan; SET LOCAL enable_seqscan = off;

-- part: attempts_charged
-- An attempt that ended through no fault of its own is given back.
CASE
    WHEN outcome.verb = 'complete' OR job.cancel_requested THEN job.attempts
    WHEN outcome.verb = 'snooze' AND job.snoozes >= %(max_snoozes)s THEN job.attempts
    WHEN outcome.verb IN ('release', 'snooze') THEN job.attempts - 1
    -- Another job may have caused the crash: the last attempt of this one is given back.
    WHEN outcome.verb = 'crash' AND job.attempts >= job.max_attempts AND NOT outcome.alone
        THEN job.attempts - 1
    ELSE job.attempts
END

-- part: status_it_leads_to
-- A requested cancel wins over every outcome.
CASE
    WHEN job.cancel_requested THEN 'cancelled'
    WHEN outcome.verb = 'complete' THEN 'succeeded'
    WHEN outcome.verb = 'fail' AND (outcome.delay IS NULL OR job.attempts >= job.max_attempts)
        THEN 'failed_permanent'
    WHEN outcome.verb = 'crash' AND job.attempts >= job.max_attempts AND outcome.alone
        THEN 'failed_permanent'
    -- It has been snoozed as often as is allowed.
    WHEN outcome.verb = 'snooze' AND job.snoozes >= %(max_snoozes)s THEN 'failed_permanent'
    WHEN outcome.verb IN ('release', 'snooze') AND job.attempts <= 1 THEN 'queued'
    ELSE 'retrying'
END

-- part: error_told
CASE
    WHEN outcome.verb = 'snooze' AND job.snoozes >= %(max_snoozes)s AND NOT job.cancel_requested
        THEN 'snoozed more than ' || %(max_snoozes)s || ' times'
    ELSE outcome.error
END

-- part: errors_kept
-- The last failed attempts, this one included. A job that is given back has not failed, whatever is said of it.
CASE WHEN said.error IS NULL OR outcome.verb = 'release' THEN job.errors
    ELSE
        CASE WHEN jsonb_array_length(job.errors) >= %(kept_errors)s THEN job.errors - 0 ELSE job.errors END
        || jsonb_build_object(
            'attempt', job.attempts,
            'started_at', to_char(job.started_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
            'at', to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
            'worker', %(worker_name)s::text,
            'error', said.error)
END

-- name: settle
-- Let each job leave `running` as its outcome says, if the fence still matches; a job that ends moves to history. `alone`
-- marks a crash for which no other job can be blamed; `error_id` is the group of a failed attempt's error.
-- A locked row is skipped, not waited for, so no order of locking is needed. The result is kept in a setting, for a later
-- statement of the message: for each outcome, in their order, the first letter of the new status, or - if it was skipped.
-- `version` is the place of the locked row, by which it is found again without an index.
-- Each row is looked up by its id. Filter on `worker_id`, not `status`: for `status` the planner may pick
-- `job_claimed`, which is full of dead entries while somebody holds a snapshot.
WITH outcome AS MATERIALIZED (
    SELECT *
    FROM unnest(
        %(ids)s::uuid[], %(attempts)s::integer[], %(claims)s::uuid[], %(verbs)s::text[], %(results)s::jsonb[],
        %(errors)s::text[], %(delays)s::double precision[], %(backoffs)s::double precision[], %(alone)s::boolean[],
        %(error_ids)s::bigint[]
    ) WITH ORDINALITY AS outcome (id, attempt, claim, verb, result, error, delay, backoff, alone, error_id, place)
), held AS MATERIALIZED (
    SELECT job.version, outcome.place, outcome.verb, outcome.result, outcome.delay, outcome.backoff, outcome.error_id,
        said.error,
        <<attempts_charged>> AS attempts,
        <<status_it_leads_to>> AS status,
        <<errors_kept>> AS errors
    FROM outcome
    CROSS JOIN LATERAL (
        SELECT ctid AS version, started_at, attempts, max_attempts, snoozes, cancel_requested, errors
        FROM haulier.job
        WHERE id = outcome.id AND attempt = outcome.attempt AND claim = outcome.claim AND worker_id IS NOT NULL
        FOR UPDATE SKIP LOCKED
    ) AS job
    CROSS JOIN LATERAL (
        SELECT <<error_told>> AS error
    ) AS said
), gone AS (
    DELETE FROM haulier.job
    USING held
    WHERE job.ctid = held.version AND held.status IN ('succeeded', 'failed_permanent', 'cancelled')
    RETURNING held.*
), finished AS (
    INSERT INTO haulier.finished_job (<<into_history>>, error_id)
    SELECT <<kept>>,
        gone.status, gone.attempts, crashes + (gone.verb = 'crash')::integer, cancel_requested, operation_id,
        coalesce(gone.error, last_error), gone.errors, now(), now(),
        CASE WHEN gone.status = 'succeeded' THEN gone.result END,
        CASE WHEN gone.status = 'failed_permanent' THEN gone.error_id END
    FROM gone
    -- The row as it was: in this statement's snapshot it is not deleted yet.
    JOIN haulier.job ON job.ctid = gone.version
), kept AS (
    UPDATE haulier.job
    SET status = held.status,
        worker_id = NULL,
        attempts = held.attempts,
        crashes = crashes + (held.verb = 'crash')::integer,
        suspect = suspect OR held.verb = 'crash',
        snoozes = snoozes + (held.verb = 'snooze')::integer,
        backoff = coalesce(held.backoff, job.backoff),
        -- Without a delay the job keeps its place in the queue: it has not been started.
        run_at = CASE WHEN held.delay IS NULL THEN job.run_at ELSE now() + make_interval(secs => held.delay) END,
        last_error = coalesce(held.error, job.last_error),
        errors = held.errors,
        error_id = coalesce(held.error_id, job.error_id),
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

-- name: settle_completed
-- As `settle`, if all outcomes are `complete`, as most are. None leads to another attempt, so nothing else is sent, and each
-- row is read once less. The letters are put in order only if they differ.
WITH outcome AS MATERIALIZED (
    SELECT *
    FROM unnest(%(ids)s::uuid[], %(attempts)s::integer[], %(claims)s::uuid[], %(results)s::jsonb[])
        WITH ORDINALITY AS outcome (id, attempt, claim, result, place)
), held AS MATERIALIZED (
    SELECT job.version, outcome.place, outcome.result
    FROM outcome
    CROSS JOIN LATERAL (
        SELECT ctid AS version
        FROM haulier.job
        WHERE id = outcome.id AND attempt = outcome.attempt AND claim = outcome.claim AND worker_id IS NOT NULL
        FOR UPDATE SKIP LOCKED
    ) AS job
), gone AS (
    DELETE FROM haulier.job
    USING held
    WHERE job.ctid = held.version
    RETURNING place, result, <<kept>>,
        CASE WHEN cancel_requested THEN 'cancelled' ELSE 'succeeded' END AS status,
        attempts, crashes, cancel_requested, operation_id, last_error, errors
), finished AS (
    INSERT INTO haulier.finished_job (<<into_history>>)
    SELECT <<kept>>, status, attempts, crashes, cancel_requested, operation_id, last_error, errors, now(), now(),
        CASE WHEN NOT cancel_requested THEN result END
    FROM gone
)
SELECT set_config('haulier.settled', CASE
    WHEN (SELECT count(*) FROM gone WHERE NOT cancel_requested) = cardinality(%(ids)s::uuid[])
        THEN repeat('s', cardinality(%(ids)s::uuid[]))
    ELSE (
        SELECT string_agg(coalesce(left(gone.status, 1), '-'), '' ORDER BY place)
        FROM outcome
        LEFT JOIN gone USING (place))
    END, false) AS settled;

-- name: note_soon
-- Goes before note_errors: counting a failure must not wait long.
SELECT set_config('lock_timeout', '200ms', true), set_config('statement_timeout', '1s', true);

-- name: note_errors
-- Count the failed attempts that the settle before this, in the same transaction, has settled, by its letters: retrying or
-- failed. `places` are the places of the failed attempts among the outcomes. Only one process of the server writes a row of
-- counts, and a known group is not locked: a process waits only if two bring the same new group at once.
WITH told AS MATERIALIZED (
    SELECT place, error_id, queue, job_id, substr(current_setting('haulier.settled', true), place, 1) AS letter
    FROM unnest(%(places)s::integer[], %(failed_ids)s::bigint[], %(failed_queues)s::text[], %(failed_jobs)s::uuid[])
        AS failed (place, error_id, queue, job_id)
), counted AS MATERIALIZED (
    SELECT * FROM told WHERE letter IN ('f', 'r')
), written AS (
    INSERT INTO haulier.error_count AS known (error_id, minute, queue, source, failed, retried)
    SELECT error_id, date_bin('1 minute', now(), 'epoch'::timestamptz), queue, pg_backend_pid(),
        count(*) FILTER (WHERE letter = 'f'), count(*) FILTER (WHERE letter = 'r')
    FROM counted
    GROUP BY error_id, queue
    ON CONFLICT (error_id, minute, queue, source) DO UPDATE
    SET failed = known.failed + excluded.failed,
        retried = known.retried + excluded.retried
), first AS (
    SELECT DISTINCT ON (error_id) * FROM counted ORDER BY error_id, place
)
INSERT INTO haulier.error_group (id, kind, text, example, example_job, example_queue)
-- The example is the error of the group's first attempt. If its job was not settled, another job has this place; its error
-- was not sent.
SELECT id, kind, text, CASE WHEN place = example_place THEN example ELSE text END, first.job_id, first.queue
FROM unnest(
    %(group_ids)s::bigint[], %(group_kinds)s::text[], %(group_texts)s::text[], %(group_examples)s::text[],
    %(group_places)s::integer[]
) AS new (id, kind, text, example, example_place)
JOIN first ON first.error_id = new.id
-- In the same order everywhere, so that two processes with the same new groups do not wait for each other in a circle.
ORDER BY id
ON CONFLICT (id) DO NOTHING;

-- name: settled
-- The result of the settle before it in the same message. Qualified, since this transaction sets no search_path.
SELECT pg_catalog.current_setting('haulier.settled') AS settled;

-- name: settled_earlier
-- The jobs that were settled although the reply was lost: a settled row keeps its fence.
SELECT jobs.id, jobs.attempt, jobs.claim, jobs.status
FROM haulier.jobs
JOIN unnest(%(ids)s::uuid[], %(attempts)s::integer[], %(claims)s::uuid[]) AS lost (id, attempt, claim)
    ON jobs.id = lost.id AND jobs.attempt = lost.attempt AND jobs.claim = lost.claim
WHERE jobs.id = ANY(%(ids)s::uuid[]) AND jobs.status <> 'running';
