-- What is asked of a connection.

-- name: server_process
SELECT pg_backend_pid() AS pid;
