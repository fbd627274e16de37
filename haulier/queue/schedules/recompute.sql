-- Correct when schedules are due next, which is a cache.

-- name: schedules_to_recompute
-- Locked, so that a worker that fires them meanwhile is not overwritten. A locked schedule is being decided, and skipped.
-- Without the jobs, which may be large.
SELECT <<schedule_columns>>, NULL::jsonb AS job
FROM haulier.schedule
WHERE %(after_name)s::text IS NULL OR schedule.name > %(after_name)s
ORDER BY schedule.name
LIMIT %(limit)s
FOR UPDATE SKIP LOCKED;

-- name: correct_schedules
-- Looking at a schedule too early does no harm. A schedule that cannot fire stays put off.
UPDATE haulier.schedule
SET next_at = corrected.next_at,
    look_at = CASE WHEN refusals = 0 THEN least(schedule.look_at, corrected.look_at) ELSE schedule.look_at END
FROM unnest(%(names)s::text[], %(nexts)s::timestamptz[], %(looks)s::timestamptz[]) AS corrected (name, next_at, look_at)
WHERE schedule.name = corrected.name
    AND (
        schedule.next_at IS DISTINCT FROM corrected.next_at
        OR (refusals = 0 AND schedule.look_at > corrected.look_at))
RETURNING schedule.name;
