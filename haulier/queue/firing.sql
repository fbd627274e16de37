-- Fire the ticks of schedules that are due.

-- part: schedule_columns
schedule.name, cron, every_seconds, time_zone, overlap, missed, missed_max, missed_within_seconds, jitter_seconds,
source, paused_since, paused_until, counts_from, decided_to, pending_at

-- name: any_schedule
-- Whether there is any schedule at all.
SELECT EXISTS (SELECT FROM haulier.schedule) AS is_there;

-- name: due_schedules
-- Lock the schedules that are due, unless another worker just decides them. Whether their jobs live is another
-- statement: this one's snapshot is older than the locks, and a worker that had a lock before may have fired since.
-- Without the jobs, which may be large: `fire_ticks` reads them. The size is that of one that it writes; a small one is
-- not measured, which would take longer than the rest.
SELECT <<schedule_columns>>, NULL::jsonb AS job, (SELECT haulier.schedule_time()) AS now,
    CASE WHEN pg_column_size(job) < 1000 THEN 1000 ELSE octet_length(job::text) END AS job_bytes
FROM haulier.schedule
WHERE look_at <= haulier.schedule_time() AND name <> ALL(%(passed_over)s::text[])
    AND (%(only_name)s::text IS NULL OR name = %(only_name)s)
ORDER BY look_at
LIMIT %(limit)s
FOR UPDATE SKIP LOCKED;

-- name: due_names
-- The names of the schedules that are due.
SELECT name
FROM haulier.schedule
WHERE look_at <= haulier.schedule_time() AND name <> ALL(%(passed_over)s::text[])
ORDER BY look_at
LIMIT %(limit)s;

-- name: live_of_schedules
-- Which of these schedules have a live job, and the first of each. The ORDER BY makes it look each up in the index.
SELECT asked.name, live.id
FROM unnest(%(names)s::text[]) AS asked (name)
CROSS JOIN LATERAL (
    SELECT id
    FROM haulier.job
    WHERE schedule = asked.name
    ORDER BY schedule
    LIMIT 1
) AS live;

-- name: move_and_fire
-- In one statement, which locks `schedule` before the function locks `tick` and `job`: the order of schema.sql, which may
-- just be applied again; the other way round each would wait for the other.
WITH moved AS (
    UPDATE haulier.schedule
    SET decided_to = new.decided_to,
        pending_at = new.pending_at,
        next_at = new.next_at,
        look_at = new.look_at
    FROM unnest(%(moved)s::text[], %(decided_tos)s::timestamptz[], %(pendings)s::timestamptz[],
            %(nexts)s::timestamptz[], %(looks)s::timestamptz[]) AS new (name, decided_to, pending_at, next_at, look_at)
    WHERE schedule.name = new.name
)
SELECT haulier.fire_ticks(%(names)s::text[], %(ats)s::timestamptz[], %(outcomes)s::text[]) AS fired;

-- name: next_look
-- In how many seconds the next schedule is due; null where there is none. One that cannot be decided does not count.
SELECT extract(epoch FROM look_at - haulier.schedule_time())::double precision AS seconds
FROM haulier.schedule
WHERE name <> ALL(%(passed_over)s::text[])
ORDER BY look_at
LIMIT 1;
