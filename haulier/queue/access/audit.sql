-- The audit: who did what.

-- name: note_action
-- For acts on API keys. An act on a job is recorded by the statement that performs it.
INSERT INTO haulier.audit (actor, action, key_id)
VALUES (%(actor)s, %(action)s, %(key_id)s);

-- name: list_audit
SELECT id, at, actor, action, job_id, key_id, target
FROM haulier.audit
WHERE %(before)s::bigint IS NULL OR id < %(before)s
ORDER BY id DESC
LIMIT %(limit)s;
