-- The columns of a job: each list that several statements share, or on whose order the Python code relies.

-- part: set_by_clients
-- What a client may set besides id, idempotency key and run_at, in the order in which produce/enqueue.py sends it.
kind, payload, queue, priority, max_attempts, timeout_seconds, tags

-- part: as_clients_set_them
%(kind)s, %(payload)s, %(queue)s, %(priority)s, %(max_attempts)s, %(timeout_seconds)s, %(tags)s

-- part: claimed
-- What a claim returns to the worker (rows.py).
id, kind, queue, priority, run_at, attempts, max_attempts, timeout_seconds, payload, idempotency_key, last_error, created_at,
attempt, crashes, snoozes, backoff, errors, tags, schedule, scheduled_for

-- part: kept
-- What moves to finished_job unchanged when a job ends.
payload, <<kept_of_any_size>>

-- part: kept_of_any_size
-- All of that but the payload, which may be too large to be moved.
id, kind, queue, priority, run_at, attempt, claim, started_at, max_attempts, snoozes, timeout_seconds, idempotency_key,
created_at, tags, worker_id, copy_of, schedule, scheduled_for

-- part: into_history
-- What finished_job gets when a job ends: first what is kept, then what each end writes in this order.
<<kept>>,
status, attempts, crashes, cancel_requested, operation_id, last_error, errors, updated_at, finished_at, result

-- part: kept_by_a_retry
-- What moves back from finished_job unchanged, besides what a client may set.
id, attempt, claim, started_at, crashes, idempotency_key, last_error, errors, created_at, copy_of, schedule, scheduled_for

-- part: live
-- A live job, as rows.py reads it. Spelled out, because a prepared statement fails once the columns that it returns change.
id, status, kind, queue, priority, run_at, worker_id, attempt, claim, started_at, attempts, max_attempts, crashes, snoozes,
backoff, timeout_seconds, cancel_requested, payload, idempotency_key, last_error, errors, created_at, updated_at, tags, copy_of,
schedule, scheduled_for
