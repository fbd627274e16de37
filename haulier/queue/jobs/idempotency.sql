-- Take idempotency keys, and find who holds them.

-- name: lock_idempotency
-- Keep the key from other callers of this statement until the end of the transaction.
SELECT pg_advisory_xact_lock(hashtextextended(%(scoped_key)s, 0));

-- name: take_idempotency
-- Take the free keys for these jobs. In sorted order, so that two batches never wait for each other in a circle.
INSERT INTO haulier.idempotency (key, fingerprint, job_id)
SELECT asked.key, asked.fingerprint, asked.job_id
FROM unnest(%(keys)s::text[], %(fingerprints)s::bytea[], %(ids)s::uuid[]) AS asked (key, fingerprint, job_id)
ORDER BY asked.key
ON CONFLICT (key) DO NOTHING
RETURNING key;

-- name: find_idempotency
-- The holders of keys that were not free. Its own statement: only a new snapshot sees their rows.
SELECT key, fingerprint, job_id, cell, created_at
FROM haulier.idempotency
WHERE key = ANY(%(keys)s::text[]);
