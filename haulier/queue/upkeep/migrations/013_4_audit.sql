-- does: Lets the record say what was changed.
-- locks audit: ACCESS EXCLUSIVE, for a moment

SET LOCAL search_path = pg_catalog, pg_temp;
SET LOCAL lock_timeout = '5s';

ALTER TABLE haulier.audit
    ADD COLUMN IF NOT EXISTS details jsonb,
    DROP CONSTRAINT IF EXISTS action_is_known,
    ADD CONSTRAINT action_is_known CHECK (
        action IN (
            'cancel', 'retry', 'change', 'copy', 'delete', 'create_key', 'rotate_key', 'revoke_key', 'mute', 'unmute',
            'quiet', 'unquiet', 'pause', 'resume', 'operate', 'cancel_operation', 'resume_operation', 'put_schedule',
            'delete_schedule', 'pause_schedule', 'resume_schedule', 'run_schedule', 'sign_in', 'sign_out')) NOT VALID;
