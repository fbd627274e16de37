-- Enqueue one job, one job under an idempotency key, or many jobs.

-- part: assigned_elsewhere
-- Where another cell takes the new jobs of the API key. FOR KEY SHARE locks no row as long as there is none here, but it
-- locks the table in a mode that readers do not use: whoever assigns a key waits for the transactions that have it.
haulier.api_key
WHERE id = %(scope)s AND moved_to IS NOT NULL
FOR KEY SHARE

-- part: due
greatest(now(), %(run_at)s::timestamptz, now() + %(delay)s::interval)

-- part: store_taken
INSERT INTO haulier.job (<<set_by_clients>>, id, idempotency_key, run_at)
SELECT <<as_clients_set_them>>, job_id, %(idempotency_key)s, <<due>>
FROM taken
RETURNING id, run_at, created_at

-- name: enqueue
INSERT INTO haulier.job (<<set_by_clients>>, run_at)
VALUES (<<as_clients_set_them>>, <<due>>)
RETURNING id, run_at, created_at;

-- name: enqueue_in_cell
-- Store the job, unless its API key has moved. Behind a pool, which prepares nothing, that look takes 50 µs. A database that
-- is no cell does not need it.
INSERT INTO haulier.job (<<set_by_clients>>, run_at)
SELECT <<as_clients_set_them>>, <<due>>
WHERE NOT EXISTS (SELECT FROM <<assigned_elsewhere>>)
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
<<store_taken>>;

-- name: enqueue_keyed_in_cell
-- The same, unless the API key has moved.
WITH taken AS (
    INSERT INTO haulier.idempotency (key, fingerprint, job_id)
    SELECT %(scoped_key)s, %(fingerprint)s, haulier.uuidv7()
    WHERE NOT EXISTS (SELECT FROM <<assigned_elsewhere>>)
    ON CONFLICT (key) DO NOTHING
    RETURNING job_id
)
<<store_taken>>;

-- name: times
-- The time of the transaction; the clock's and the cell, for the ids of its next jobs; and where the API key has moved.
SELECT now() AS now, clock_timestamp() AS clock, (SELECT cell FROM haulier.schema_version) AS cell,
    (SELECT moved_to FROM <<assigned_elsewhere>>) AS moved_to;

-- name: moved_to
SELECT moved_to FROM <<assigned_elsewhere>>;

-- name: copy_jobs
-- Many jobs, in 0.6 of the time that an INSERT of arrays takes.
COPY haulier.job (<<set_by_clients>>, id, idempotency_key, run_at)
FROM STDIN;

-- name: which_jobs
SELECT id::text AS id
FROM haulier.jobs
WHERE id = ANY(%(ids)s::uuid[]);
