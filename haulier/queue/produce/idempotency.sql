-- Who holds an idempotency key.

-- name: take_idempotency
-- Take the idempotency keys that nobody holds, for these jobs. In sorted order: two batches then never wait for each
-- other in a circle.
INSERT INTO haulier.idempotency (key, fingerprint, job_id)
SELECT asked.key, asked.fingerprint, asked.job_id
FROM unnest(%(keys)s::text[], %(fingerprints)s::bytea[], %(ids)s::uuid[]) AS asked (key, fingerprint, job_id)
ORDER BY asked.key
ON CONFLICT (key) DO NOTHING
RETURNING key;

-- name: find_idempotency
-- Who holds the keys that could not be taken. A statement of its own: only a new snapshot sees the winner's row.
SELECT key, fingerprint, job_id
FROM haulier.idempotency
WHERE key = ANY(%(keys)s::text[]);
