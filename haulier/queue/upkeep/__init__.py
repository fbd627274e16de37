"""What keeps the tables fit: the schema, the partitions of the history, and what is old enough to be forgotten."""
