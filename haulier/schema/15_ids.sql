-- Ids ---------------------------------------------------------------------------------------------------------

-- UUIDv7: new ids go to the right edge of every index. PostgreSQL 18 makes them itself. The function has no SET clause,
-- since with one it would not be inlined, and each INSERT would have to call it.
DO $do$
BEGIN
    IF current_setting('server_version_num')::integer >= 180000 THEN
        -- The body is a string with qualified names: a dump can then be restored also into an older server, which lacks
        -- pg_catalog.uuidv7().
        CREATE OR REPLACE FUNCTION haulier.uuidv7() RETURNS uuid LANGUAGE sql VOLATILE PARALLEL SAFE
        AS 'SELECT pg_catalog.uuidv7()';
    ELSE
        -- 48 bits of milliseconds over a random (version 4) uuid, whose version bits 0100 become 0111.
        -- The body is no string, so its names are looked up now. Those of a string would be looked up at each INSERT,
        -- on the search_path of the inserting role.
        CREATE OR REPLACE FUNCTION haulier.uuidv7() RETURNS uuid LANGUAGE sql VOLATILE PARALLEL SAFE
        RETURN encode(
            set_bit(set_bit(
                overlay(uuid_send(gen_random_uuid())
                        PLACING substring(int8send((extract(epoch FROM clock_timestamp()) * 1000)::bigint) FROM 3)
                        FROM 1 FOR 6),
                52, 1), 53, 1),
            'hex')::uuid;
    END IF;
END
$do$;

-- Make this database the cell of this number, which it stays, under a lock on haulier.schema_version. Its ids are
-- UUIDv8: as above, but the last byte is the number, a constant of the body, which is inlined.
CREATE OR REPLACE FUNCTION haulier.set_cell(number integer) RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    last_byte CONSTANT text := lpad(to_hex(number), 2, '0');
BEGIN
    UPDATE haulier.schema_version SET cell = number WHERE coalesce(cell, number) = number;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'this database is another cell, whose number is in the ids of its jobs and cannot change'
            USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    IF current_setting('server_version_num')::integer >= 180000 THEN
        EXECUTE format(
            $do$
            CREATE OR REPLACE FUNCTION haulier.uuidv7() RETURNS uuid LANGUAGE sql VOLATILE PARALLEL SAFE
            AS $body$
                SELECT overlay(overlay(pg_catalog.uuidv7()::pg_catalog.text PLACING '8' FROM 15) PLACING %L FROM 35)
                    ::pg_catalog.uuid
            $body$
            $do$, last_byte);
    ELSE
        EXECUTE format(
            $do$
            CREATE OR REPLACE FUNCTION haulier.uuidv7() RETURNS uuid LANGUAGE sql VOLATILE PARALLEL SAFE
            RETURN overlay(overlay(
                encode(
                    overlay(uuid_send(gen_random_uuid())
                            PLACING substring(int8send((extract(epoch FROM clock_timestamp()) * 1000)::bigint) FROM 3)
                            FROM 1 FOR 6),
                    'hex')
                PLACING '8' FROM 13) PLACING %L FROM 31)::uuid
            $do$, last_byte);
    END IF;
END
$$;
SELECT haulier.set_cell((to_jsonb(schema_version) ->> 'cell')::integer)
FROM haulier.schema_version
WHERE to_jsonb(schema_version) ->> 'cell' IS NOT NULL;
