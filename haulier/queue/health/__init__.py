"""Whether everything is well: the depth of queues, the workers, and the database."""
