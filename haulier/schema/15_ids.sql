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
