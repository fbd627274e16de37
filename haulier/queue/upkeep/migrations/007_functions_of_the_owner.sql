-- does: Adds queues, and the functions by which web and worker do what takes the owner's rights; whoever did it by rights of
--      their own may call them. Workers tell whether their looks for lanes fail.
-- locks worker: ACCESS EXCLUSIVE, for a moment

SET LOCAL search_path = pg_catalog, pg_temp;
SET LOCAL lock_timeout = '5s';

CREATE TABLE IF NOT EXISTS haulier.queue (
    name       text        NOT NULL,
    key_id     text,                                        -- the API key that first used it; null: nobody had to say who
    created_at timestamptz NOT NULL DEFAULT now(),
    used_at    timestamptz NOT NULL DEFAULT now(),          -- to some minutes

    CONSTRAINT queue_pkey PRIMARY KEY (name),
    CONSTRAINT name_is_a_queues CHECK (name ~ '^[a-z][a-z0-9_.-]{0,63}$')
) WITH (
    fillfactor = 50,                                        -- whoever adds a name writes the row of `default`
    autovacuum_vacuum_scale_factor = 0,
    autovacuum_vacuum_threshold = 500,
    autovacuum_vacuum_cost_delay = 0
);

-- The functions as schema.sql explains them.

CREATE OR REPLACE FUNCTION haulier.running() RETURNS TABLE (id uuid, worker_id uuid, kind text, queue text, created_at timestamptz)
LANGUAGE sql STABLE ROWS 100
SET search_path = pg_catalog, pg_temp SET enable_indexscan = off SET enable_seqscan = off SET work_mem = '32MB'
AS $$ SELECT id, worker_id, kind, queue, created_at FROM haulier.job WHERE status = 'running' $$;

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

CREATE OR REPLACE FUNCTION haulier.add_partition(step text, days_ahead integer) RETURNS text LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET datestyle = 'ISO' SET timezone = 'UTC' SET lock_timeout = '1s'
AS $$
DECLARE
    wanted record;
BEGIN
    IF step NOT IN ('day', 'week', 'month') OR days_ahead > 31 THEN
        RAISE EXCEPTION 'no partition of a % is made, nor % days ahead', step, days_ahead
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    LOCK TABLE haulier.schema_version IN SHARE ROW EXCLUSIVE MODE;
    SELECT * INTO wanted FROM haulier.partition_to_add(step, days_ahead);
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    -- ATTACH, because CREATE … PARTITION OF waits behind every open reader of the history, and everything behind it.
    EXECUTE format('CREATE TABLE haulier.%I (LIKE haulier.finished_job INCLUDING ALL)', wanted.name);
    EXECUTE format(
        'ALTER TABLE haulier.finished_job ATTACH PARTITION haulier.%I FOR VALUES FROM (%L) TO (%L)',
        wanted.name, wanted.lower, wanted.upper);
    RETURN wanted.name;
END
$$;

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
            RAISE EXCEPTION '% became another table''s name', place USING ERRCODE = 'lock_not_available';
        END IF;
    END IF;
    RETURN place;
END
$$;

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
            RAISE EXCEPTION '%.% became another table''s name', schema, name USING ERRCODE = 'lock_not_available';
        END IF;
        RETURN NEXT;
    END IF;
END
$$;

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
            RAISE EXCEPTION '% became another table''s name', place USING ERRCODE = 'lock_not_available';
        END IF;
    END IF;
    RETURN place;
END
$$;

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

REVOKE ALL ON FUNCTION haulier.add_partition(text, integer), haulier.finish_detach(oid), haulier.mark_expired(oid, integer),
    haulier.detach_partition(oid, integer), haulier.drop_partition(oid) FROM PUBLIC;

CREATE OR REPLACE FUNCTION haulier.cancel(cancelled uuid, by_whom text) RETURNS text LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    live record;
BEGIN
    -- Tables in the order of this file, also where it is just being applied again.
    LOCK TABLE haulier.job IN ROW EXCLUSIVE MODE;
    SELECT worker_id INTO live FROM haulier.job WHERE id = cancelled FOR UPDATE;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    IF live.worker_id IS NOT NULL THEN
        UPDATE haulier.job
        SET cancel_requested = true,
            updated_at = CASE WHEN cancel_requested THEN updated_at ELSE now() END
        WHERE id = cancelled AND worker_id IS NOT NULL;
        INSERT INTO haulier.audit (actor, action, job_id) VALUES (by_whom, 'cancel', cancelled);
        PERFORM pg_notify('haulier_cancel', live.worker_id::text);
        RETURN 'running';
    END IF;
    WITH gone AS (
        DELETE FROM haulier.job
        WHERE id = cancelled AND worker_id IS NULL
        RETURNING *
    )
    INSERT INTO haulier.finished_job (
        id, status, kind, queue, priority, run_at, attempt, claim, started_at, attempts, max_attempts, crashes,
        snoozes, timeout_seconds, cancel_requested, payload, idempotency_key, last_error, errors, created_at,
        updated_at, finished_at)
    SELECT
        id, 'cancelled', kind, queue, priority, run_at, attempt, claim, started_at, attempts, max_attempts, crashes,
        snoozes, timeout_seconds, true, payload, idempotency_key, last_error, errors, created_at, now(), now()
    FROM gone;
    INSERT INTO haulier.audit (actor, action, job_id) VALUES (by_whom, 'cancel', cancelled);
    RETURN 'waiting';
END
$$;

CREATE OR REPLACE FUNCTION haulier.retry(retried uuid, by_whom text) RETURNS SETOF haulier.job LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    LOCK TABLE haulier.job IN ROW EXCLUSIVE MODE;
    RETURN QUERY
    WITH back AS (
        DELETE FROM haulier.finished_job
        WHERE id = retried AND status IN ('failed_permanent', 'cancelled')
        RETURNING *
    ), noted AS (
        INSERT INTO haulier.audit (actor, action, job_id)
        SELECT by_whom, 'retry', id FROM back
    )
    INSERT INTO haulier.job (
        id, kind, queue, priority, attempt, claim, started_at, max_attempts, crashes, timeout_seconds, payload,
        idempotency_key, last_error, errors, created_at)
    SELECT
        id, kind, queue, priority, attempt, claim, started_at, max_attempts, crashes, timeout_seconds, payload,
        idempotency_key, last_error, errors, created_at
    FROM back
    RETURNING *;
END
$$;

REVOKE ALL ON FUNCTION haulier.cancel(uuid, text), haulier.retry(uuid, text) FROM PUBLIC;

-- Before version 7 the roles of grants.sql did all that by rights of their own. Whoever has these may call the functions:
-- programs of version 7 then work before grants.sql is applied again, which takes the rights away.
DO $do$
DECLARE
    caller regrole;
BEGIN
    FOR caller IN
        SELECT DISTINCT grantee
        FROM pg_class
        CROSS JOIN aclexplode(relacl)
        WHERE pg_class.oid = 'haulier.finished_job'::regclass AND privilege_type = 'DELETE' AND grantee <> 0
    LOOP
        EXECUTE format('GRANT EXECUTE ON FUNCTION haulier.cancel(uuid, text), haulier.retry(uuid, text) TO %s', caller);
    END LOOP;
    FOR caller IN
        SELECT DISTINCT member
        FROM pg_auth_members
        WHERE roleid = (SELECT relowner FROM pg_class WHERE oid = 'haulier.finished_job'::regclass)
    LOOP
        EXECUTE format(
            'GRANT EXECUTE ON FUNCTION haulier.add_partition(text, integer), haulier.finish_detach(oid),'
            ' haulier.detach_partition(oid, integer), haulier.drop_partition(oid) TO %s', caller);
    END LOOP;
END
$do$;

-- Last: everybody stands behind it.
ALTER TABLE haulier.worker ADD COLUMN IF NOT EXISTS scans_fail boolean NOT NULL DEFAULT false;

UPDATE haulier.schema_version SET version = 7;
