-- Temporary databases.

-- name: create_database
-- From template0, which is as PostgreSQL ships it: another template may be in use, or hold what an operator put there.
CREATE DATABASE {name} TEMPLATE template0;

-- name: drop_unused_database
-- Fails while anyone is connected to it.
DROP DATABASE IF EXISTS {name};

-- name: drop_database
DROP DATABASE IF EXISTS {name} WITH (FORCE);
