-- The columns of a job: each list of them that several statements share, or whose order the code has to know.

-- part: set_by_clients
-- What whoever enqueues may say, beside an id, a key and a time; in the order in which COPY sends it (produce/enqueue.py).
kind, payload, queue, priority, max_attempts, timeout_seconds

-- part: as_clients_set_them
%(kind)s, %(payload)s, %(queue)s, %(priority)s, %(max_attempts)s, %(timeout_seconds)s

-- part: claimed
-- What a claim brings to the worker (rows.py).
id, kind, queue, priority, run_at, attempts, max_attempts, timeout_seconds, payload, idempotency_key, last_error, created_at,
attempt, crashes, snoozes, backoff, errors

-- part: kept
-- What a job takes along, as it is, when it ends.
id, kind, queue, priority, run_at, attempt, claim, started_at, max_attempts, snoozes, timeout_seconds, cancel_requested,
payload, idempotency_key, created_at
