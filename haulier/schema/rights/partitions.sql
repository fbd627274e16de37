-- Partitions --------------------------------------------------------------------------------------------------

-- Only the owner may add and drop partitions, and a worker has to do so every hour. Under its own role it calls these
-- functions. They find out by themselves what is missing and what has expired, so that a caller can do nothing else.

-- Add the next partition, and return its name. Processes that change the schema or add a partition take turns, by a lock on
-- schema_version, which takes the owner's rights and waits for no reader. Everybody who may connect could hold an advisory
-- lock for ever.
CREATE OR REPLACE FUNCTION haulier.add_partition(step text, days_ahead integer) RETURNS text LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET datestyle = 'ISO' SET timezone = 'UTC' SET lock_timeout = '1s'
AS $$
DECLARE
    wanted record;
BEGIN
    IF NOT coalesce(step IN ('day', 'week', 'month') AND days_ahead <= 31, false) THEN
        RAISE EXCEPTION 'cannot make partitions of one % for % days ahead', left(step, 20), days_ahead
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    LOCK TABLE haulier.schema_version IN SHARE ROW EXCLUSIVE MODE;
    SELECT * INTO wanted FROM haulier.partition_to_add(step, days_ahead);
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    -- ATTACH, because CREATE … PARTITION OF waits for every open reader of the history, and everything else for it.
    EXECUTE format('CREATE TABLE haulier.%I (LIKE haulier.finished_job INCLUDING ALL)', wanted.name);
    EXECUTE format(
        'ALTER TABLE haulier.finished_job ATTACH PARTITION haulier.%I FOR VALUES FROM (%L) TO (%L)',
        wanted.name, wanted.lower, wanted.upper);
    RETURN wanted.name;
END
$$;

-- Finish a detach that was interrupted. This waits for every older snapshot, and meanwhile nobody can add a partition, so it
-- gives up sooner than an attempt to add one.
CREATE OR REPLACE FUNCTION haulier.finish_detach(partition oid) RETURNS text LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '500ms'
AS $$
DECLARE
    place text := (
        SELECT format('%I.%I', schema, name)
        FROM haulier.history_partitions()
        WHERE "table" = partition AND detaching);
BEGIN
    IF place IS NOT NULL THEN
        EXECUTE format('ALTER TABLE haulier.finished_job DETACH PARTITION %s FINALIZE', place);
        -- SQL takes a name, which may have become another table's in the meantime.
        IF (SELECT relispartition FROM pg_class WHERE oid = partition) THEN
            RAISE EXCEPTION '% is now the name of another table', place USING ERRCODE = 'lock_not_available';
        END IF;
    END IF;
    RETURN place;
END
$$;

-- Mark a partition in which every job finished at least retention_days ago, and return its schema and name. The mark lets
-- an interrupted drop be finished later; a partition that an operator detached has no mark, and stays.
CREATE OR REPLACE FUNCTION haulier.mark_expired(
    partition oid, retention_days integer, OUT schema name, OUT name name
) RETURNS SETOF record LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '1s'
AS $$
BEGIN
    SELECT present.schema, present.name INTO schema, name
    FROM haulier.history_partitions() AS present
    WHERE "table" = partition AND NOT detaching AND NOT is_default
        AND upper <= now() - make_interval(days => greatest(retention_days, 1));
    IF FOUND THEN
        EXECUTE format('COMMENT ON TABLE %I.%I IS %L', schema, name, 'expired');
        -- SQL takes a name, which may have become another table's in the meantime.
        IF obj_description(partition, 'pg_class') IS DISTINCT FROM 'expired' THEN
            RAISE EXCEPTION '%.% is now the name of another table', schema, name USING ERRCODE = 'lock_not_available';
        END IF;
        RETURN NEXT;
    END IF;
END
$$;

-- Mark and detach an expired partition. While this waits for readers of the history, all settles wait for it, so it gives up
-- soon. They would not wait for DETACH … CONCURRENTLY, but no function can run that, and only the owner may.
CREATE OR REPLACE FUNCTION haulier.detach_partition(partition oid, retention_days integer) RETURNS text
LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '100ms'
AS $$
DECLARE
    place text := (SELECT format('%I.%I', schema, name) FROM haulier.mark_expired(partition, retention_days));
BEGIN
    IF place IS NOT NULL THEN
        EXECUTE format('ALTER TABLE haulier.finished_job DETACH PARTITION %s', place);
        IF (SELECT relispartition FROM pg_class WHERE oid = partition) THEN
            RAISE EXCEPTION '% is now the name of another table', place USING ERRCODE = 'lock_not_available';
        END IF;
    END IF;
    RETURN place;
END
$$;

-- Drop a detached partition.
CREATE OR REPLACE FUNCTION haulier.drop_partition(detached oid) RETURNS text LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '1s'
AS $$
DECLARE
    place record;
BEGIN
    SELECT schema, name INTO place FROM haulier.detached_partitions() WHERE "table" = detached;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    EXECUTE format('LOCK TABLE %I.%I IN ACCESS EXCLUSIVE MODE', place.schema, place.name);
    -- From now on its name is its own, if it still is.
    PERFORM
    FROM haulier.detached_partitions()
    WHERE "table" = detached AND schema = place.schema AND name = place.name;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    EXECUTE format('DROP TABLE %I.%I', place.schema, place.name);
    RETURN CASE WHEN place.schema = 'haulier' THEN '' ELSE place.schema || '.' END || place.name;
END
$$;

-- Let the index of ended jobs know the newest pages of the history, or every search would read these in full. Only the
-- owner may do it. A vacuum that is under way does it too.
CREATE OR REPLACE FUNCTION haulier.summarize_history() RETURNS void LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '100ms'
AS $$
BEGIN
    PERFORM brin_summarize_new_values(inhrelid::regclass)
    FROM pg_inherits
    JOIN pg_index ON indexrelid = inhrelid
    JOIN haulier.history_partitions() AS partition ON partition."table" = indrelid
    WHERE inhparent = 'haulier.finished_job_ended'::regclass
        AND lower <= now() AND upper > now() - interval '10 minutes';
EXCEPTION WHEN lock_not_available THEN
    NULL;
END
$$;
