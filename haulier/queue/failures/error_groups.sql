-- The groups of failed attempts, and how often each was seen.

-- part: may_be_seen
-- Counts of these queues. The sources are listed so that the index is used for each.
(source IN (0, -300, -900, -3600) OR source > 0)
AND (%(queue)s::text IS NULL OR error_count.queue = %(queue)s)
AND (%(queues)s::text[] IS NULL OR error_count.queue = ANY(%(queues)s::text[]))

-- part: by_step
-- The counts, by the steps of the series.
date_bin(make_interval(secs => %(series_seconds)s), minute, 'epoch'::timestamptz) AS at,
sum(failed)::bigint AS failed, sum(retried)::bigint AS retried

-- part: span_began
-- The span ends with the step of the series that is under way.
date_bin(make_interval(secs => %(series_seconds)s), now(), 'epoch'::timestamptz)
    + make_interval(secs => %(series_seconds)s) - make_interval(secs => %(span_seconds)s)

-- part: shown_of_group
-- A caller that may see only some queues sees the counts of these, and an example only if it is of one of them.
error_group.id, kind, text, muted_until,
CASE WHEN %(queues)s::text[] IS NULL OR example_queue = ANY(%(queues)s::text[]) THEN example END AS example,
CASE WHEN %(queues)s::text[] IS NULL OR example_queue = ANY(%(queues)s::text[]) THEN example_job END AS example_job,
CASE
    WHEN %(queues)s::text[] IS NULL THEN first_seen
    ELSE (SELECT min(minute) FROM haulier.error_count WHERE error_id = error_group.id AND <<may_be_seen>>)
END AS first_seen

-- part: shown_of_page
<<shown_of_group>>, page.last_seen, page.failed, page.retried, <<span_began>> AS span_from

-- part: is_wanted
-- A text is looked for in the group's text, and in its example as far as the caller may see that: whoever finds a masked
-- word knows it.
(%(kind)s::text IS NULL OR kind = %(kind)s)
AND (
    %(text)s::text IS NULL OR strpos(lower(text), lower(%(text)s)) > 0
    OR (
        strpos(lower(example), lower(%(text)s)) > 0 AND kind <> ALL (%(masked_kinds)s::text[])
        AND (%(queues)s::text[] IS NULL OR example_queue = ANY(%(queues)s::text[]))
    )
)
AND (%(is_muted)s::boolean IS NULL OR coalesce(muted_until > now(), false) = %(is_muted)s)

-- name: list_errors
-- The groups that were seen in the span, last seen or most frequent first, and how many there are of all pages; one row
-- without a group if the page has none.
WITH matching AS MATERIALIZED (
    SELECT seen.*, CASE WHEN %(most_first)s THEN failed + retried END AS frequency
    FROM (
        SELECT error_id, max(minute) AS last_seen, sum(failed)::bigint AS failed, sum(retried)::bigint AS retried
        FROM haulier.error_count
        WHERE minute >= <<span_began>> AND <<may_be_seen>>
        GROUP BY error_id
    ) AS seen
    JOIN haulier.error_group ON error_group.id = error_id
    WHERE <<is_wanted>>
), page AS MATERIALIZED (
    SELECT *
    FROM matching
    WHERE %(after_at)s::timestamptz IS NULL OR (last_seen, error_id) < (%(after_at)s, %(after_error)s::bigint)
    ORDER BY frequency DESC, last_seen DESC, error_id DESC
    LIMIT %(limit)s OFFSET %(offset)s
), total AS (
    SELECT count(*)::integer AS all_groups, coalesce(sum(failed), 0)::bigint AS all_failed,
        coalesce(sum(retried), 0)::bigint AS all_retried
    FROM matching
)
SELECT <<shown_of_page>>, total.*
FROM total
LEFT JOIN page ON true
LEFT JOIN haulier.error_group ON error_group.id = page.error_id
ORDER BY page.frequency DESC, page.last_seen DESC, page.error_id DESC;

-- part: as_series
-- The steps, as Python reads them.
SELECT jsonb_agg(jsonb_build_array(extract(epoch FROM step.at), step.failed, step.retried))

-- name: errors_at_once
-- The groups that were seen in the span, the most frequent first, with the series of the first of them and of all groups
-- together. The counts are read once for both, then those of the few groups whose series is drawn.
WITH counted AS MATERIALIZED (
    SELECT error_id, minute, max(minute) AS last_seen, sum(failed)::bigint AS failed, sum(retried)::bigint AS retried
    FROM haulier.error_count
    WHERE minute >= <<span_began>> AND <<may_be_seen>>
    GROUP BY GROUPING SETS ((error_id), (minute))
), page AS MATERIALIZED (
    SELECT row_number() OVER (ORDER BY failed + retried DESC, last_seen DESC, error_id DESC) AS place,
        error_id, last_seen, failed, retried
    FROM counted
    WHERE EXISTS (SELECT FROM haulier.error_group WHERE error_group.id = counted.error_id)
    ORDER BY place
    LIMIT %(limit)s
)
SELECT <<shown_of_page>>,
    ARRAY(
        SELECT DISTINCT error_count.queue
        FROM haulier.error_count
        WHERE error_id = page.error_id AND minute >= <<span_began>> AND <<may_be_seen>>
        LIMIT %(most_queues)s
    ) AS seen_in,
    CASE WHEN place <= %(drawn)s THEN (
        <<as_series>>
        FROM (
            SELECT <<by_step>>
            FROM haulier.error_count
            WHERE error_id = page.error_id AND minute >= <<span_began>> AND <<may_be_seen>>
            GROUP BY 1
        ) AS step
    ) END AS series,
    CASE WHEN coalesce(place, 1) = 1 THEN (
        <<as_series>>
        FROM (SELECT <<by_step>> FROM counted WHERE minute IS NOT NULL GROUP BY 1) AS step
    ) END AS series_of_all
FROM (SELECT 1) AS one
LEFT JOIN page ON true
LEFT JOIN haulier.error_group ON error_group.id = page.error_id
ORDER BY place;

-- name: get_error
SELECT <<shown_of_group>>, coalesce(seen.last_seen, first_seen) AS last_seen,
    coalesce(seen.failed, 0)::bigint AS failed, coalesce(seen.retried, 0)::bigint AS retried, <<span_began>> AS span_from
FROM haulier.error_group
CROSS JOIN LATERAL (
    SELECT max(minute) AS last_seen, sum(failed) FILTER (WHERE minute >= <<span_began>>) AS failed,
        sum(retried) FILTER (WHERE minute >= <<span_began>>) AS retried
    FROM haulier.error_count
    WHERE error_id = error_group.id AND <<may_be_seen>>
) AS seen
WHERE error_group.id = %(error_id)s AND (%(queues)s::text[] IS NULL OR seen.last_seen IS NOT NULL);

-- name: errors_by_id
-- Groups without their counts. A group that was not seen in the caller's queues has no first_seen.
SELECT shown.*, first_seen AS last_seen, 0::bigint AS failed, 0::bigint AS retried
FROM (SELECT <<shown_of_group>> FROM haulier.error_group WHERE error_group.id = ANY(%(failed_ids)s::bigint[])) AS shown
WHERE first_seen IS NOT NULL;

-- name: series_of_errors
SELECT error_id, <<by_step>>
FROM haulier.error_count
WHERE error_id = ANY(%(failed_ids)s::bigint[]) AND minute >= %(span_from)s AND <<may_be_seen>>
GROUP BY error_id, at;

-- name: failed_attempts
-- Those of all groups together, by the step; one row without a step if there are none. By the minute first: the step of a
-- minute is then reckoned once, and not for each group.
SELECT span_from, counted.*
FROM (SELECT <<span_began>> AS span_from) AS span
LEFT JOIN (
    SELECT <<by_step>>
    FROM (
        SELECT minute, sum(failed) AS failed, sum(retried) AS retried
        FROM haulier.error_count
        WHERE minute >= <<span_began>> AND <<may_be_seen>>
        GROUP BY minute
    ) AS by_minute
    GROUP BY 1
) AS counted ON true;

-- part: first_failed
-- As many of a group's jobs as a bound allows. In the order of the index: else a partition might be read whole if most of
-- its failures are expected to be of one group.
SELECT id
FROM haulier.finished_job
WHERE finished_job.error_id = asked.error_id AND status = 'failed_permanent'
    AND (%(queues)s::text[] IS NULL OR queue = ANY(%(queues)s::text[]))
ORDER BY finished_job.error_id, created_at, id
LIMIT %(most)s

-- part: first_retrying
SELECT id
FROM haulier.job
WHERE job.error_id = asked.error_id AND status = 'retrying'
    AND (%(queues)s::text[] IS NULL OR queue = ANY(%(queues)s::text[]))
ORDER BY job.error_id, created_at, id
LIMIT %(most)s

-- name: failed_of_errors
-- How many jobs of each of some groups have failed permanently, up to a bound.
SELECT asked.error_id, (SELECT count(*) FROM (<<first_failed>>) AS found) AS failed
FROM unnest(%(failed_ids)s::bigint[]) AS asked (error_id);

-- name: mended_errors
-- The groups of which no job is left that has failed permanently or is to be retried.
SELECT asked.error_id
FROM unnest(%(failed_ids)s::bigint[]) AS asked (error_id)
WHERE (<<first_retrying>>) IS NULL AND (<<first_failed>>) IS NULL;

-- name: queues_of_error
-- In which queues it was seen in the span, those with the most failures first; of each also by the step.
WITH counted AS (
    SELECT queue, <<by_step>>
    FROM haulier.error_count
    WHERE error_id = %(error_id)s AND minute >= %(span_from)s AND <<may_be_seen>>
    GROUP BY queue, at
)
SELECT queue, sum(failed)::bigint AS failed, sum(retried)::bigint AS retried, array_agg(at ORDER BY at) AS ats,
    array_agg(failed ORDER BY at) AS failed_at, array_agg(retried ORDER BY at) AS retried_at
FROM counted
GROUP BY queue
ORDER BY sum(failed + retried) DESC, queue
LIMIT %(limit)s;

-- name: jobs_of_error
-- How many of its jobs have failed permanently, and how many are to be retried, up to a bound; and whether the first one
-- is still kept.
SELECT (SELECT count(*) FROM (<<first_failed>>) AS found) AS failed,
    (SELECT count(*) FROM (<<first_retrying>>) AS found) AS retrying,
    EXISTS (
        SELECT FROM haulier.jobs WHERE id = (SELECT example_job FROM haulier.error_group WHERE id = asked.error_id)
    ) AS is_first_kept
FROM (SELECT %(error_id)s::bigint AS error_id) AS asked;

-- name: mute_errors
SELECT haulier.mute_errors(%(error_id)s, %(until)s, %(actor)s) AS is_there;
