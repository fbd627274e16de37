-- Assign an API key to another cell. These statements run under the owner of each cell's schema.

-- name: may_assign
SELECT bool_and(has_table_privilege('haulier.' || name, privilege)) AS is_allowed
FROM unnest(ARRAY['api_key', 'idempotency', 'audit']) AS name
CROSS JOIN unnest(ARRAY['SELECT', 'INSERT', 'UPDATE']) AS privilege;

-- name: lock_key_row
-- The key with all its columns. Two commands that assign it at once take turns by this lock.
SELECT moved_to, revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now()) AS is_good, created_at, hash,
    to_jsonb(api_key)::text AS whole
FROM haulier.api_key
WHERE id = %(key_id)s
FOR NO KEY UPDATE;

-- name: put_key
-- Copy the key of another cell over the one here, if any, but for when it was used here. It is not recorded, because the
-- record says in both cells which cell it is assigned to.
INSERT INTO haulier.api_key
SELECT copied.*
FROM jsonb_populate_record(NULL::haulier.api_key, %(whole)s::jsonb || jsonb_build_object('moved_to', %(moved_to)s)) AS copied
ON CONFLICT (id) DO UPDATE
SET (name, hash, previous_hash, previous_until, scopes, queues, rate_limit, expires_at, moved_to)
    = (excluded.name, excluded.hash, excluded.previous_hash, excluded.previous_until, excluded.scopes, excluded.queues,
        excluded.rate_limit, excluded.expires_at, excluded.moved_to);

-- name: assign_key
-- Close the key here, or open it, and record which cell takes its new jobs from now on.
WITH assigned AS (
    UPDATE haulier.api_key
    SET moved_to = %(moved_to)s
    WHERE id = %(key_id)s AND moved_to IS DISTINCT FROM %(moved_to)s
    RETURNING id, name
)
INSERT INTO haulier.audit (actor, action, key_id, details)
SELECT 'cli', 'assign_key', id, jsonb_build_object('name', name, 'cell', %(cell)s)
FROM assigned;

-- name: transactions_under_way
-- The transactions that are open in this database, and of each whether it has looked where the new jobs of a key go: such
-- a look has this lock (the part `assigned_elsewhere` of enqueue.sql), and else only acts on keys do.
SELECT virtualtransaction AS transaction, pg_locks.pid,
    bool_or(coalesce(relation = 'haulier.api_key'::regclass AND mode = 'RowShareLock', false)) AS has_looked
FROM pg_locks
JOIN pg_stat_activity ON pg_stat_activity.pid = pg_locks.pid
WHERE datid = (SELECT oid FROM pg_database WHERE datname = current_database()) AND pg_locks.pid <> pg_backend_pid()
GROUP BY virtualtransaction, pg_locks.pid;

-- name: records_of_key
-- The next idempotency records of an API key, and the cell that has the job of each, as the other cell stores it.
SELECT key, fingerprint, job_id, created_at, nullif(coalesce(cell, %(cell)s), %(other_cell)s) AS cell
FROM haulier.idempotency
WHERE key > %(after_record)s AND key < %(before_record)s
    AND created_at >= coalesce(%(since)s::timestamptz, '-infinity')
ORDER BY key
LIMIT %(limit)s;

-- name: put_records
-- Of two records of a key the younger stays: the key was used again once the other cell had forgotten it.
INSERT INTO haulier.idempotency AS held (key, fingerprint, job_id, created_at, cell)
SELECT *
FROM unnest(%(keys)s::text[], %(fingerprints)s::bytea[], %(ids)s::uuid[], %(ats)s::timestamptz[], %(cells)s::smallint[])
ON CONFLICT (key) DO UPDATE
SET (fingerprint, job_id, created_at, cell)
    = (excluded.fingerprint, excluded.job_id, excluded.created_at, excluded.cell)
WHERE excluded.created_at > held.created_at;
