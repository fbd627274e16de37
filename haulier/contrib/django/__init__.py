"""Haulier for Django: an app with a model to enqueue by, and connections that outlast a restart of Postgres."""
