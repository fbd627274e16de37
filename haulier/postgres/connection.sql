-- What Haulier asks about a connection.

-- name: server_process
SELECT pg_backend_pid() AS pid;
