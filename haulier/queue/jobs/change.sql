-- Change waiting jobs; and what a retry and a copy share with that. `old` is the job before, `given` what a client sends,
-- `new` the result of both, and `written` what is stored.

-- part: with_this_payload
(%(seen)s::bytea IS NULL OR sha256(convert_to(payload::text, 'UTF8')) = %(seen)s)

-- part: given
given AS MATERIALIZED (
    SELECT jsonb_populate_record(NULL::haulier.job, %(changes)s::jsonb) AS job
)

-- part: time_given
-- Null if no time is given. A time that has passed counts as now.
CASE WHEN %(changes)s::jsonb ?| ARRAY['run_at', 'delay_seconds'] THEN
    greatest(
        now(), (given.job).run_at,
        now() + make_interval(secs => (%(changes)s::jsonb ->> 'delay_seconds')::double precision))
END

-- part: later_by_its_place
-- If jobs are to become due over some seconds: how much later than the first one. Multiples of the golden ratio are spread
-- evenly for any number of jobs; the number is not known before the last job.
CASE WHEN %(spread)s::integer > 0 THEN
    make_interval(secs => %(spread)s::integer
        * mod((%(place)s::bigint + array_position(%(ids)s::uuid[], id)) * 0.6180339887498949, 1)::double precision)
ELSE
    interval '0'
END

-- part: as_fields
-- The fields that a client may set, as the audit shows them.
to_jsonb(job) || jsonb_build_object(
    'tags', coalesce(tags, ARRAY[]::text[]), 'run_at', to_char(run_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'))

-- part: differing
-- The fields that differ between `before` and `new`, with both values; no row if none does. `noted` stands for the payloads,
-- without what the kind keeps secret.
differing AS MATERIALIZED (
    SELECT id, jsonb_object_agg(key, CASE
        WHEN key = 'payload' THEN coalesce(%(noted)s::jsonb, jsonb_build_object())
        ELSE jsonb_build_object('old', was.value, 'new', becomes.value)
    END) AS fields
    FROM (SELECT id, <<as_fields>> AS fields FROM (SELECT id, <<set_by_clients>>, run_at FROM before) AS job
        WHERE %(changes)s::jsonb <> jsonb_build_object()) AS before
    JOIN (SELECT id, <<as_fields>> AS fields FROM (SELECT id, <<set_by_clients>>, run_at FROM new) AS job) AS after USING (id)
    CROSS JOIN LATERAL jsonb_each(before.fields) AS was
    JOIN LATERAL jsonb_each(after.fields) AS becomes USING (key)
    WHERE was.value <> becomes.value
    GROUP BY id
)

-- part: elsewhere
elsewhere AS (
    SELECT written.queue, written.kind, written.created_at
    FROM old
    JOIN written USING (id)
    WHERE written.queue <> old.queue
)

-- part: moved
-- Note for searches that jobs are in a queue in which they did not come.
moved AS (
    INSERT INTO haulier.moved (queue, kind, came_at)
    SELECT DISTINCT queue, kind, date_bin('1 minute', created_at, 'epoch'::timestamptz)
    FROM elsewhere
    ORDER BY 1, 2, 3
    ON CONFLICT DO NOTHING
)

-- name: change
-- Change a waiting job, unless nothing differs. It needs more attempts than it has used, or its next attempt would exceed
-- the budget. Workers are woken as for a new job, because they do not know its new place.
WITH <<given>>, old AS MATERIALIZED (
    SELECT *
    FROM haulier.job
    WHERE id = ANY(%(ids)s::uuid[]) AND worker_id IS NULL AND <<in_these_queues>> AND <<with_this_payload>>
    ORDER BY id
    FOR UPDATE
), new AS MATERIALIZED (
    SELECT id, attempts, <<as_given>>, coalesce(<<time_given>>, run_at) AS run_at
    FROM old
    CROSS JOIN given
), before AS (
    SELECT * FROM old
), <<differing>>, written AS (
    UPDATE haulier.job
    SET (<<changeable>>) = ROW (<<changed>>),
        run_at = new.run_at,
        -- As the column itself if it stays: else it would be stored again.
        payload = CASE WHEN fields ? 'payload' THEN new.payload ELSE job.payload END,
        updated_at = now()
    FROM new
    JOIN differing USING (id)
    WHERE job.id = new.id AND job.worker_id IS NULL AND NOT (fields ? 'max_attempts' AND new.max_attempts <= new.attempts)
    RETURNING job.*
), <<elsewhere>>, <<moved>>, recorded AS (
    INSERT INTO haulier.audit (actor, action, job_id, details)
    SELECT %(actor)s::text, 'change', id, jsonb_build_object('kind', kind, 'changes', fields)
    FROM written
    JOIN differing USING (id)
)
SELECT job.*, fields IS NOT NULL AS differs,
    coalesce(fields ? 'max_attempts' AND new.max_attempts <= new.attempts, false) AS has_too_few_attempts,
    CASE WHEN is_written AND fields ?| ARRAY['queue', 'priority', 'run_at'] THEN haulier.wake(ARRAY[job.queue])::text END
FROM (
    SELECT <<live>>, true AS is_written FROM written
    UNION ALL
    SELECT <<live>>, false FROM old WHERE id NOT IN (SELECT id FROM written)
) AS job
JOIN new USING (id)
LEFT JOIN differing USING (id);

-- name: change_all
-- Move waiting jobs, which are locked, to another queue, priority or time. This needs no right to change anything else.
WITH <<given>>, written AS (
    UPDATE haulier.job
    SET queue = coalesce((given.job).queue, job.queue),
        priority = coalesce((given.job).priority, job.priority),
        run_at = coalesce(<<time_given>> + <<later_by_its_place>>, run_at),
        updated_at = now(),
        operation_id = %(operation)s
    FROM given
    WHERE id = ANY(%(ids)s::uuid[]) AND worker_id IS NULL
    RETURNING job.queue, job.kind, job.created_at
), elsewhere AS (
    SELECT queue, kind, created_at
    FROM written
    WHERE %(changes)s::jsonb ? 'queue'
), <<moved>>
SELECT count(*) AS done, haulier.wake(array_agg(DISTINCT queue))::text
FROM written;
