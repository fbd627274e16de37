-- How schedules are.

-- part: firing_workers
-- A quiet worker fires schedules, a stopping one does not.
SELECT count(*)
FROM haulier.worker
WHERE beat_at >= now() - lease AND NOT stopping

-- name: explain_schedule
SELECT <<schedule_columns>>, job, haulier.schedule_time() AS now,
    (SELECT id FROM haulier.job WHERE job.schedule = %(name)s ORDER BY job.schedule LIMIT 1) AS live_job,
    (<<firing_workers>>) AS workers
FROM haulier.schedule
WHERE name = %(name)s AND <<schedule_is_visible>>;

-- part: does_not_pass
(
    paused_since IS NULL OR paused_until <= next_at
    OR (paused_since > next_at AND paused_until <= haulier.schedule_time()))

-- name: overdue_schedules
-- A schedule is not overdue before `look_at`: a tick may wait for its jitter, and a schedule with many ticks to decide is
-- looked at again and again. Ticks that pass because of a pause do not count. A schedule that cannot fire is put off, so
-- its ticks are due since it was first refused.
SELECT count(*) FILTER (WHERE due_seconds >= %(due_for)s)::integer AS schedules,
    count(*) FILTER (WHERE due_seconds >= %(due_for)s AND is_refused)::integer AS refused,
    coalesce(max(due_seconds), 0) AS oldest_seconds,
    (<<firing_workers>>)::integer AS workers
FROM (
    (
        SELECT extract(epoch FROM haulier.schedule_time() - greatest(look_at, next_at))::double precision AS due_seconds,
            false AS is_refused
        FROM haulier.schedule
        WHERE look_at <= haulier.schedule_time() AND next_at <= haulier.schedule_time() AND refused_since IS NULL
            AND <<does_not_pass>>
        ORDER BY look_at
        LIMIT %(limit)s
    )
    UNION ALL
    (
        SELECT extract(epoch FROM haulier.schedule_time() - refused_since)::double precision, true
        FROM haulier.schedule
        WHERE refused_since IS NOT NULL AND <<does_not_pass>>
        ORDER BY refused_since
        LIMIT %(limit)s
    )
) AS due;

-- name: failures_in_a_row
-- How many of the last jobs of each schedule failed permanently, back to the first that did not. At most `most` of its newest
-- ticks are read, and none behind the last job that counts. A job ends after its tick was decided, so older partitions
-- are not read, except for a day by which the clock may have been set back.
SELECT asked.name, (
        SELECT count(*) FILTER (WHERE failed = place)::integer
        FROM (
            SELECT row_number() OVER newest AS place,
                count(*) FILTER (WHERE status = 'failed_permanent') OVER newest AS failed
            FROM (
                SELECT fired.scheduled_at, ended.status
                FROM (
                    SELECT scheduled_at, decided_at, job_id
                    FROM haulier.tick
                    WHERE tick.schedule = asked.name AND tick.schedule_id = asked.id
                    ORDER BY tick.schedule DESC, tick.schedule_id DESC, scheduled_at DESC
                    LIMIT %(most)s
                ) AS fired
                CROSS JOIN LATERAL (
                    SELECT status
                    FROM haulier.finished_job
                    WHERE id = fired.job_id AND finished_at >= fired.decided_at - interval '1 day'
                    LIMIT 1
                ) AS ended
                ORDER BY fired.scheduled_at DESC
                LIMIT %(count)s
            ) AS last
            WINDOW newest AS (ORDER BY scheduled_at DESC)
        ) AS numbered
    ) AS failures
FROM (
    SELECT name, id
    FROM haulier.schedule
    WHERE %(after_name)s::text IS NULL OR name > %(after_name)s
    ORDER BY name
    LIMIT %(limit)s
) AS asked
ORDER BY asked.name;

-- part: last_outcomes
-- What became of the newest ticks of a schedule, the newest first; null if it has none.
SELECT array_agg(outcome ORDER BY scheduled_at DESC) AS outcomes
FROM (
    SELECT outcome, scheduled_at
    FROM haulier.tick
    WHERE tick.schedule = asked.name AND tick.schedule_id = asked.id
        AND (NOT %(since_change)s OR decided_at > asked.updated_at)
    ORDER BY tick.schedule DESC, tick.schedule_id DESC, scheduled_at DESC
    LIMIT %(most)s
) AS newest

-- name: newest_outcomes
SELECT name, outcomes
FROM haulier.schedule AS asked
CROSS JOIN LATERAL (<<last_outcomes>>) AS ticks
WHERE name = ANY(%(names)s::text[]) AND outcomes IS NOT NULL;

-- name: outcomes_of_overlapping
-- Of the schedules that skip a tick if a run before is still going, unless they are paused.
SELECT name, source, outcomes
FROM (
    SELECT name, id, updated_at, source
    FROM haulier.schedule
    WHERE overlap <> 'allow' AND <<schedule_is_visible>>
        AND (paused_since IS NULL OR paused_since > haulier.schedule_time() OR paused_until <= haulier.schedule_time())
    ORDER BY name
    LIMIT %(limit)s
) AS asked
CROSS JOIN LATERAL (<<last_outcomes>>) AS ticks
ORDER BY name;
