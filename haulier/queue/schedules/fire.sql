-- Fire the ticks of schedules that are due.

-- part: schedule_columns
schedule.name, cron, every_seconds, time_zone, overlap, missed, missed_max, missed_within_seconds, jitter_seconds,
source, paused_since, paused_until, counts_from, decided_to, pending_at, look_at, refused_since, refusals, refusal

-- name: any_schedule
SELECT EXISTS (SELECT FROM haulier.schedule) AS is_there;

-- name: due_schedules
-- Lock the schedules that are due, except those that another worker is deciding. Most schedules that are due at one time
-- have the same rule and are decided in the same way, so they share a row: a row for each would take longer than deciding.
-- Schedules whose ticks depend on their names or jobs have a row each. Whether their jobs live is another statement: this
-- one's snapshot is older than the locks, and a worker that held a lock before may have fired since.
-- Without the jobs, which may be large: `fire_ticks` reads them. Their size is rounded up so that few differ in it, and a
-- small job is not measured, because that would take longer than the rest.
SELECT array_agg(name) AS names, min(name) AS name, cron, every_seconds, time_zone, overlap, missed, missed_max,
    missed_within_seconds, jitter_seconds, min(source) AS source, paused_since, paused_until,
    min(counts_from) AS counts_from, decided_to, pending_at, min(look_at) AS look_at, refused_since,
    max(refusals) AS refusals, max(refusal) AS refusal, job_bytes, NULL::jsonb AS job,
    (SELECT haulier.schedule_time()) AS now
FROM (
    SELECT <<schedule_columns>>,
        CASE
            WHEN pg_column_size(job) < 1000 THEN 1000
            ELSE 1000 * 2 ^ ceil(greatest(0, log(2, octet_length(job::text) / 1000.0)))
        END::integer AS job_bytes
    FROM haulier.schedule
    WHERE look_at <= haulier.schedule_time() AND name <> ALL(%(passed_over)s::text[])
        AND (%(only_name)s::text IS NULL OR name = %(only_name)s)
    ORDER BY look_at
    LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED
) AS due
GROUP BY cron, every_seconds, time_zone, overlap, missed, missed_max, missed_within_seconds, jitter_seconds,
    paused_since, paused_until, decided_to, pending_at, refused_since, job_bytes,
    CASE WHEN every_seconds IS NOT NULL THEN counts_from END,
    CASE WHEN jitter_seconds > 0 OR overlap <> 'allow' OR pending_at IS NOT NULL THEN name END
ORDER BY min(look_at);

-- name: live_of_schedules
-- The first live job of each of these schedules. The ORDER BY makes the planner look each up in the index.
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
-- Each decision is sent once, by its number, with its ticks and the names of its schedules.
SELECT haulier.decide_ticks(
    %(names)s, %(decisions)s, %(decided_tos)s, %(pendings)s, %(nexts)s, %(looks)s, %(of_decisions)s, %(ats)s, %(outcomes)s
) AS fired;

-- name: decide_apart
-- Decide some schedules at a time, and each by itself if the database refuses one of them. Return what became of each, and
-- why if it cannot fire.
SELECT tried AS name, became, why
FROM haulier.decide_apart(
    %(apart)s, %(names)s, %(decisions)s, %(decided_tos)s, %(pendings)s, %(nexts)s, %(looks)s, %(of_decisions)s, %(ats)s,
    %(outcomes)s);

-- name: put_off
-- Put off schedules whose time cannot be computed, if the database allows it.
SELECT name, haulier.put_off(name, why, false) AS is_put_off
FROM unnest(%(names)s::text[], %(reasons)s::text[]) AS failed (name, why);

-- name: next_look
-- Seconds until the next schedule is due, without those that cannot be decided; null if there is none.
SELECT extract(epoch FROM look_at - haulier.schedule_time())::double precision AS seconds
FROM haulier.schedule
WHERE name <> ALL(%(passed_over)s::text[])
ORDER BY look_at
LIMIT 1;
