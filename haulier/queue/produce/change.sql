-- Change, queue again, copy and delete one job. The functions of schema.sql look at its queue, since it may be moved.

-- part: with_changes
%(id)s, %(changes)s::jsonb, %(seen)s::bytea, %(noted)s::jsonb, %(actor)s, %(queues)s::text[]

-- name: change
SELECT * FROM haulier.change(<<with_changes>>);

-- name: retry
SELECT * FROM haulier.retry(<<with_changes>>);

-- name: copy
SELECT * FROM haulier.copy(<<with_changes>>);

-- name: delete
SELECT haulier.delete(%(id)s, %(actor)s, %(queues)s::text[]) AS is_deleted;
