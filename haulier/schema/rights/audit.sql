-- The record --------------------------------------------------------------------------------------------------

-- Only the owner deletes entries. Under its own role a worker calls this function, which keeps those of the last day.

-- Delete the oldest expired entries, not more than `most`, and return their ids; `skipped` are those that the database refuses
-- to delete. The changes of a payload stay as long as their job: they have the original. The LIMIT has the job looked up by
-- its id; otherwise the planner could read all jobs for this.
CREATE OR REPLACE FUNCTION haulier.purge_audit(retention_days integer, most bigint, skipped bigint) RETURNS SETOF bigint
LANGUAGE sql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    DELETE FROM haulier.audit
    WHERE ctid = ANY (ARRAY(
        SELECT ctid
        FROM haulier.audit
        WHERE at < now() - make_interval(days => greatest(retention_days, 1))
            AND NOT (coalesce(details -> 'changes' ? 'payload', false)
                AND (SELECT true FROM haulier.jobs WHERE id = audit.job_id LIMIT 1) IS NOT NULL)
        ORDER BY at, id
        LIMIT most OFFSET skipped
        FOR UPDATE SKIP LOCKED))
    RETURNING id
$$;
