-- How far running jobs have come.

-- name: progress_limits
-- Goes before `write_progress` in the same message. The heartbeat sends it, and must wait neither for locks nor for the
-- disk: what is lost with the server is written again a second later. array_nulls: see `begin`.
SELECT set_config('lock_timeout', %(lock_milliseconds)s::integer::text, true),
    set_config('synchronous_commit', 'off', true), set_config('array_nulls', 'on', true);

-- name: write_progress
-- Write what handlers have said, each under its claim if that is still the job's, and delete the rows of claims that this
-- worker has ended. All rows are this worker's, and no job is locked, so no order of locking is needed. Each job is looked
-- up by its id: see `lock_held`.
WITH over AS (
    DELETE FROM haulier.progress
    USING unnest(%(over_ids)s::uuid[], %(over_claims)s::uuid[]) AS ended (id, claim)
    WHERE progress.job_id = ended.id AND progress.claim = ended.claim
)
INSERT INTO haulier.progress (job_id, claim, done, total, note, at, first_done, first_at)
SELECT said.id, said.claim, done, total, note, moment.at, done, moment.at
FROM unnest(
    %(ids)s::uuid[], %(attempts)s::integer[], %(claims)s::uuid[], %(dones)s::double precision[],
    %(totals)s::double precision[], %(notes)s::text[], %(seconds_ago)s::double precision[]
) AS said (id, attempt, claim, done, total, note, seconds)
CROSS JOIN LATERAL (SELECT now() - make_interval(secs => said.seconds) AS at) AS moment
CROSS JOIN LATERAL (
    SELECT
    FROM haulier.job
    WHERE id = said.id AND attempt = said.attempt AND claim = said.claim AND worker_id = %(worker)s
    LIMIT 1
) AS job
ON CONFLICT (job_id, claim) DO UPDATE
SET done = excluded.done, total = excluded.total, note = excluded.note, at = excluded.at,
    -- A handler that counts from the beginning again has a new rate.
    first_done = CASE WHEN excluded.done < progress.done THEN excluded.done ELSE progress.first_done END,
    first_at = CASE WHEN excluded.done < progress.done THEN excluded.at ELSE progress.first_at END
RETURNING job_id;
