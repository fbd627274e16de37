"""Upkeep of the tables: the schema and its migrations, the partitions of the history, and the purge of old rows."""
