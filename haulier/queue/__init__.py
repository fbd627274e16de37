"""The queue: a room for each noun, a module for each verb, and its SQL in a .sql file beside it."""
