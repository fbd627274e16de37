-- Errors ------------------------------------------------------------------------------------------------------

-- The API may set the end of a group's mute, on record, and nothing else of the group.

-- Mute a group of errors until a time; null ends the mute. Return whether there is such a group.
CREATE OR REPLACE FUNCTION haulier.mute_errors(muted bigint, until timestamptz, by_whom text) RETURNS boolean
LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    UPDATE haulier.error_group
    SET muted_until = until,
        muted_by = CASE WHEN until IS NOT NULL THEN by_whom END
    WHERE id = muted;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    INSERT INTO haulier.audit (actor, action, target, details)
    VALUES (
        by_whom, CASE WHEN until IS NULL THEN 'unmute' ELSE 'mute' END, lpad(to_hex(muted), 16, '0'),
        CASE WHEN until IS NOT NULL THEN jsonb_build_object('muted_until', haulier.time_text(until)) END);
    RETURN true;
END
$$;
