"""Postgres: connections, statements and their errors. Nothing here knows what a job is."""
