-- The record --------------------------------------------------------------------------------------------------

-- What operators did: written in the transaction that did it, kept RETENTION_DAYS; the
-- changes of a payload as long as their job.
CREATE TABLE IF NOT EXISTS haulier.audit (
    id     bigint      NOT NULL GENERATED ALWAYS AS IDENTITY,
    at     timestamptz NOT NULL DEFAULT now(),
    actor  text,                                            -- the id of an API key, 'env', 'cli'; null: no key was needed
    action text        NOT NULL,
    job_id uuid,                                            -- the job that it was done to …
    key_id text,                                            -- … or the API key …
    target text,                                            -- … or anything else: the id of an error group or a worker
    details jsonb,                                          -- what changed, without what a kind keeps secret; null: not told

    CONSTRAINT audit_pkey PRIMARY KEY (id),
    CONSTRAINT action_is_known CHECK (
        action IN (
            'cancel', 'retry', 'change', 'copy', 'delete', 'create_key', 'rotate_key', 'revoke_key', 'assign_key',
            'mute', 'unmute', 'quiet', 'unquiet', 'acknowledge', 'show_again', 'pause', 'resume', 'operate',
            'cancel_operation', 'resume_operation', 'put_schedule', 'delete_schedule', 'pause_schedule',
            'resume_schedule', 'run_schedule', 'sign_in', 'sign_out')),
    CONSTRAINT done_to_one_thing CHECK (num_nonnulls(job_id, key_id, target) = 1),
    CONSTRAINT target_up_to_200 CHECK (length(target) <= 200),
    CONSTRAINT details_is_an_object CHECK (jsonb_typeof(details) = 'object'),
    CONSTRAINT audited_in_the_calendar CHECK (at >= '1970-01-01+00' AND at < '9999-12-31+00')
);

-- Let nobody be named who does not exist. Which of those who do exist is behind a program's role, nobody here knows; but
-- only whoever may become the owner can be `cli` or `file`.
CREATE OR REPLACE FUNCTION haulier.check_actor() RETURNS trigger LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF NEW.actor <> 'env'
        AND NOT pg_has_role(session_user, (SELECT relowner FROM pg_class WHERE oid = TG_RELID), 'MEMBER')
        AND NOT EXISTS (SELECT FROM haulier.api_key WHERE id = NEW.actor)
    THEN
        RAISE EXCEPTION 'unknown actor %', left(NEW.actor, 40) USING ERRCODE = 'invalid_parameter_value',
            HINT = 'An actor is the id of an API key, or env.';
    END IF;
    RETURN NEW;
END
$$;
CREATE OR REPLACE TRIGGER check_actor BEFORE INSERT ON haulier.audit
    FOR EACH ROW WHEN (NEW.actor IS NOT NULL) EXECUTE FUNCTION haulier.check_actor();

-- purge_audit: the oldest first; list_audit: the newest
CREATE INDEX IF NOT EXISTS audit_oldest ON haulier.audit (at, id);

-- list_audit: what was done to a job
CREATE INDEX IF NOT EXISTS audit_by_job ON haulier.audit (job_id, at, id) WHERE job_id IS NOT NULL;

-- A time as the record shows it.
CREATE OR REPLACE FUNCTION haulier.time_text(instant timestamptz) RETURNS text LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$ SELECT to_char(instant AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') $$;
