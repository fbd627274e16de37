"""Haulier: durable background jobs over HTTP, on the Postgres you already run. The library, which knows no Flask."""
