-- does: Builds an index of the failed jobs of the history by their errors: of the partition of today last, and of the others
--      before it.
-- locks partitions of finished_job: SHARE, until all are read, today's last: retries wait, then settles

SET LOCAL search_path = pg_catalog, pg_temp;
SET LOCAL lock_timeout = '5s';

-- In the order in which a statement over all of them locks them; that of today is the last with jobs, and only from then on
-- does nothing settle. Of a history that is too long for one transaction an operator may have built them, CONCURRENTLY and
-- under these names.
DO $do$
DECLARE
    part record;
BEGIN
    FOR part IN
        SELECT inhrelid::regclass AS place, relname || '_error_id_created_at_id_idx' AS index
        FROM pg_inherits
        JOIN pg_class ON pg_class.oid = inhrelid
        CROSS JOIN LATERAL (
            SELECT substring(pg_get_expr(relpartbound, inhrelid) FROM $$TO \('([^']+)'\)$$)::timestamptz AS upper
        ) AS bound
        WHERE inhparent = 'haulier.finished_job'::regclass AND NOT inhdetachpending
        ORDER BY upper
    LOOP
        -- What a CONCURRENTLY that failed has left would make the whole index invalid.
        IF EXISTS (
            SELECT FROM pg_index
            WHERE indexrelid = to_regclass(format('haulier.%I', part.index)) AND NOT indisvalid)
        THEN
            EXECUTE format('DROP INDEX haulier.%I', part.index);
        END IF;
        EXECUTE format(
            $$CREATE INDEX IF NOT EXISTS %I ON %s (error_id, created_at, id) WHERE status = 'failed_permanent'$$,
            part.index, part.place);
        EXECUTE format('ALTER INDEX haulier.finished_job_failed_by_error ATTACH PARTITION haulier.%I', part.index);
    END LOOP;
END
$do$;
