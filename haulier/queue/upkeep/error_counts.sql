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
WITH old AS MATERIALIZED (
    SELECT error_id, minute, queue, source
    FROM haulier.error_count
    WHERE source > 0 AND minute < now() - interval '2 minutes'
    ORDER BY source, minute
    LIMIT %(rows)s OFFSET %(offset)s
    FOR UPDATE SKIP LOCKED
), taken AS (
    DELETE FROM haulier.error_count AS known
    USING old
    WHERE (known.error_id, known.minute, known.queue, known.source) = (old.error_id, old.minute, old.queue, old.source)
    RETURNING known.error_id, known.minute, known.queue, 0 AS source, failed, retried
), summed AS (
    <<taken_and_summed>>
)
SELECT count(*) AS taken FROM taken;

-- name: fold_error_steps
-- Sum rows of one source, all of whose longer step began so long ago, into rows of that step.
WITH old AS MATERIALIZED (
    SELECT error_id, minute, queue, source
    FROM haulier.error_count
    WHERE source = %(source)s
        AND minute < date_bin(
            make_interval(secs => %(longer)s), now() - make_interval(secs => %(age)s), 'epoch'::timestamptz)
    -- As the index has them: all are old or none is, and so a LIMIT alone would have the whole table read.
    ORDER BY source, minute
    LIMIT %(rows)s OFFSET %(offset)s
    FOR UPDATE SKIP LOCKED
), taken AS (
    DELETE FROM haulier.error_count AS known
    USING old
    WHERE (known.error_id, known.minute, known.queue, known.source) = (old.error_id, old.minute, old.queue, old.source)
    RETURNING known.error_id, date_bin(make_interval(secs => %(longer)s), known.minute, 'epoch'::timestamptz) AS minute,
        known.queue, -%(longer)s AS source, failed, retried
), summed AS (
    <<taken_and_summed>>
)
SELECT count(*) AS taken FROM taken;
