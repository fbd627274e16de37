-- Workers -----------------------------------------------------------------------------------------------------

-- The API may let a worker claim no more, on record, and write nothing else of workers.

-- Let a worker claim no more, or claim again; what it runs continues. Return whether there is such a worker.
CREATE OR REPLACE FUNCTION haulier.quiet_worker(quieted uuid, is_quiet boolean, by_whom text) RETURNS boolean
LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    UPDATE haulier.worker
    SET quiet = is_quiet
    WHERE id = quieted AND quiet <> is_quiet;
    IF FOUND THEN
        INSERT INTO haulier.audit (actor, action, target)
        VALUES (by_whom, CASE WHEN is_quiet THEN 'quiet' ELSE 'unquiet' END, quieted::text);
    END IF;
    PERFORM FROM haulier.worker WHERE id = quieted;
    RETURN FOUND;
END
$$;
