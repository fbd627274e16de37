-- A move is given up.

-- name: drop_schema
DROP SCHEMA IF EXISTS {name} CASCADE;
