-- Schedules of schedules.toml: which there are, locked or not.

-- name: schedules_of_file
-- Those that came from the file, and those that it names now.
SELECT name, source
FROM haulier.schedule
WHERE source = 'file' OR name = ANY(%(names)s::text[])
ORDER BY name;

-- name: lock_schedules_of_file
-- In the order of their names. Workers that fire pass over them, and a call of the API has one alone.
SELECT name, source
FROM haulier.schedule
WHERE source = 'file' OR name = ANY(%(names)s::text[])
ORDER BY name
FOR UPDATE;

-- name: mark_schedules_of_file
-- Only the owner may: the API's role could else take a schedule away from the file, or give it one.
UPDATE haulier.schedule
SET source = 'file'
WHERE name = ANY(%(names)s::text[]);
