-- The one filter of jobs, for lists, counts, previews and operations.

-- part: within
-- The times of a filter, and a cursor: the indexes of the newest jobs have these.
(%(created_after)s::timestamptz IS NULL OR created_at > %(created_after)s)
AND (%(created_before)s::timestamptz IS NULL OR created_at < %(created_before)s)
AND (%(after_at)s::timestamptz IS NULL OR (created_at, id) < (%(after_at)s, %(after_id)s::uuid))

-- part: failed_with
-- Jobs of a group of errors, in the words of its two indexes.
(%(error_id)s::bigint IS NULL OR error_id = %(error_id)s AND status = 'failed_permanent')

-- part: to_be_retried_after
(%(error_id)s::bigint IS NULL OR error_id = %(error_id)s AND status = 'retrying')

-- part: of_any
-- What every table and list of jobs has.
(%(statuses)s::text[] IS NULL OR status = ANY(%(statuses)s::text[]))
AND (%(kinds)s::text[] IS NULL OR kind = ANY(%(kinds)s::text[]))
AND (%(queues)s::text[] IS NULL OR queue = ANY(%(queues)s::text[]))

-- part: with
-- What only the job's own row has.
(%(tags)s::text[] IS NULL OR tags && %(tags)s::text[])
AND (%(worker)s::uuid IS NULL OR worker_id = %(worker)s::uuid)
AND (%(idempotency_key)s::text IS NULL OR idempotency_key = %(idempotency_key)s)
AND (%(attempts_min)s::integer IS NULL OR attempts >= %(attempts_min)s)
AND (%(finished_after)s::timestamptz IS NULL OR finished_at > %(finished_after)s)
AND (%(finished_before)s::timestamptz IS NULL OR finished_at < %(finished_before)s)
AND (%(paths)s::text[] IS NULL OR NOT EXISTS (
    SELECT
    FROM unnest(%(paths)s::text[], %(texts)s::text[]) AS asked (path, text)
    WHERE payload #>> string_to_array(asked.path, '.') IS DISTINCT FROM asked.text))

-- part: wanted
-- The conditions of a filter without its times: each job is checked for these, newest first.
<<of_any>>
AND <<with>>

-- part: running_and_wanted
-- The same for a running job: its row is read only if the list of running jobs does not have what the filter names.
<<of_any>>
AND (
    coalesce(
        %(tags)s::text[]::text, %(worker)s::uuid::text, %(idempotency_key)s, %(attempts_min)s::text, %(paths)s::text) IS NULL
    OR EXISTS (SELECT FROM (SELECT * FROM haulier.jobs WHERE id = running.id LIMIT 1) AS job WHERE <<with>>))
