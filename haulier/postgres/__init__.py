"""Postgres: connections, statements and what they raise. It knows no job."""
