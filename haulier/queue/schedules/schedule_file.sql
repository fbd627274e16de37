-- Schedules of schedules.toml: which there are, locked or not.

-- part: of_the_file
-- The schedules that came from the file, and those that it names now.
SELECT name, source
FROM haulier.schedule
WHERE source = 'file' OR name = ANY(%(names)s::text[])
ORDER BY name

-- name: schedules_of_file
<<of_the_file>>;

-- name: lock_schedules_of_file
-- In the order of their names. Workers that fire skip them, and a call of the API locks only one.
<<of_the_file>>
FOR UPDATE;

-- name: mark_schedules_of_file
-- Only the owner may: otherwise the API's role could take a schedule away from the file, or give it one.
UPDATE haulier.schedule
SET source = 'file'
WHERE name = ANY(%(names)s::text[]);
