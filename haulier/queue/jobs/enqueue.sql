-- Enqueue one job, one job under an idempotency key, or many jobs.

-- name: enqueue
INSERT INTO haulier.job (<<set_by_clients>>, run_at)
VALUES (<<as_clients_set_them>>,
    greatest(now(), %(run_at)s::timestamptz, now() + %(delay)s::interval))
RETURNING id, run_at, created_at;

-- name: enqueue_keyed
-- Take the idempotency key and store the job, or do neither if the key is taken. If another transaction is taking the key,
-- this waits for it.
WITH taken AS (
    INSERT INTO haulier.idempotency (key, fingerprint, job_id)
    VALUES (%(scoped_key)s, %(fingerprint)s, haulier.uuidv7())
    ON CONFLICT (key) DO NOTHING
    RETURNING job_id
)
INSERT INTO haulier.job (<<set_by_clients>>, id, idempotency_key, run_at)
SELECT <<as_clients_set_them>>, job_id, %(idempotency_key)s,
    greatest(now(), %(run_at)s::timestamptz, now() + %(delay)s::interval)
FROM taken
RETURNING id, run_at, created_at;

-- name: times
-- The time of the transaction, and the clock's and the cell for the ids of its next jobs.
SELECT now() AS now, clock_timestamp() AS clock, (SELECT cell FROM haulier.schema_version) AS cell;

-- name: copy_jobs
-- Many jobs, in 0.6 of the time that an INSERT of arrays takes.
COPY haulier.job (<<set_by_clients>>, id, idempotency_key, run_at)
FROM STDIN;

-- name: which_jobs
SELECT id::text AS id
FROM haulier.jobs
WHERE id = ANY(%(ids)s::uuid[]);
