-- The source closes, and the target opens once it has everything.

-- name: analyze
-- A copy has no statistics yet, without which the first claims would read whole tables.
ANALYZE;

-- name: last_position
-- All that was committed before this is in front of it.
SELECT pg_logical_emit_message(true, 'haulier', 'closed')::text AS position;

-- name: is_confirmed
SELECT confirmed_flush_lsn >= %(position)s::pg_lsn AS is_confirmed
FROM pg_replication_slots
WHERE slot_name = %(link)s;

-- name: sequences
SELECT sequencename::text AS name, last_value
FROM pg_sequences
WHERE schemaname = 'haulier' AND last_value IS NOT NULL;

-- name: set_sequences
SELECT setval(('haulier.' || quote_ident(name))::regclass, last_value)
FROM unnest(%(names)s::text[], %(last_values)s::bigint[]) AS sequence (name, last_value);

-- name: mark_confirmed
-- From now on the target may be opened.
DO $do$
BEGIN
    EXECUTE 'ALTER PUBLICATION ' || quote_ident(%(link)s) || ' RENAME TO ' || quote_ident(%(confirmed_link)s);
END
$do$;

-- name: disable_subscription
ALTER SUBSCRIPTION {name} DISABLE;

-- name: forget_slot
-- The source may not answer any more.
ALTER SUBSCRIPTION {name} SET (slot_name = NONE);

-- name: drop_subscription
DROP SUBSCRIPTION {name};

-- name: slots_of_move
-- Also those with which tables are copied, whose names end with the number of the subscribed server.
SELECT slot_name::text AS name
FROM pg_replication_slots
WHERE database = current_database() AND (
    slot_name = %(link)s OR slot_name ~ ('^pg_[0-9]+_sync_[0-9]+_' || split_part(%(link)s, '_', 3) || '$'));

-- name: end_receivers
-- A target that did not hear of the end of the move would read on.
SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = ANY(%(names)s) AND active;

-- name: drop_slots
SELECT pg_drop_replication_slot(slot_name)
FROM pg_replication_slots
WHERE slot_name = ANY(%(names)s) AND NOT active;
