-- does: Lets the record say what was done to a group of errors or to a worker.
-- locks audit: ACCESS EXCLUSIVE, for a moment

SET LOCAL search_path = pg_catalog, pg_temp;
SET LOCAL lock_timeout = '5s';

ALTER TABLE haulier.audit
    ADD COLUMN IF NOT EXISTS target text,
    DROP CONSTRAINT IF EXISTS action_is_known,
    DROP CONSTRAINT IF EXISTS done_to_a_job_or_a_key,
    DROP CONSTRAINT IF EXISTS done_to_one_thing,
    ADD CONSTRAINT action_is_known CHECK (
        action IN (
            'cancel', 'retry', 'create_key', 'rotate_key', 'revoke_key', 'mute', 'unmute', 'quiet', 'unquiet')) NOT VALID,
    ADD CONSTRAINT done_to_one_thing CHECK (num_nonnulls(job_id, key_id, target) = 1) NOT VALID;
