-- Partitions --------------------------------------------------------------------------------------------------

-- The partitions in any schema, oldest first, with their bounds from the catalogue.
CREATE OR REPLACE FUNCTION haulier.history_partitions() RETURNS TABLE (
    "table" oid, schema name, name name, detaching boolean, is_default boolean, lower timestamptz, upper timestamptz,
    in_the_way boolean
) LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp SET datestyle = 'ISO' SET timezone = 'UTC'
AS $function$
    SELECT child.oid, nspname, child.relname, inhdetachpending, bound.text = 'DEFAULT', bound.lower, bound.upper,
        inhdetachpending AND coalesce(bound.upper > now(), true)
    FROM pg_inherits
    JOIN pg_class AS child ON child.oid = inhrelid
    JOIN pg_namespace ON pg_namespace.oid = child.relnamespace
    CROSS JOIN LATERAL (
        SELECT text,
            substring(text FROM $$FROM \('([^']+)'\)$$)::timestamptz AS lower,
            substring(text FROM $$TO \('([^']+)'\)$$)::timestamptz AS upper
        FROM pg_get_expr(child.relpartbound, child.oid) AS text
    ) AS bound
    WHERE inhparent = 'haulier.finished_job'::regclass
    ORDER BY bound.upper
$function$;

-- The bounds of the next partition: from the first instant, today or later, that no partition covers, to the end of its
-- day, week or month, or to where the following partition begins. No row when history reaches far enough. A partition
-- that is being detached counts: it takes no rows any more, but no other can have its range yet.
CREATE OR REPLACE FUNCTION haulier.partition_to_add(step text, days_ahead integer) RETURNS TABLE (
    lower timestamptz, upper timestamptz, name text
) LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp SET datestyle = 'ISO' SET timezone = 'UTC'
AS $$
    WITH today AS (
        SELECT date_trunc('day', now() AT TIME ZONE 'UTC') AT TIME ZONE 'UTC' AS today
    ), present AS (
        SELECT coalesce(partition.lower, '-infinity') AS lower, coalesce(partition.upper, 'infinity') AS upper
        FROM haulier.history_partitions() AS partition
        WHERE NOT is_default
    ), gap AS (
        SELECT min(instant) AS lower
        FROM (
            SELECT today AS instant FROM today
            UNION ALL
            SELECT present.upper FROM present JOIN today ON present.upper > today
        ) AS candidate
        WHERE NOT EXISTS (SELECT FROM present WHERE present.lower <= instant AND instant < present.upper)
    ), added AS (
        SELECT gap.lower,
            least(
                (date_trunc($1, gap.lower AT TIME ZONE 'UTC') + ('1 ' || $1)::interval) AT TIME ZONE 'UTC',
                (SELECT min(present.lower) FROM present WHERE present.lower > gap.lower)) AS upper,
            'finished_job_' || to_char(gap.lower AT TIME ZONE 'UTC', 'YYYYMMDD_HH24MISS') AS name
        FROM gap
        WHERE gap.lower < now() + make_interval(days => $2)
    )
    SELECT added.lower, added.upper,
        -- A partition that an operator detached keeps its name.
        added.name || CASE
            WHEN to_regclass('haulier.' || added.name) IS NULL THEN ''
            ELSE to_char(now() AT TIME ZONE 'UTC', '"_again_"YYYYMMDD_HH24MISS_US')
        END
    FROM added
$$;

-- The tables that were marked when they were partitions. Not found by their names, which other tables may have taken.
CREATE OR REPLACE FUNCTION haulier.detached_partitions() RETURNS TABLE ("table" oid, schema name, name name)
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT pg_class.oid, nspname, relname
    FROM pg_class
    JOIN pg_namespace ON pg_namespace.oid = relnamespace
    WHERE relkind = 'r' AND NOT relispartition AND obj_description(pg_class.oid, 'pg_class') = 'expired'
        AND relowner = (SELECT relowner FROM pg_class WHERE oid = 'haulier.finished_job'::regclass)
        AND EXISTS (SELECT FROM pg_constraint WHERE conrelid = pg_class.oid AND conname = 'status_is_final')
$$;
