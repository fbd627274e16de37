"""Who acts: one file for each thread of a worker process."""
