-- Schedules, acts on them, and their ticks.

-- part: schedules_shown
SELECT <<schedule_columns>>, job, haulier.schedule_time() AS now, next_at, created_at, updated_at
FROM haulier.schedule

-- part: schedule_is_visible
(%(queues)s::text[] IS NULL OR coalesce(job ->> 'queue', 'default') = ANY(%(queues)s::text[]))

-- name: list_schedules
-- The page ends at most_bytes of jobs, but has one schedule at least; `found` is how many there would be without that.
SELECT *
FROM (
    SELECT *, count(*) OVER () AS found,
        coalesce(
            sum(octet_length(job::text)) OVER (ORDER BY name ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0) AS before
    FROM (
        <<schedules_shown>>
        WHERE (%(after_name)s::text IS NULL OR name > %(after_name)s) AND <<schedule_is_visible>>
        ORDER BY name
        LIMIT %(limit)s
    ) AS page
) AS measured
WHERE before < %(most_bytes)s
ORDER BY name;

-- name: get_schedule
<<schedules_shown>>
WHERE name = %(name)s AND <<schedule_is_visible>>;

-- name: lock_schedule
<<schedules_shown>>
WHERE name = %(name)s AND <<schedule_is_visible>>
FOR UPDATE;

-- name: is_same_job
-- Compared here, because in Python true equals 1.
SELECT job = %(rule)s::jsonb -> 'job' AS is_same
FROM haulier.schedule
WHERE name = %(name)s;

-- name: schedule_time
SELECT haulier.schedule_time() AS now;

-- name: put_schedule
SELECT haulier.put_schedule(
    %(name)s, %(rule)s::jsonb, %(counts_from)s, %(next_at)s, %(look_at)s, %(is_new)s, %(noted)s::jsonb, %(actor)s) AS is_put;

-- name: delete_schedule
SELECT haulier.delete_schedule(%(name)s, %(actor)s) AS is_there;

-- name: pause_schedule
SELECT haulier.pause_schedule(%(name)s, %(until)s, %(actor)s) AS became;

-- name: resume_schedule
SELECT haulier.resume_schedule(%(name)s, %(actor)s) AS is_there;

-- name: run_schedule
SELECT haulier.run_schedule(%(name)s, %(actor)s) AS job_id;

-- part: tick_columns
schedule, schedule_id, scheduled_at, outcome, fired_at, decided_at, job_id

-- name: list_ticks
-- Ticks of a deleted schedule come behind the ticks of the schedule that has its name now, even if a clock was ahead then.
SELECT <<tick_columns>>
FROM haulier.tick
WHERE schedule = %(name)s
    AND (%(before)s::timestamptz IS NULL OR (schedule_id, scheduled_at) < (%(before_schedule)s, %(before)s))
ORDER BY schedule_id DESC, scheduled_at DESC
LIMIT %(limit)s;

-- name: last_ticks
-- The last tick of each schedule, and the last that has fired, among its `most` newest: the last one of a paused schedule
-- may be far behind.
SELECT last.*
FROM haulier.schedule AS named
CROSS JOIN LATERAL (
    (
        SELECT <<tick_columns>>
        FROM haulier.tick
        WHERE schedule = named.name AND schedule_id = named.id
        ORDER BY scheduled_at DESC
        LIMIT 1
    )
    UNION
    (
        SELECT <<tick_columns>>
        FROM (
            SELECT <<tick_columns>>
            FROM haulier.tick
            WHERE schedule = named.name AND schedule_id = named.id
            ORDER BY scheduled_at DESC
            LIMIT %(most)s
        ) AS newest
        WHERE outcome = 'fired'
        ORDER BY scheduled_at DESC
        LIMIT 1
    )
) AS last
WHERE named.name = ANY(%(names)s::text[])
ORDER BY schedule, scheduled_at DESC;

-- name: states_of_fired
-- The statuses of jobs that ticks have enqueued, if they are kept and may be seen. Each is looked up by its id, in the
-- partitions since its tick was decided, as in failures_in_a_row.
SELECT asked.id, job.status
FROM unnest(%(ids)s::uuid[], %(ats)s::timestamptz[]) AS asked (id, decided_at)
CROSS JOIN LATERAL (
    SELECT status, queue
    FROM haulier.job
    WHERE id = asked.id
    UNION ALL
    SELECT status, queue
    FROM haulier.finished_job
    WHERE id = asked.id AND finished_at >= asked.decided_at - interval '1 day'
    LIMIT 1
) AS job
WHERE %(queues)s::text[] IS NULL OR job.queue = ANY(%(queues)s::text[]);
