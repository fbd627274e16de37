-- Ticks -------------------------------------------------------------------------------------------------------

-- These functions enqueue the jobs of due ticks with the owner's rights. They check that a tick is due, is not decided yet,
-- and lies in no pause.

-- Write the outcomes of ticks, enqueue the jobs of those that fire, and return how many did. A tick that is there already
-- stays as it is. Only the owner may call this: the functions that programs call check the ticks first.
CREATE OR REPLACE FUNCTION haulier.fire_ticks(names text[], ats timestamptz[], outcomes text[]) RETURNS bigint
LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    now_ CONSTANT timestamptz := haulier.schedule_time();
    fired_names text[];
    fired_ats   timestamptz[];
    fired_jobs  uuid[];
    enqueued    bigint;
BEGIN
    WITH decided AS (
        INSERT INTO haulier.tick (schedule, schedule_id, scheduled_at, outcome, fired_at, job_id)
        SELECT schedule.name, schedule.id, at, outcome,
            CASE WHEN outcome = 'fired' THEN now_ END,
            CASE WHEN outcome = 'fired' THEN haulier.uuidv7() END
        FROM unnest(names, ats, outcomes) AS asked (name, at, outcome)
        JOIN haulier.schedule ON schedule.name = asked.name
        ORDER BY schedule.name, at
        ON CONFLICT (schedule, schedule_id, scheduled_at) DO NOTHING
        RETURNING schedule, scheduled_at, job_id
    )
    SELECT array_agg(schedule), array_agg(scheduled_at), array_agg(job_id) INTO fired_names, fired_ats, fired_jobs
    FROM decided
    WHERE job_id IS NOT NULL;
    -- An INSERT of no job would wake a worker as well.
    IF fired_jobs IS NULL THEN
        RETURN 0;
    END IF;
    INSERT INTO haulier.job (id, <<set_by_clients>>, schedule, scheduled_for)
    SELECT fired.id, <<as_schedules_set_them>>, fired.schedule, fired.at
    FROM unnest(fired_jobs, fired_names, fired_ats) AS fired (id, schedule, at)
    JOIN haulier.schedule ON schedule.name = fired.schedule
    ORDER BY fired.at, fired.schedule;
    GET DIAGNOSTICS enqueued = ROW_COUNT;
    IF enqueued < cardinality(fired_jobs) THEN
        RAISE 'a trigger on haulier.job dropped the job';
    END IF;
    RETURN enqueued;
END
$$;

-- Workers read the rules, and decide. The next two functions allow what any rule could lead to: a tick is decided once,
-- after it was due, and does not fire within a pause. Without a SET clause, so that they are inlined.

-- Whether a schedule can be decided up to this time, and be looked at then.
CREATE OR REPLACE FUNCTION haulier.may_move(
    old haulier.schedule, now_ timestamptz, to_ timestamptz, pending timestamptz, look timestamptz
) RETURNS boolean LANGUAGE sql STABLE
RETURN coalesce(
    -- If the clock went back, what is decided stays decided.
    to_ BETWEEN old.decided_to AND greatest(old.decided_to, now_)
    AND (pending IS NULL OR pending = old.pending_at OR (pending > old.decided_to AND pending <= to_))
    AND look <= now_ + interval '3600 s', false);

-- Whether a tick of a schedule that is decided up to this time can have this outcome.
CREATE OR REPLACE FUNCTION haulier.may_decide(
    old haulier.schedule, now_ timestamptz, to_ timestamptz, at timestamptz, outcome text
) RETURNS boolean LANGUAGE sql STABLE
RETURN coalesce(
    (at = old.pending_at OR (at > old.decided_to AND at <= to_ AND CASE
        WHEN old.cron IS NOT NULL THEN date_trunc('minute', at) = at
        ELSE mod(extract(epoch FROM at - old.counts_from), old.every_seconds) = 0
    END))
    -- A pause without an end: null, which is refused.
    AND (outcome <> 'fired' OR old.paused_since IS NULL OR (
        (now_ < old.paused_since OR now_ >= old.paused_until)
        AND (at = old.pending_at OR at < old.paused_since OR at >= old.paused_until))), false);

-- Write what was decided about schedules, which the caller has locked, and fire. Each decision is sent once, by its number,
-- with its ticks and the names of its schedules. Return how many ticks fired.
CREATE OR REPLACE FUNCTION haulier.decide_ticks(
    names text[], decisions integer[], decided_tos timestamptz[], pendings timestamptz[], nexts timestamptz[],
    looks timestamptz[], of_decisions integer[], ats timestamptz[], outcomes text[]
) RETURNS bigint LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    now_ CONSTANT timestamptz := haulier.schedule_time();
    tick_names text[];
    tick_ats   timestamptz[];
    tick_whats text[];
    are_due    boolean;
    moved      integer;
BEGIN
    SELECT array_agg(asked.name), array_agg(tick.at), array_agg(tick.outcome),
        bool_and(haulier.may_decide(old, now_, new.decided_to, tick.at, tick.outcome))
    INTO tick_names, tick_ats, tick_whats, are_due
    FROM unnest(names, decisions) AS asked (name, decision)
    JOIN unnest(decided_tos) WITH ORDINALITY AS new (decided_to, decision) USING (decision)
    JOIN unnest(of_decisions, ats, outcomes) AS tick (decision, at, outcome) USING (decision)
    JOIN haulier.schedule AS old ON old.name = asked.name;
    -- Tables in the order of this file, also if it is just being applied again.
    UPDATE haulier.schedule AS old
    SET decided_to = new.decided_to,
        pending_at = new.pending_at,
        next_at = new.next_at,
        look_at = new.look_at,
        -- If more ticks are due, it is still to be seen whether the last of them can fire.
        refused_since = CASE WHEN new.look_at <= now_ THEN refused_since END,
        refusals = CASE WHEN new.look_at <= now_ THEN refusals ELSE 0 END,
        refusal = CASE WHEN new.look_at <= now_ THEN refusal END
    FROM unnest(names, decisions) AS asked (name, decision)
    JOIN unnest(decided_tos, pendings, nexts, looks)
        WITH ORDINALITY AS new (decided_to, pending_at, next_at, look_at, decision) USING (decision)
    WHERE old.name = asked.name AND haulier.may_move(old, now_, new.decided_to, new.pending_at, new.look_at);
    GET DIAGNOSTICS moved = ROW_COUNT;
    IF NOT are_due OR moved IS DISTINCT FROM cardinality(names) OR cardinality(tick_names) > 2000 THEN
        RAISE EXCEPTION 'these ticks cannot have been decided for the schedules %…', left(names[1], 64)
            USING ERRCODE = 'invalid_parameter_value',
                HINT = 'A tick is decided once, only after it is due, does not fire during a pause, and a call decides at most 2,000.';
    END IF;
    RETURN haulier.fire_ticks(tick_names, tick_ats, tick_whats);
END
$$;

-- Whether a trigger of the owner's has raised an error, by the error's context, which names the language of each function,
-- and the schema of ours.
CREATE OR REPLACE FUNCTION haulier.is_raised_by_trigger(context text) RETURNS boolean LANGUAGE sql IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT EXISTS (
        SELECT FROM regexp_split_to_table(context, '\n') AS line WHERE line LIKE '%PL/%' AND line NOT LIKE '%haulier.%')
$$;

-- Whether an error passes by itself, by its SQLSTATE: see haulier/postgres/errors.py.
CREATE OR REPLACE FUNCTION haulier.may_pass(code text) RETURNS boolean LANGUAGE sql IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$ SELECT left(code, 2) IN ('08', '28', '40', '53', '55', '57', '58', 'HV') OR code = '25006' $$;

-- Put off a schedule that is due and cannot fire, and keep the reason: for 5 s, then for 60, 120, … 300 s. If the reason may
-- pass by itself, always for 5 s. Return whether it is put off: a constraint of the owner's may forbid it.
CREATE OR REPLACE FUNCTION haulier.put_off(named text, why text, may_pass boolean) RETURNS boolean LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    now_ CONSTANT timestamptz := haulier.schedule_time();
BEGIN
    UPDATE haulier.schedule
    SET refused_since = coalesce(refused_since, now_),
        refusals = CASE WHEN may_pass THEN greatest(refusals, 1) ELSE refusals + 1 END,
        refusal = left(split_part(coalesce(why, ''), E'\n', 1), 500),
        look_at = now_ + make_interval(secs => CASE WHEN may_pass THEN 5 ELSE greatest(5, least(300, 60 * refusals)) END)
    WHERE name = named AND look_at <= now_;
    RETURN FOUND;
EXCEPTION WHEN assert_failure OR OTHERS THEN
    RETURN false;
END
$$;

-- Call `decide_ticks` for some schedules at a time; if the database refuses any of them, also at the commit, for each one by
-- itself. Return what became of each schedule, and why if it cannot fire:
--   fired    all of it is written
--   put_off  only that it is put off is written
--   stuck    nothing is written, because its row cannot be changed
--   later    nothing is written: the schedules before it have used up the time
-- A function, because from outside each try would cost a round trip.
CREATE OR REPLACE FUNCTION haulier.decide_apart(
    at_a_time integer, names text[], decisions integer[], decided_tos timestamptz[], pendings timestamptz[],
    nexts timestamptz[], looks timestamptz[], of_decisions integer[], ats timestamptz[], outcomes text[]
) RETURNS TABLE (tried text, became text, why text) LANGUAGE plpgsql
SECURITY DEFINER
-- Planning the statements again for each try takes longer than running them.
SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan
AS $$
DECLARE
    all_names text[] := ARRAY(SELECT unnest(names));
    part      text[];
    numbers   integer[];
    context   text;
BEGIN
    FOR place IN 1 .. cardinality(all_names) BY least(greatest(at_a_time, 1), 1000) LOOP
        part := all_names[place : place + at_a_time - 1];
        numbers := decisions[place : place + at_a_time - 1];
        BEGIN
            became := 'later';
            IF clock_timestamp() < statement_timestamp() + interval '2 s' THEN
                PERFORM haulier.decide_ticks(
                    part, numbers, decided_tos, pendings, nexts, looks, of_decisions, ats, outcomes);
                SET CONSTRAINTS ALL IMMEDIATE;
                became := 'fired';
            END IF;
            RETURN QUERY SELECT name, became, NULL FROM unnest(part) AS name;
        -- OTHERS does not include the first two: a statement that ran out of time, and ASSERT.
        EXCEPTION WHEN query_canceled OR assert_failure OR OTHERS THEN
            GET STACKED DIAGNOSTICS why = MESSAGE_TEXT, context = PG_EXCEPTION_CONTEXT;
            -- The error is not about these schedules, or there is no time left to find out about which.
            IF haulier.may_pass(SQLSTATE) AND NOT haulier.is_raised_by_trigger(context)
                OR SQLSTATE = '57014' AND cardinality(part) > 1
            THEN
                RAISE;
            END IF;
            IF cardinality(part) > 1 THEN
                RETURN QUERY
                SELECT apart.*
                FROM haulier.decide_apart(
                    1, part, numbers, decided_tos, pendings, nexts, looks, of_decisions, ats, outcomes) AS apart;
            ELSE
                -- Without the value that could not be read: it may be secret.
                IF SQLSTATE LIKE '22%' AND context NOT LIKE '%RAISE%' THEN
                    why := format('a value does not fit (SQLSTATE %s)', SQLSTATE);
                END IF;
                tried := part[1];
                became := CASE WHEN haulier.put_off(tried, why, haulier.may_pass(SQLSTATE)) THEN 'put_off' ELSE 'stuck' END;
                RETURN NEXT;
            END IF;
        END;
    END LOOP;
END
$$;
