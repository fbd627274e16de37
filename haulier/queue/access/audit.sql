-- The record of what was done by whom.

-- name: note_action
-- What is done to keys; what is done to jobs is noted by the statement that does it.
INSERT INTO haulier.audit (actor, action, key_id)
VALUES (%(actor)s, %(action)s, %(key_id)s);

-- name: list_audit
SELECT id, at, actor, action, job_id, key_id
FROM haulier.audit
WHERE %(before)s::bigint IS NULL OR id < %(before)s
ORDER BY id DESC
LIMIT %(limit)s;
