-- Sum the counts of failed attempts, a bounded number of rows at a time.

-- part: taken_and_summed
-- Move what was taken out into rows of this source.
INSERT INTO haulier.error_count AS known (error_id, minute, queue, source, failed, retried)
SELECT error_id, minute, queue, source, sum(failed), sum(retried)
FROM taken
GROUP BY error_id, minute, queue, source
ON CONFLICT (error_id, minute, queue, source) DO UPDATE
SET failed = known.failed + excluded.failed,
    retried = known.retried + excluded.retried

-- name: fold_error_sources
-- After 2 minutes no transaction writes to a minute any more.
WITH taken AS (
    DELETE FROM haulier.error_count
    WHERE ctid = ANY (ARRAY(
        SELECT ctid
        FROM haulier.error_count
        WHERE source > 0 AND minute < now() - interval '2 minutes'
        ORDER BY source, minute
        <<a_bounded_number>>
    ))
    RETURNING error_id, minute, queue, 0 AS source, failed, retried
), summed AS (
    <<taken_and_summed>>
)
SELECT count(*) AS taken FROM taken;

-- name: fold_error_steps
-- Sum rows of one source, all of whose longer step began this long ago, into rows of that step.
WITH taken AS (
    DELETE FROM haulier.error_count
    WHERE ctid = ANY (ARRAY(
        SELECT ctid
        FROM haulier.error_count
        WHERE source = %(source)s
            AND minute < date_bin(
                make_interval(secs => %(longer)s), now() - make_interval(secs => %(age)s), 'epoch'::timestamptz)
        -- In the order of the index: all rows are old or none is, so with only a LIMIT the whole table would be read.
        ORDER BY source, minute
        <<a_bounded_number>>
    ))
    RETURNING error_id, date_bin(make_interval(secs => %(longer)s), minute, 'epoch'::timestamptz) AS minute, queue,
        -%(longer)s AS source, failed, retried
), summed AS (
    <<taken_and_summed>>
)
SELECT count(*) AS taken FROM taken;
