"""The queue: a module for each verb, and its SQL in a .sql file beside it."""
