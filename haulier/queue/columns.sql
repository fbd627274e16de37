-- The columns of a job: each list that several statements share, or on whose order the Python code relies. schema.sql and
-- grants.sql are built with these lists too.

-- part: changeable
-- What a client may set and change, besides the payload and the time.
queue, priority, max_attempts, timeout_seconds, tags

-- part: set_by_clients
-- What a client may set besides id, idempotency key and run_at, in the order in which jobs/enqueue.py sends it.
kind, payload, <<changeable>>

-- part: as_clients_set_them
%(kind)s, %(payload)s, %(queue)s, %(priority)s, %(max_attempts)s, %(timeout_seconds)s, %(tags)s

-- part: as_schedules_set_them
job ->> 'kind', job -> 'payload', coalesce(job ->> 'queue', 'default'), coalesce((job ->> 'priority')::smallint, 0),
coalesce((job ->> 'max_attempts')::integer, 3), (job ->> 'timeout_seconds')::integer,
CASE WHEN jsonb_typeof(job -> 'tags') = 'array' THEN nullif(ARRAY(SELECT jsonb_array_elements_text(job -> 'tags')), '{}') END

-- part: as_given
-- What a client may set, as a change makes it; see change.sql.
kind,
coalesce((given.job).payload, payload) AS payload,
coalesce((given.job).queue, queue) AS queue,
coalesce((given.job).priority, priority) AS priority,
coalesce((given.job).max_attempts, max_attempts) AS max_attempts,
coalesce((given.job).timeout_seconds, timeout_seconds) AS timeout_seconds,
CASE WHEN %(changes)s::jsonb ? 'tags' THEN nullif((given.job).tags, ARRAY[]::text[]) ELSE tags END AS tags

-- part: changed
new.queue, new.priority, new.max_attempts, new.timeout_seconds, new.tags

-- part: updated_by_the_api
payload, <<changeable>>, run_at, cancel_requested, operation_id, updated_at

-- part: updated_by_workers
-- Nothing of what a live job does.
status, worker_id, claim, attempt, attempts, started_at, updated_at, crashes, suspect, snoozes, backoff, run_at, last_error,
errors, error_id, queue, priority, cancel_requested, operation_id

-- part: claimed
-- What a claim returns to the worker (rows.py).
id, <<set_by_clients>>, run_at, attempts, idempotency_key, last_error, created_at, attempt, crashes, snoozes, backoff,
errors, schedule, scheduled_for

-- part: kept
-- What moves to finished_job unchanged when a job ends.
payload, <<kept_of_any_size>>

-- part: kept_of_any_size
-- All of that but the payload, which may be too large to be moved.
id, kind, <<changeable>>, run_at, attempt, claim, started_at, snoozes, idempotency_key, created_at, worker_id, copy_of,
schedule, scheduled_for

-- part: into_history
-- What finished_job gets when a job ends: first what is kept, then what each end writes in this order.
<<kept>>,
status, attempts, crashes, cancel_requested, operation_id, last_error, errors, updated_at, finished_at, result

-- part: kept_by_a_retry
-- What moves back from finished_job unchanged, besides what a client may set.
id, attempt, claim, started_at, crashes, idempotency_key, last_error, errors, created_at, copy_of, schedule, scheduled_for

-- part: live
-- A live job, as rows.py reads it. Spelled out, because a prepared statement fails once the columns that it returns change.
<<in_both_tables>>, backoff

-- part: in_both_tables
id, status, <<set_by_clients>>, run_at, worker_id, attempt, claim, started_at, attempts, crashes, snoozes, cancel_requested,
idempotency_key, last_error, errors, created_at, updated_at, copy_of, schedule, scheduled_for
