-- Work operations off, a chunk of jobs at a time, by functions of schema.sql.

-- name: take_operation
SELECT id, action, filter, queues, cursor_at, cursor_id, walked_at IS NOT NULL AS is_walked, later[:%(limit)s] AS later,
    coalesce(waits_since < now() - make_interval(secs => %(patience)s), false) AS is_late
FROM haulier.take_operation(%(by_whom)s, %(lease)s, %(only)s);

-- name: work_off
SELECT status, done
FROM haulier.work_off(
    %(id)s, %(by_whom)s, %(lease)s, %(ids)s::uuid[],
    coalesce(%(ended_from)s::timestamptz, '-infinity'), coalesce(%(ended_to)s::timestamptz, 'infinity'),
    %(begun_at)s, %(begun_id)s, %(come_to)s, %(come_to_id)s, %(is_walked)s, %(is_late)s);

-- name: leave_operations
SELECT haulier.leave_operations(%(by_whom)s);

-- name: delay_operation
SELECT haulier.delay_operation(%(id)s, %(by_whom)s, %(text)s, %(may_pass)s);
