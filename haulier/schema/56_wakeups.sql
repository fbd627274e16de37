-- Wake-ups ----------------------------------------------------------------------------------------------------

-- Wake workers for new jobs; see haulier.wake. Every INSERT of jobs runs this, so it first looks whether anybody sleeps.
-- SECURITY DEFINER, so that an application may INSERT jobs without a right to read these tables; with a fixed
-- search_path, so that it cannot decide what the names in here mean.
CREATE OR REPLACE FUNCTION haulier.knock() RETURNS trigger LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM FROM haulier.sleeper LIMIT 1;
    IF FOUND THEN
        PERFORM haulier.wake(ARRAY(SELECT DISTINCT queue FROM enqueued));
    END IF;
    RETURN NULL;
END
$$;
CREATE OR REPLACE TRIGGER knock AFTER INSERT ON haulier.job
    REFERENCING NEW TABLE AS enqueued
    FOR EACH STATEMENT EXECUTE FUNCTION haulier.knock();
